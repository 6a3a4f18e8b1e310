"""The pipeline: standard formats, flat memory, and a failure anywhere that stops everything and leaves nothing."""

import hashlib
import io
import os
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyrage
import pytest
import zstandard

from apps.backups import cipher, pipeline
from apps.backups.facts import EngineTrouble, LostLease, Manifest, StoreTrouble
from apps.backups.frames import Unpacked
from apps.backups.stores import store_of
from apps.backups.stores.base import Place
from apps.backups.stores.local import LocalStore
from apps.core.identity import identity_path
from tests.backups.own_key import have_identity

MIB = 1024 * 1024
MANIFEST = Manifest("sqlite", "3", datetime(2026, 11, 23, tzinfo=UTC), 0, ())


def quiet(_done: int) -> None:
    """Hear progress and do nothing."""


@pytest.fixture
def key() -> str:
    """Return a fresh secret identity."""
    return str(pyrage.x25519.Identity.generate())


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Return a store in a folder of its own."""
    (tmp_path / "store").mkdir(mode=0o700)
    return LocalStore(Place("local", {"path": str(tmp_path / "store")}, {}))


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("backup-")] == []


def public(key: str) -> str:
    """Return the public half of an identity."""
    return str(pyrage.x25519.Identity.from_str(key).to_public())


def send(store: Any, key: str, data: bytes | IO[bytes], **more: Any) -> pipeline.Sent:
    """Send bytes or a stream as the object plan/a.age."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    return pipeline.send(stream, store=store, key="plan/a.age", recipients=[public(key)], progress=quiet, **more)


def data_of(size: int) -> bytes:
    """Return bytes that compress a little, the same each time."""
    rng = random.Random(7)
    return b"".join(rng.randbytes(96) + b" mainstay proves what it keeps  " for _ in range(size // 128 + 1))[:size]


def path_of(store: LocalStore) -> Path:
    """Return where the object lies."""
    return Path(store._path) / "plan" / "a.age"


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 - 1, 64 * 1024, 5 * MIB + 3])
def test_what_was_sent_comes_back_equal(store: LocalStore, key: str, size: int) -> None:
    data = data_of(size)
    sent = send(store, key, data)
    assert (sent.raw_bytes, sent.stored.size) == (size, path_of(store).stat().st_size)
    assert sent.stored.sha256 == hashlib.sha256(path_of(store).read_bytes()).hexdigest()
    with pipeline.opened(store, "plan/a.age", key, quiet) as stream:
        assert stream.read() == data
        assert (stream.sha256, stream.size) == (sent.stored.sha256, sent.stored.size)


def test_the_object_opens_with_age_and_zstd_alone(store: LocalStore, key: str, tmp_path: Path) -> None:
    data = data_of(3 * MIB)
    send(store, key, data)
    (tmp_path / "key.txt").write_text(f"# created: 2026-11-23\n{key}\n")
    packed = subprocess.run(["age", "-d", "-i", tmp_path / "key.txt", path_of(store)], capture_output=True, check=True)
    assert subprocess.run(["zstd", "-d"], input=packed.stdout, capture_output=True, check=True).stdout == data


def test_what_age_and_zstd_made_opens_here(store: LocalStore, key: str) -> None:
    data = data_of(3 * MIB)
    packed = subprocess.run(["zstd", "-7"], input=data, capture_output=True, check=True).stdout
    sealed = subprocess.run(["age", "-r", public(key)], input=packed, capture_output=True, check=True).stdout
    store.put("plan/a.age", io.BytesIO(sealed), progress=quiet)
    with pipeline.opened(store, "plan/a.age", key, quiet) as stream:
        assert stream.read() == data


def test_every_recipient_opens_it(store: LocalStore) -> None:
    keys = [str(pyrage.x25519.Identity.generate()) for _ in range(3)]
    stream = io.BytesIO(b"for all")
    pipeline.send(stream, store=store, key="plan/a.age", recipients=[public(key) for key in keys], progress=quiet)
    for key in keys:
        with pipeline.opened(store, "plan/a.age", key, quiet) as opened:
            assert opened.read() == b"for all"


def test_this_installations_own_key_is_the_default_and_has_mode_0600(store: LocalStore) -> None:
    have_identity()
    before = identity_path().read_bytes()
    have_identity()
    assert identity_path().read_bytes() == before
    assert identity_path().stat().st_mode & 0o777 == 0o600
    pipeline.send(io.BytesIO(b"ours"), store=store, key="plan/a.age", recipients=[cipher.recipient()], progress=quiet)
    with pipeline.opened(store, "plan/a.age") as stream:
        assert stream.read() == b"ours"


def test_the_wrong_key_is_named_as_such(store: LocalStore, key: str) -> None:
    send(store, key, b"secret")
    other = str(pyrage.x25519.Identity.generate())
    with pytest.raises(EngineTrouble, match="encrypted to another key") as caught, opened(store, other) as stream:
        stream.read()
    assert caught.value.code == "wrong-key"


