"""A folder as a store: an object appears whole or not at all, and nothing leaves the folder."""

import io
import os
import resource
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from django.conf import settings

from apps.backups.facts import EngineTrouble, LostLease, StoreTrouble
from apps.backups.stores.base import Place
from apps.backups.stores.local import LocalStore

MIB = 1024 * 1024


def quiet(_done: int) -> None:
    """Hear progress and do nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder."""
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    """Return the store."""
    return at(folder)


def at(path: Path | str) -> LocalStore:
    """Return a store at a path."""
    return LocalStore(Place("local", {"path": str(path)}, {}))


def put(store: LocalStore, key: str, data: bytes = b"x") -> None:
    """Put an object."""
    store.put(key, io.BytesIO(data), progress=quiet)


def files(folder: Path) -> list[str]:
    """Return every file below, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_an_object_is_kept_listed_and_deleted_with_closed_modes(store: LocalStore, folder: Path) -> None:
    put(store, "plan/b", b"two")
    put(store, "plan/a", b"one")
    put(store, "planet/c", b"three")
    assert [(each.key, each.size) for each in store.list("plan/")] == [("plan/a", 3), ("plan/b", 3)]
    assert [each.key for each in store.list("")] == ["plan/a", "plan/b", "planet/c"]
    assert (folder / "plan").stat().st_mode & 0o777 == 0o700
    assert (folder / "plan" / "a").stat().st_mode & 0o777 == 0o600
    found = store.stat("plan/a")
    assert found is not None
    assert found.size == 3
    store.delete("plan/a")
    store.delete("plan/a")
    assert store.stat("plan/a") is None
    assert store.stat("no/such/folder") is None


class Failing(io.RawIOBase):
    """A stream that fails after a megabyte."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.given = error, False

    def read(self, size: int = -1, /) -> bytes:
        if self.given:
            raise self.error
        self.given = True
        return b"x" * MIB


@pytest.mark.parametrize("error", [EngineTrouble("Gone."), LostLease(), OSError(5, "I/O"), KeyboardInterrupt()])
def test_a_stream_that_fails_leaves_nothing_and_the_older_object(
    store: LocalStore, folder: Path, error: BaseException
) -> None:
    put(store, "plan/a", b"older")
    with pytest.raises(type(error)):
        store.put("plan/a", Failing(error), progress=quiet)  # type: ignore[arg-type]
    assert files(folder) == ["plan/a"]
    assert (folder / "plan" / "a").read_bytes() == b"older"


def test_an_object_is_not_visible_before_it_is_whole(store: LocalStore, folder: Path) -> None:
    seen: list[Any] = []
    store.put(
        "plan/a", io.BytesIO(b"x" * 3 * MIB), progress=lambda _n: seen.append((store.stat("plan/a"), [*store.list("")]))
    )
    assert seen == [(None, [])] * 3


