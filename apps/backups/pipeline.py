"""The one way of a backup: engine stream → zstd → age → store, and back; flat memory, nothing spooled.

Formats are standard: an object opens with `age -d -i key.txt OBJECT | zstd -d` and nothing else.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, cast

import pyrage
import zstandard

from apps.backups.channel import Channel, Stopped
from apps.backups.cipher import identity as own_identity
from apps.backups.cipher import key_of, recipients_of
from apps.backups.facts import EngineTrouble, Manifest, Stored, StoreTrouble, Trouble
from apps.backups.frames import Unpacked
from apps.backups.stores.base import Progress, Store

LEVEL = 3  # of zstd: the best ratio that still keeps up with pg_dump on one core
CHUNK = 1024 * 1024
BETWEEN = 4 * 1024 * 1024  # bytes that may wait between two stages


@dataclass(frozen=True, slots=True)
class Sent:
    """What one backup left in the store, and what it took."""

    stored: Stored
    raw_bytes: int  # read from the engine
    seconds: float  # from the first byte asked of the engine to the upload confirmed by the store
    finish_seconds: float  # of those, spent waiting for the engine's `finish` after its last byte
    manifest: Manifest | None  # what `finish` returned


def send(
    stream: IO[bytes],
    *,
    store: Store,
    key: str,
    recipients: Sequence[str],
    progress: Progress,
    until: datetime | None = None,
    finish: Callable[[], Manifest] | None = None,
) -> Sent:
    """Send an engine's stream to a store, compressed and encrypted to the recipients (age public keys).

    `finish` is called in this thread after the stream's last byte and before the object becomes visible: when the dump
    turns out bad, no object is left. `progress` gets the bytes read from the engine, in this thread only, and at least
    about once a second. A stream with a `fileno` must not have been read from before. Raises the Trouble of the stage
    that failed; then no thread, no upload and no object is left.
    """
    began = time.monotonic()
    keys = recipients_of(recipients)
    source = _Source(stream)
    raw, packed, sealed = Channel(2 * BETWEEN, piece=CHUNK), Channel(BETWEEN), Channel(BETWEEN, piece=CHUNK)

    def draw() -> None:  # apart from `pack`, so that the engine goes on while its last bytes are compressed
        while data := source.read():
            raw.write(data)
        raw.end()

    def pack() -> None:
        packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        while data := raw.read():
            packed.write(packer.compress(data))
        packed.write(packer.flush())
        packed.end()

    def seal() -> None:
        reader = _Remembering(packed)
        try:
            pyrage.encrypt_io(reader, _Remembering(sealed, reader), keys)
        except Exception as error:  # noqa: BLE001 it is raised again, as what it was
            raise reader.error or error from None
        sealed.end()

    stages = _Stages(raw, packed, sealed, source)
    end = _End(sealed, source, progress, finish)
    try:
        stages.start(draw, "draw")
        stages.start(pack, "pack")
        stages.start(seal, "seal")
        stored = store.put(key, cast("IO[bytes]", end), progress=lambda _sent: progress(source.count), until=until)
    except BaseException as error:  # noqa: BLE001 it is raised again, or what caused it
        stages.stop(error)
        raise stages.cause(error) from None
    stages.stop(None)
    if stored.sha256 != end.sha256 or stored.size != end.count:
        _forget(store, key)
        raise StoreTrouble(
            f"The store says it holds {stored.size} bytes of {key}, but {end.count} were sent. The "
            "source was not touched. "
            "Run the backup again; if this repeats, test the store's connection.",
            code="incomplete",
            permanent=False,
        )
    return Sent(stored, source.count, time.monotonic() - began, end.finish_seconds, end.manifest)


class Opened(io.RawIOBase):
    """An archive under way back, decrypted and decompressed; read whole, it knows the object's size and sha256."""

    def __init__(self, plain: Channel, cipher: "_Hashed", progress: Progress) -> None:
        """Read the decrypted bytes from a channel whose other end reads the object through `cipher`."""
        super().__init__()
        self._cipher, self._progress = cipher, progress
        self._unpacked = Unpacked(lambda size: plain.read(size, idle=self._tell))
        self.raw_bytes = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill part of a buffer; 0 at the end of the archive. Raises StoreTrouble for a damaged object."""
        data = self._unpacked.read(len(buffer))
        buffer[: len(data)] = data
        self.raw_bytes += len(data)
        self._tell()
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, or everything."""
        if size is None or size < 0:
            return self.readall()
        data = self._unpacked.read(size)
        self.raw_bytes += len(data)
        self._tell()
        return data

    @property
    def sha256(self) -> str:
        """Return the digest of the object as it lies in the store. Raises ValueError before the archive's end."""
        if not self._cipher.ended:
            raise ValueError("the archive was not read to its end")
        return self._cipher.digest.hexdigest()

    @property
    def size(self) -> int:
        """Return the bytes of the object read so far."""
        return self._cipher.count

    def _tell(self) -> None:
        self._progress(self._cipher.count)