def opened(store: Any, key: str) -> Any:
    """Open the object plan/a.age."""
    return pipeline.opened(store, "plan/a.age", key, quiet)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_one_flipped_bit_anywhere_is_noticed(store: LocalStore, key: str, share: float) -> None:
    send(store, key, data_of(MIB))
    data = bytearray(path_of(store).read_bytes())
    data[int(len(data) * share)] ^= 1
    path_of(store).write_bytes(data)
    with pytest.raises(StoreTrouble, match="damaged"), opened(store, key) as stream:
        stream.read()


def test_a_cut_object_is_noticed_wherever_it_is_cut(store: LocalStore, key: str) -> None:
    send(store, key, data_of(MIB))
    whole = path_of(store).read_bytes()
    header = whole.index(b"\n--- ") + 1
    border = header + whole[header:].index(b"\n") + 1 + 16 + 2 * (64 * 1024 + 16)  # after the second chunk of 64 KiB
    for size in (0, 10, header, border, len(whole) // 2, len(whole) - 1):
        path_of(store).write_bytes(whole[:size])
        with pytest.raises(StoreTrouble, match="damaged"), opened(store, key) as stream:
            stream.read()


def test_bytes_behind_the_end_are_noticed(store: LocalStore, key: str) -> None:
    send(store, key, data_of(MIB))
    with path_of(store).open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreTrouble), opened(store, key) as stream:
        stream.read()


def test_a_lost_object_is_said_to_be_lost(store: LocalStore, key: str) -> None:
    with pytest.raises(StoreTrouble, match="not in") as caught, opened(store, key):
        pytest.fail("it opened")
    assert caught.value.code == "lost"


def test_an_object_that_another_replaced_has_another_digest(store: LocalStore, key: str) -> None:
    sent = send(store, key, b"the books")
    send(store, key, b"the forger's books")  # encrypted to us: anybody may
    with opened(store, key) as stream:
        stream.read()
        assert stream.sha256 != sent.stored.sha256


def test_an_archive_that_is_not_zstd_is_named(store: LocalStore, key: str) -> None:
    sealed = pyrage.encrypt(b"plain text", [pyrage.x25519.Recipient.from_str(public(key))])
    store.put("plan/a.age", io.BytesIO(sealed), progress=quiet)
    with pytest.raises(StoreTrouble, match="not compressed with zstd"), opened(store, key) as stream:
        stream.read()


@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_frame_is_read_whole_and_a_cut_one_never(level: int, *, checksum: bool) -> None:
    data = data_of(700_000) + bytes(3 * MIB)  # the zeros become blocks of one repeated byte
    frame = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data)

    def unpacked(raw: bytes) -> bytes:
        reader = Unpacked(io.BytesIO(raw).read)
        out = b""
        while piece := reader.read(100_000):
            out += piece
        return out

    assert unpacked(frame) == data
    for size in (0, 4, 6, len(frame) // 2, len(frame) - 5, len(frame) - 1):
        with pytest.raises(StoreTrouble):
            unpacked(frame[:size])
    with pytest.raises(StoreTrouble, match="behind its end"):
        unpacked(frame + b"x")


def test_progress_is_told_in_the_callers_thread_in_bytes_of_the_source(store: LocalStore, key: str) -> None:
    told: list[tuple[str, int]] = []
    data = data_of(9 * MIB)
    pipeline.send(
        io.BytesIO(data),
        store=store,
        key="plan/a.age",
        recipients=[public(key)],
        progress=lambda done: told.append((threading.current_thread().name, done)),
    )
    assert {name for name, _ in told} == {threading.current_thread().name}
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1][1] == len(data)