@pytest.mark.parametrize(
    "key", ["../x", "/x", "a/../../x", "a//b", "", ".x", "a/.x", "a\x00b", "a\\b", "a/", "ü", "a" * 301]
)
def test_a_key_that_could_leave_the_folder_is_refused(store: LocalStore, folder: Path, key: str) -> None:
    for act in (
        lambda: put(store, key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.open(key).__enter__(),
    ):
        with pytest.raises(StoreTrouble, match="cannot be the name") as caught:
            act()
        assert caught.value.code == "bad-key"
    assert files(folder.parent) == []


def test_no_symbolic_link_below_the_folder_is_followed(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("secret")
    (folder / "plan").symlink_to(tmp_path / "elsewhere")
    (folder / "file").symlink_to(tmp_path / "elsewhere" / "secret")
    with pytest.raises(StoreTrouble, match="follows no links"):
        put(store, "plan/a")
    with pytest.raises(StoreTrouble, match="follows no links"):
        store.delete("plan/secret")
    for key in ("plan/secret", "file"):
        with pytest.raises(StoreTrouble), store.open(key):
            pytest.fail("it opened")
    assert [*store.list("")] == []
    put(store, "file", b"mine")  # replaces the link itself
    assert (tmp_path / "elsewhere" / "secret").read_text() == "secret"


def test_an_object_that_became_shorter_is_not_taken_for_the_whole(store: LocalStore, folder: Path) -> None:
    put(store, "a", b"x" * 3 * MIB)

    def read_on() -> None:
        with store.open("a") as file:
            file.read(MIB)
            os.truncate(folder / "a", 2 * MIB)
            while file.read(MIB):
                pass

    with pytest.raises(StoreTrouble, match="ended after") as caught:
        read_on()
    assert caught.value.code == "cut"


def test_a_pipe_in_the_place_of_an_object_does_not_hang_the_reader(store: LocalStore, folder: Path) -> None:
    os.mkfifo(folder / "a")
    assert store.stat("a") is None
    with pytest.raises(StoreTrouble, match="not a file"), store.open("a"):
        pytest.fail("it opened")


def test_unfinished_files_of_dead_writers_are_removed_by_age_and_prefix(store: LocalStore, folder: Path) -> None:
    put(store, "plan/a")
    now = datetime.now(UTC)
    for name in ("plan/.b.123456.partial", "other/.c.123456.partial"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert store.abort_stale("plan/", before=now - timedelta(hours=1)) == 0
    assert store.abort_stale("plan/", before=now + timedelta(hours=1)) == 1
    assert files(folder) == ["other/.c.123456.partial", "plan/a"]


@pytest.mark.parametrize("path", ["", "relative/path", "bad\x00name"])
def test_a_path_that_is_not_whole_is_refused(path: str) -> None:
    with pytest.raises(StoreTrouble, match="absolute path") as caught:
        at(path).check()
    assert caught.value.code == "bad-path"


def test_a_folder_that_is_missing_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreTrouble, match="does not exist"):
        at(tmp_path / "gone").check()
    assert not (tmp_path / "gone").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreTrouble):
        at(tmp_path / "file").check()


def test_a_folder_whose_disk_vanished_is_noticed_at_the_next_backup(store: LocalStore, folder: Path) -> None:
    put(store, "a")
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(StoreTrouble, match="check that its disk is mounted"):
        put(store, "b")
    with pytest.raises(StoreTrouble):
        list(store.list(""))


def test_a_folder_of_keys_is_refused_also_through_a_link(tmp_path: Path) -> None:
    keys = Path(settings.MAINSTAY_KEYS)
    (keys / "below").mkdir(exist_ok=True)
    (tmp_path / "link").symlink_to(keys)
    for path in (keys, keys / "below", tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(StoreTrouble, match="own keys") as caught:
            at(path).check()
        assert caught.value.code == "keys"
    (keys / "below").rmdir()


def test_the_check_writes_reads_lists_and_leaves_nothing(store: LocalStore, folder: Path) -> None:
    found = store.check()
    assert files(folder) == []
    assert "same machine" in found.warnings[-1]
    folder.chmod(0o755)
    assert "look into this folder" in store.check().warnings[0]


def test_a_folder_without_the_right_to_write_is_refused(folder: Path) -> None:
    """As a user who is not root: root may write everywhere."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        with pytest.raises(StoreTrouble, match="may not write"):
            at(folder).check()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            at("/usr/share").check()
        except StoreTrouble as trouble:
            code = 0 if trouble.code == "no-write" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = at(disk)
        put(store, "older")
        with pytest.raises(StoreTrouble, match="is full") as caught:
            put(store, "new", b"x" * 60 * MIB)  # it would fit, but leave too little for everybody else
        assert (caught.value.code, caught.value.permanent) == ("full", False)
        assert files(disk) == ["older"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_write_that_the_system_refuses_is_said_and_nothing_is_left(store: LocalStore, folder: Path) -> None:
    """A limit on the size of files stands for a full disk: the same path, without a mount."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
            put(store, "big", b"x" * 5 * MIB)
        except StoreTrouble as trouble:
            code = 0 if trouble.code == "full" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert files(folder) == []


def test_a_stream_of_short_reads_is_kept_whole(store: LocalStore, folder: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"a" * 1000)
    os.close(write)
    stream: IO[bytes] = os.fdopen(read, "rb", buffering=0)
    with stream:
        assert store.put("a", stream, progress=quiet).size == 1000
