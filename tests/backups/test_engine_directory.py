"""Folders: whatever may lie in one, comes back equal; what cannot be copied is named; nothing gets out of its place."""

import io
import os
import random
import socket
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest
from django.conf import settings

from apps.backups.engines.base import Target
from apps.backups.engines.directory import DirectoryEngine
from apps.backups.engines.folder_read import Excluded
from apps.backups.facts import EngineTrouble, Manifest, Rung
from tests.backups.lent import Lent

ENGINE = DirectoryEngine()
GOOD = [("restored", True), ("complete", True), ("correct", True)]


@pytest.fixture
def work(tmp_path: Path) -> Lent:
    """Lend a folder."""
    (tmp_path / "work").mkdir(mode=0o700)
    return Lent(tmp_path / "work")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder with what tends to get lost in copies."""
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o751)
    (root / "plain.txt").write_text("a backup that nobody restored\n")
    (root / "zero").touch()
    (root / "big").write_bytes(random.Random(3).randbytes(3_000_000))
    (root / "deep" / "er" / "run.sh").write_text("#!/bin/sh\n")
    (root / "deep" / "er" / "run.sh").chmod(0o4755)
    (root / "closed").write_text("x")
    (root / "closed").chmod(0o000 if os.geteuid() == 0 else 0o400)  # only root reads what nobody may
    (root / "link").symlink_to("plain.txt")
    (root / "away").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("nowhere")
    (root / "tofolder").symlink_to("deep")
    os.link(root / "big", root / "zz-same")
    (root / ("long" * 40)).write_text("long")
    (root / "ünï c\n\ttab \\ back").write_text("odd")
    Path(os.fsdecode(os.fsencode(root) + b"/latin-\xe9\xff")).write_text("not utf-8")
    os.utime(root / "plain.txt", ns=(10**18 + 123456789, 10**18 + 123456789))
    (root / "shut").mkdir()
    (root / "shut" / "in").write_text("in")
    (root / "shut").chmod(0o500)
    return root


def target(path: Path | str, **more: Any) -> Target:
    """Name a folder as a source or as a place to restore to."""
    return Target("directory", {"path": str(path), **more}, {})


def dumped(path: Path, work: Lent, **more: Any) -> tuple[bytes, Manifest]:
    """Dump a folder into memory."""
    with ENGINE.dump(target(path, **more), work) as dump:
        return dump.stream.read(), dump.finish()


def opener(data: bytes) -> Callable[[], "closing[IO[bytes]]"]:
    """Open an archive from memory, as often as wanted."""
    return lambda: closing(io.BytesIO(data))


def rungs(data: bytes, manifest: Manifest, work: Lent) -> list[Rung]:
    """Rehearse a restore in a folder of its own."""
    folder = Path(work.folder) / os.urandom(4).hex()
    folder.mkdir(mode=0o700)
    return list(ENGINE.rehearse(opener(data), manifest, Lent(folder)))


def listing(root: Path) -> dict[str, Any]:
    """Return what a person would compare."""
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        content: Any = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = 0 if path.is_symlink() else stat.S_IMODE(info.st_mode)
        found[str(path.relative_to(root))] = (stat.S_IFMT(info.st_mode), mode, info.st_uid, content)
    return found


def test_everything_in_a_folder_comes_back_equal(tree: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(tree, work)
    assert [(rung.name, rung.ok) for rung in rungs(data, manifest, work)] == GOOD
    assert "every digest is equal" in ENGINE.read(opener(data), manifest, work)
    assert Manifest.from_json(manifest.to_json()) == manifest
    said = ENGINE.restore(opener(data), manifest, target(tmp_path / "back"), work)
    assert "all equal" in said
    assert listing(tmp_path / "back") == listing(tree)
    assert (tmp_path / "back" / "plain.txt").stat().st_mtime == pytest.approx((tree / "plain.txt").stat().st_mtime)
    assert (tmp_path / "back" / "zz-same").stat().st_ino == (tmp_path / "back" / "big").stat().st_ino


def test_the_archive_opens_with_tar_alone(tree: Path, work: Lent, tmp_path: Path) -> None:
    data, _ = dumped(tree, work)
    (tmp_path / "out").mkdir()
    done = subprocess.run(["tar", "-xpf", "-", "-C", tmp_path / "out"], input=data, capture_output=True, check=True)
    # GNU tar keeps names that are not UTF-8 but says that it does not know the mark for them.
    assert [line for line in done.stderr.splitlines() if b"hdrcharset" not in line] == []
    assert listing(tmp_path / "out") == listing(tree)


def test_names_in_the_manifest_fit_every_database(tree: Path, work: Lent) -> None:
    _, manifest = dumped(tree, work)
    names = [member.name for member in manifest.members]
    assert len(set(names)) == len(names)
    for name in names:
        name.encode("utf-8", "strict")
        assert "\x00" not in name
    assert "latin-\\xe9\\xff" in names
    assert "ünï c\n\ttab \\\\ back" in names


def test_sockets_pipes_and_what_may_not_be_read_are_named(tree: Path, work: Lent) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tree)  # a socket's path is short
        listener.bind("sock")
        os.chdir(here)
        data, manifest = dumped(tree, work)
    assert manifest.facts["skipped"] == [["pipe", "special"], ["sock", "special"]]
    assert "2 sockets, pipes or devices" in manifest.facts["warnings"][0]
    assert [(rung.name, rung.ok) for rung in rungs(data, manifest, work)] == GOOD


def test_what_is_excluded_is_listed_with_its_size(tree: Path, work: Lent) -> None:
    (tree / "deep" / "cache").mkdir()
    (tree / "deep" / "cache" / "x").write_bytes(b"x" * 5000)
    data, manifest = dumped(tree, work, excludes=["big", "deep/cache", "*.txt", "# a remark", ""])
    assert manifest.facts["excluded"] == [["big", 3_000_000], ["deep/cache", 5000], ["plain.txt", 30]]
    assert manifest.facts["excluded_bytes"] == 3_005_030
    names = {member.name for member in manifest.members}
    assert not {"big", "plain.txt", "deep/cache/", "deep/cache/x"} & names
    assert "zz-same" in names
    assert [(rung.name, rung.ok) for rung in rungs(data, manifest, work)] == GOOD
    assert "3 entries" in ENGINE.check(target(tree, excludes="big\ndeep/cache\n*.txt")).warnings[0]


@pytest.mark.parametrize("pattern", ["*", "/", "**", "/*"])
def test_a_pattern_that_excludes_everything_is_refused(tree: Path, pattern: str) -> None:
    with pytest.raises(EngineTrouble, match="excludes everything"):
        ENGINE.check(target(tree, excludes=[pattern]))
    assert Excluded(["a/*"])("a/b")
    assert not Excluded(["a/*"])("b/a")


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_named_and_its_digest_is_of_what_was_kept(
    tree: Path, work: Lent, change: str
) -> None:
    path = tree / "big"
    path.write_bytes(random.Random(4).randbytes(40_000_000))
    with ENGINE.dump(target(tree), work) as dump:
        data = dump.stream.read(5_000_000)  # the pipe holds the rest back
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "shrink":
            os.truncate(path, 10_000_000)
        else:
            path.write_bytes(b"n" * 40_000_000)
        data += dump.stream.read()
        manifest = dump.finish()
    assert manifest.facts["changed"] == ["big"]
    assert "changed while being read" in manifest.facts["warnings"][0]
    found = rungs(data, manifest, work)
    assert [(rung.name, rung.ok) for rung in found] == GOOD
    assert "may mix old and new" in found[-1].said


def test_a_file_that_vanishes_is_named(tree: Path, work: Lent) -> None:
    (tree / "big").write_bytes(random.Random(4).randbytes(40_000_000))
    with ENGINE.dump(target(tree), work) as dump:
        data = dump.stream.read(1_000_000)
        (tree / "zero").unlink()
        data += dump.stream.read()
        manifest = dump.finish()
    assert manifest.facts["vanished"] == ["zero"]
    assert [(rung.name, rung.ok) for rung in rungs(data, manifest, work)] == GOOD


def changed(data: bytes, how: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> bytes:
    """Return an archive with its entries changed or left out."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for info in old:
            content = old.extractfile(info) if info.isfile() else None
            result = how(info, content.read() if content is not None else b"")
            if result is not None:
                new.addfile(result[0], io.BytesIO(result[1]))
    return out.getvalue()