class Failing(io.RawIOBase):
    """A stream that fails after so many bytes."""

    def __init__(self, after: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.error = after, error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self.left <= 0:
            raise self.error
        self.left -= size
        return os.urandom(size)


def nothing_is_left(store: LocalStore) -> bool:
    """Return whether the store holds no file at all, hidden ones included."""
    return not [path for path in Path(store._path).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "error", [EngineTrouble("The database went away."), OSError(5, "Input/output error"), LostLease()]
)
def test_a_source_that_fails_leaves_nothing_and_its_own_words(
    store: LocalStore, key: str, error: BaseException
) -> None:
    with pytest.raises((EngineTrouble, LostLease)) as caught:
        send(store, key, Failing(20 * MIB, error))  # type: ignore[arg-type]
    assert str(error.args[-1] if error.args else "") in str(caught.value)
    assert nothing_is_left(store)


def test_a_lost_lease_ends_everything_even_while_the_source_is_silent(store: LocalStore, key: str) -> None:
    read, write = os.pipe()
    told = []

    def progress(done: int) -> None:
        told.append(done)
        raise LostLease

    with os.fdopen(read, "rb") as stream, pytest.raises(LostLease):
        pipeline.send(stream, store=store, key="plan/a.age", recipients=[public(key)], progress=progress)
    os.close(write)
    assert told == [0]
    assert nothing_is_left(store)


class Refusing(LocalStore):
    """A store that fails after so many bytes."""

    def put(self, key: str, stream: IO[bytes], **_: Any) -> Any:
        stream.read(MIB)
        raise StoreTrouble("The bucket is gone.", code="no-bucket")


def test_a_store_that_fails_ends_the_reading_of_a_silent_source(store: LocalStore, key: str) -> None:
    read, write = os.pipe()
    os.write(write, data_of(60_000))
    refusing = Refusing(Place("local", {"path": store._path}, {}))
    feeder = threading.Thread(target=lambda: _feed(write), daemon=True)
    feeder.start()
    with os.fdopen(read, "rb") as stream, pytest.raises(StoreTrouble, match="The bucket is gone"):
        send(refusing, key, stream)
    feeder.join()


def _feed(write: int) -> None:
    try:
        for _ in range(40):
            os.write(write, os.urandom(MIB))
    except BrokenPipeError:
        pass
    finally:
        os.close(write)


def test_a_dump_found_bad_at_its_end_never_becomes_an_object(store: LocalStore, key: str) -> None:
    seen = []

    def finish() -> Manifest:
        seen.append((threading.current_thread().name, path_of(store).exists()))
        raise EngineTrouble("pg_dump ended with 1.")

    with pytest.raises(EngineTrouble, match="ended with 1"):
        send(store, key, data_of(MIB), finish=finish)
    assert seen == [(threading.current_thread().name, False)]
    assert nothing_is_left(store)


def test_the_manifest_comes_with_what_was_sent(store: LocalStore, key: str) -> None:
    assert send(store, key, b"x", finish=lambda: MANIFEST).manifest is MANIFEST


def test_a_store_that_holds_something_else_is_not_believed(store: LocalStore, key: str) -> None:
    class Lying(LocalStore):
        def put(self, key: str, stream: IO[bytes], **more: Any) -> Any:
            stored = super().put(key, stream, **more)
            return type(stored)(stored.key, stored.size - 1, stored.sha256)

    with pytest.raises(StoreTrouble, match="were sent"):
        send(Lying(Place("local", {"path": store._path}, {})), key, b"x" * 1000)
    assert nothing_is_left(store)


def test_without_a_public_key_nothing_is_read(store: LocalStore) -> None:
    stream = Failing(0, AssertionError("it was read"))
    for recipients in ([], ["age1nonsense"], ["AGE-SECRET-KEY-1"]):
        with pytest.raises(EngineTrouble, match="Nothing was read"):
            pipeline.send(stream, store=store, key="plan/a.age", recipients=recipients, progress=quiet)  # type: ignore[arg-type]


def test_a_reader_that_stops_early_leaves_no_thread(store: LocalStore, key: str) -> None:
    send(store, key, data_of(30 * MIB))
    with opened(store, key) as stream:
        assert len(stream.read(10)) == 10
        with pytest.raises(ValueError, match="not read to its end"):
            _ = stream.sha256
    with pytest.raises(LostLease), opened(store, key) as stream:
        raise LostLease


def test_a_place_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StoreTrouble, match="knows no store"):
        store_of(Place("ftp", {}, {}))


def test_a_place_shows_no_secret_in_a_log_line() -> None:
    assert "hush" not in repr(Place("s3", {"bucket": "b"}, {"secret_key": "hush"}))


def test_a_bomb_of_a_gigabyte_unpacks_in_flat_memory(tmp_path: Path, store: LocalStore, key: str) -> None:
    """A gigabyte of zeros is some 40 KB compressed: a process of its own sends and reads it, measured by its peak."""
    script = textwrap.dedent("""
        import io, resource, sys
        import django
        from django.conf import settings
        settings.configure(MAINSTAY_KEYS="/nonexistent", MAINSTAY_DATA="/nonexistent")
        from apps.backups import pipeline
        from apps.backups.stores.local import LocalStore
        from apps.backups.stores.base import Place
        import pyrage
        folder, key = sys.argv[1], sys.stdin.read()
        class Zeros(io.RawIOBase):
            left = 1 << 30
            def read(self, size=-1):
                size = min(size, self.left)
                self.left -= size
                return bytes(size)
        store = LocalStore(Place("local", {"path": folder}, {}))
        who = str(pyrage.x25519.Identity.from_str(key).to_public())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipeline.send(Zeros(), store=store, key="z", recipients=[who], progress=lambda n: None)
        size = 0
        with pipeline.opened(store, "z", key, lambda n: None) as stream:
            while piece := stream.read(1 << 20):
                size += len(piece)
        print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, store._path], input=key, capture_output=True, text=True, check=True
    )
    size, grown = map(int, done.stdout.split())
    assert size == 1 << 30
    assert grown < 60 * 1024  # KiB
