"""A stream that knows how long it must be: an object that ends too early is never taken for the whole."""

import io
from typing import IO

from apps.backups.facts import StoreTrouble


class Whole(io.RawIOBase):
    """Passes reads on and raises StoreTrouble when the bytes end before `size`, or go on behind it."""

    def __init__(self, source: IO[bytes], size: int, key: str) -> None:
        """Take the open object, the size that the store told, and the name for the sentence."""
        super().__init__()
        self._source, self._size, self._key = source, size, key
        self._read = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, or everything."""
        if size is None or size < 0:
            return self.readall()
        data = self._source.read(size)
        self._read += len(data)
        if size and (self._read > self._size or (not data and self._read < self._size)):
            raise cut(self._key, self._read, self._size)
        return data

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill part of a buffer; 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def cut(key: str, read: int, size: int) -> StoreTrouble:
    """Return the trouble of an object that is not as long as its store says."""
    return StoreTrouble(
        f"{key} ended after {read} of {size} bytes. The source is not touched. Try again; if it "
        "repeats, the store lost part "
        "of the object: use another backup.",
        code="cut",
        permanent=False,
    )