@contextlib.contextmanager
def opened(store: Store, key: str, identity: str = "", progress: Progress = lambda _done: None) -> Iterator[Opened]:
    """Open an object from its first byte, decrypted and decompressed.

    `identity` is a secret age identity, this installation's own without one; `progress` gets the bytes of the object
    read so far, in this thread only.
    Reading raises EngineTrouble for the wrong key and StoreTrouble for an object that is cut, damaged or replaced.
    """
    plain = Channel(BETWEEN)
    who = key_of(identity or own_identity())
    with store.open(key) as source:
        cipher = _Hashed(source)

        def unseal() -> None:
            try:
                pyrage.decrypt_io(cipher, _Remembering(plain, cipher), [who])
            except Exception as error:
                if cipher.error is not None:
                    raise cipher.error from None
                raise _decrypt_trouble(error, key) from error
            cipher.drain()
            plain.end()

        stages = _Stages(plain)
        stages.start(unseal, "unseal")
        try:
            yield Opened(plain, cipher, progress)
        except BaseException as error:  # noqa: BLE001 it is raised again, or what caused it
            stages.stop(error)
            raise stages.cause(error) from None
        stages.stop(None)


def _decrypt_trouble(error: Exception, key: str) -> Trouble:
    if "No matching keys" in str(error):
        return EngineTrouble(
            f"The key in the key folder does not open {key}: it was encrypted to another key. The object is untouched. "
            "Put back the key that was current when it was made (the backup's page names its public half).",
            code="wrong-key",
        )
    return StoreTrouble(
        f"{key} is damaged: its encryption does not hold, so bytes were changed, cut off or replaced in the store. "
        "The source is not touched. Use another backup, and find out who can write to the store.",
        code="damaged",
    )


def _forget(store: Store, key: str) -> None:
    with contextlib.suppress(StoreTrouble):
        store.delete(key)


