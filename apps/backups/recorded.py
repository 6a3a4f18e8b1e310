"""Opens one backup's object as it was recorded: no byte more than was packed, and at the end the very same digest.

age encrypts to a public key, so whoever can write to the bucket and knows that key can put an archive of his own there
that decrypts well. Only the digest in our own catalogue tells it from the one that was made here.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from apps.backups import pipeline
from apps.backups.facts import StoreTrouble
from apps.backups.models import Backup
from apps.backups.stores.base import Store


class _Bounded(io.RawIOBase):
    """An archive that ends with a sentence once it grows beyond what was packed: nothing fills the disk."""

    def __init__(self, archive: pipeline.Opened, most: int | None, key: str) -> None:
        super().__init__()
        self._archive, self._most, self._key = archive, most, key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        size = self._archive.readinto(buffer)
        self._check()
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = self._archive.read(size)
        self._check()
        return data

    def _check(self) -> None:
        if self._most is not None and self._archive.raw_bytes > self._most:
            raise replaced(self._key)


def replaced(key: str) -> StoreTrouble:
    """Return the trouble of an object that is not the one that was stored."""
    return StoreTrouble(
        f"{key} is not the object that was stored: somebody replaced or changed it. Do not use what came out of it. "
        "The source is not touched. Use another backup, and find out who can write to the store.",
        code="replaced",
    )


@contextmanager
def opened_as_recorded(
    store: Store, backup: Backup, identity: str, progress: Callable[[int], None] = lambda _done: None
) -> Iterator[IO[bytes]]:
    """Open a backup's archive. Raises StoreTrouble while reading, and after the last byte if the digest differs."""
    with pipeline.opened(store, backup.object_key, identity, progress) as archive:
        yield cast("IO[bytes]", _Bounded(archive, backup.raw_bytes, backup.object_key))
        with suppress(ValueError):  # not read to its end: then the caller looks at the digest another time
            if backup.sha256 and (archive.sha256, archive.size) != (backup.sha256, backup.size):
                raise replaced(backup.object_key)


class RecordedOpener:
    """What an engine takes to read one backup from its first byte, as often as it likes."""

    def __init__(self, store: Store, backup: Backup, identity: str, progress: Callable[[int], None]) -> None:
        """Keep what `opened_as_recorded` needs."""
        self._arguments = (store, backup, identity, progress)

    @contextmanager
    def __call__(self) -> Iterator[IO[bytes]]:
        """Open the archive."""
        with opened_as_recorded(*self._arguments) as archive:
            yield archive