def test_a_lost_a_changed_and_an_added_file_are_each_named(tree: Path, work: Lent) -> None:
    data, manifest = dumped(tree, work)

    def bad(how: Callable[[tarfile.TarInfo, bytes], Any]) -> Rung:
        wrong = changed(data, how)
        with pytest.raises(EngineTrouble, match="not what was recorded"):
            ENGINE.read(opener(wrong), manifest, work)
        return rungs(wrong, manifest, work)[-1]

    rung = bad(lambda info, content: None if info.name == "zero" else (info, content))
    assert (rung.name, rung.ok) == ("complete", False)
    assert "zero is missing" in rung.said
    rung = bad(lambda info, content: (info, content.replace(b"nobody", b"nobodi")))
    assert (rung.name, rung.ok) == ("correct", False)
    assert "plain.txt" in rung.said

    def opened(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.mode = 0o666 if info.name == "closed" else info.mode
        return info, content

    rung = bad(opened)
    assert (rung.name, rung.ok) == ("correct", False)
    assert "closed" in rung.said

    def elsewhere(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.linkname = "/etc/shadow" if info.name == "link" else info.linkname
        return info, content

    assert "link" in bad(elsewhere).said


def test_a_cut_archive_is_noticed(tree: Path, work: Lent) -> None:
    data, manifest = dumped(tree, work)
    for size in (0, 100, 512, len(data) // 2, len(data) - 20_000):
        with pytest.raises(EngineTrouble):
            ENGINE.read(opener(data[:size]), manifest, work)
        with pytest.raises(EngineTrouble):
            rungs(data[:size], manifest, work)


def evil(name: str, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry that no backup holds."""
    info = tarfile.TarInfo(name)
    content = more.pop("content", b"")
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


@pytest.mark.parametrize(
    "entries",
    [
        [evil("../out", content=b"x")],
        [evil("/tmp/out", content=b"x")],
        [evil("a/../../out", content=b"x")],
        [evil("door", type=tarfile.SYMTYPE, linkname=".."), evil("door/out", content=b"x")],
        [evil("door", type=tarfile.SYMTYPE, linkname="/"), evil("door/tmp/out", content=b"x")],
        [evil("hard", type=tarfile.LNKTYPE, linkname="../secret")],
        [evil("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [evil("d", type=tarfile.SYMTYPE, linkname=".."), evil("hard", type=tarfile.LNKTYPE, linkname="d/secret")],
        [evil("door", type=tarfile.SYMTYPE, linkname="../secret"), evil("door", content=b"overwritten")],
        [evil("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [evil("pipe", type=tarfile.FIFOTYPE)],
    ],
)
def test_an_archive_never_reaches_outside_its_folder(
    tree: Path, work: Lent, tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    _, manifest = dumped(tree, work)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "prison").mkdir()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    before = listing(tmp_path / "tree")
    with pytest.raises(EngineTrouble):
        ENGINE.restore(opener(out.getvalue()), manifest, target(tmp_path / "prison"), work)
    with pytest.raises(EngineTrouble):
        rungs(out.getvalue(), manifest, work)
    assert (tmp_path / "secret").read_text() == "secret"
    assert list((tmp_path / "prison").iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/out").exists()
    assert listing(tmp_path / "tree") == before


def test_a_folder_of_keys_is_refused_under_every_name(tmp_path: Path, work: Lent) -> None:
    keys = Path(settings.MAINSTAY_KEYS)
    (keys / "below").mkdir(exist_ok=True)
    (tmp_path / "link").symlink_to(keys)
    for path in (keys, keys / "below", keys.parent, Path("/"), tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(EngineTrouble, match="keys") as caught:
            ENGINE.check(target(path))
        assert caught.value.code == "keys"
    (keys / "below").rmdir()


def test_a_hard_link_to_a_key_is_refused_when_it_is_met(tree: Path, work: Lent) -> None:
    key = Path(settings.MAINSTAY_KEYS) / "ring.json"
    try:
        os.link(key, tree / "deep" / "innocent.json")
    except OSError:
        pytest.skip("the temporary folders lie on two disks")
    with pytest.raises(EngineTrouble, match="keys"):
        dumped(tree, work)


def test_a_folder_of_keys_mounted_into_the_tree_is_refused(tree: Path, work: Lent) -> None:
    (tree / "mounted").mkdir()
    done = subprocess.run(
        ["mount", "--bind", settings.MAINSTAY_KEYS, tree / "mounted"], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        for path in (tree, tree / "mounted"):
            with pytest.raises(EngineTrouble, match="keys"):
                dumped(path, work)
    finally:
        subprocess.run(["umount", tree / "mounted"], check=True)


def test_the_folder_of_the_live_database_is_refused(work: Lent, monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    monkeypatch.setattr("apps.backups.engines.directory.own_database", lambda: tree / "plain.txt")
    with pytest.raises(EngineTrouble, match="own live database"):
        ENGINE.check(target(tree))


def test_a_folder_that_is_gone_or_empty_is_a_trouble(tmp_path: Path, work: Lent) -> None:
    (tmp_path / "bare" / "only" / "folders").mkdir(parents=True)
    for path, code in (
        (tmp_path / "gone", "missing"),
        (tmp_path / "bare", "empty"),
        (Path("relative"), "bad-path"),
    ):
        with pytest.raises(EngineTrouble) as caught:
            ENGINE.check(target(path))
        assert caught.value.code == code
    (tmp_path / "file").touch()
    with pytest.raises(EngineTrouble, match="not a folder"):
        ENGINE.check(target(tmp_path / "file"))
    with pytest.raises(EngineTrouble, match="no file"):
        dumped(tmp_path / "bare", work)


def test_a_restore_into_a_folder_that_holds_something_is_refused(tree: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(tree, work)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "dear").write_text("dear")
    (tmp_path / "link").symlink_to(tmp_path / "bare")
    (tmp_path / "bare").mkdir()
    for place in (tree, tmp_path / "full", tmp_path / "full" / "dear", tmp_path / "link"):
        with pytest.raises(EngineTrouble, match="not an empty folder"):
            ENGINE.restore(opener(data), manifest, target(place), work)
    with pytest.raises(EngineTrouble, match="could not be made"):
        ENGINE.restore(opener(data), manifest, target(tmp_path / "no" / "parent"), work)
    assert (tmp_path / "full" / "dear").read_text() == "dear"
    ENGINE.restore(opener(data), manifest, target(tmp_path / "bare"), work)


def test_a_restore_that_would_differ_is_taken_back(tree: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(tree, work)
    wrong = changed(data, lambda info, content: (info, content.replace(b"nobody", b"nobodi")))
    with pytest.raises(EngineTrouble, match="removed again"):
        ENGINE.restore(opener(wrong), manifest, target(tmp_path / "new"), work)
    assert not (tmp_path / "new").exists()


def test_leaving_the_dump_early_leaves_no_thread(tree: Path, work: Lent) -> None:
    with ENGINE.dump(target(tree), work) as dump:
        dump.stream.read(1)
    assert not [thread for thread in threading.enumerate() if thread.name == "folder-tar"]


def test_checking_says_how_much_there_is(tree: Path) -> None:
    found = ENGINE.check(target(tree))
    assert found.size is not None
    assert found.size > 3_000_000
    assert found.sentence.startswith("A folder with ")