class _Stages:
    """The threads of one pipeline: the first that fails stops the others, and its error is the one that is told."""

    def __init__(self, *stoppable: "Channel | _Source") -> None:
        self._stoppable = stoppable
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def start(self, body: Callable[[], None], name: str) -> None:
        def run() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 every end of a stage must reach the others, whatever it is
                self._fail(error)

        thread = threading.Thread(target=run, name=f"backup-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, error: BaseException | None) -> None:
        """End every stage and wait for it; `error` is what the calling thread met."""
        if error is not None:
            self._fail(error)
        else:
            for each in self._stoppable:
                each.stop()
        for thread in self._threads:
            thread.join()

    def cause(self, error: BaseException) -> BaseException:
        """Return the error that came first, as something that a person can read."""
        first = self._first if self._first is not None else error
        if isinstance(first, OSError):
            return EngineTrouble(
                f"Reading the source stopped: {first.strerror or first}. Nothing was left in the store."
            )
        return first

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._first is None and not isinstance(error, Stopped):
                self._first = error
        for each in self._stoppable:
            each.stop(error)


class _Source:
    """Reads the engine's stream in chunks; a stop from outside ends even a read that waits for a pipe."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._stopped = False
        self.count = 0
        self._wake: tuple[int, int] | None = None
        try:
            file = stream.fileno()
        except (OSError, AttributeError):
            return
        with contextlib.suppress(OSError):  # not a pipe, or more than this user may ask for
            fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, CHUNK)  # fewer, larger reads
        self._wake = os.pipe()
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)
        self._poll.register(self._wake[0], select.POLLIN)

    def read(self) -> bytes:
        """Return the next chunk, or b"" at the end."""
        if self._wake is not None:
            ready = [file for file, _ in self._poll.poll()]
            if self._stopped or self._wake[0] in ready:
                raise Stopped
        elif self._stopped:
            raise Stopped
        # `read1` asks a pipe once; `read` would wait until the whole chunk is there and could not be stopped.
        data = self._stream.read1(CHUNK) if isinstance(self._stream, io.BufferedReader) else self._stream.read(CHUNK)
        self.count += len(data)
        return data

    def stop(self, _error: BaseException | None = None) -> None:
        """End a read that waits."""
        self._stopped = True
        if self._wake is not None:
            with contextlib.suppress(OSError):
                os.write(self._wake[1], b"x")

    def __del__(self) -> None:
        """Close the wake-up pipe."""
        if self._wake is not None:
            os.close(self._wake[0])
            os.close(self._wake[1])


class _Remembering:
    """Hands reads and writes of pyrage on to a channel and remembers what went wrong: pyrage keeps only its text."""

    def __init__(self, channel: Channel, teller: "_Remembering | _Hashed | None" = None) -> None:
        self._channel, self._teller = channel, teller
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            return self._channel.read(size)
        except BaseException as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        try:
            return self._channel.write(data)
        except BaseException as error:
            (self._teller or self).error = error
            raise

    def flush(self) -> None:
        """Do nothing."""


class _Hashed:
    """Reads an object in large chunks, hashes them and gives pyrage its 8 KiB at a time."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._chunk, self._at = b"", 0
        self.digest = hashlib.sha256()
        self.count = 0
        self.ended = False
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        if self._at >= len(self._chunk):
            self._fill()
        piece = self._chunk[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def drain(self) -> None:
        """Read what comes after the encrypted stream: there must be nothing, and the digest needs the very end."""
        extra = len(self._chunk) - self._at
        while not self.ended:
            self._fill()
            extra += len(self._chunk)
        if extra:
            raise StoreTrouble(
                f"The object has {extra} bytes behind its own end: somebody changed it in the store. "
                "The source is not touched. Use another backup, and find out who can write to the store.",
                code="damaged",
            )

    def _fill(self) -> None:
        try:
            self._chunk, self._at = self._source.read(CHUNK), 0
        except BaseException as error:
            self.error = error
            raise
        self.digest.update(self._chunk)
        self.count += len(self._chunk)
        self.ended = not self._chunk


class _End:
    """What the store reads: the sealed stream, counted and hashed; at its end the engine says whether all was well."""

    def __init__(
        self, sealed: Channel, source: _Source, progress: Progress, finish: Callable[[], Manifest] | None
    ) -> None:
        self._sealed, self._source, self._progress, self._finish = sealed, source, progress, finish
        self._digest = hashlib.sha256()
        self._finished = False
        self.count = 0
        self.manifest: Manifest | None = None
        self.finish_seconds = 0.0

    def read(self, size: int = -1) -> bytes:
        data = self._sealed.read(size, idle=lambda: self._progress(self._source.count))
        self._digest.update(data)
        self.count += len(data)
        if not data and not self._finished:
            self._finished = True
            began = time.monotonic()
            if self._finish is not None:
                self.manifest = self._finish()
            self.finish_seconds = time.monotonic() - began
        return data

    def readable(self) -> bool:
        return True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
