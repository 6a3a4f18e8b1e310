"""Reads a zstd frame block by block: memory stays flat whatever the ratio, and a cut or trailing byte is noticed.

zstandard's own reader ends quietly at a cut frame; its `decompressobj` returns all that a chunk expands to, perhaps
gigabytes. A block never expands to more than 128 KiB (RFC 8878, section 3.1.1.2).
"""

from collections.abc import Callable

import zstandard

from apps.backups.facts import StoreTrouble

_MAGIC = b"\x28\xb5\x2f\xfd"
_PIECE = 256 * 1024


class Unpacked:
    """The decompressed bytes of one zstd frame, pulled."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """Take a function that returns at most so many bytes, b"" at the end."""
        self._read_more = read
        self._raw, self._raw_at = b"", 0
        self._out, self._out_at = b"", 0
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
        self._checksum = -1  # bytes of the checksum at the frame's end; -1 before the header is read
        self._last = False

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end. Raises StoreTrouble for what is not one whole zstd frame."""
        while self._out_at >= len(self._out):
            if self._last:
                return b""
            self._out, self._out_at = self._block(), 0
        piece = self._out[self._out_at : self._out_at + size]
        self._out_at += len(piece)
        return piece

    def _block(self) -> bytes:
        try:
            if self._checksum < 0:
                self._unpacker.decompress(self._header())
            head = self._exactly(3)
            bits = int.from_bytes(head, "little")
            self._last = bool(bits & 1)
            body = self._exactly(1 if bits >> 1 & 3 == 1 else bits >> 3)
            tail = self._exactly(self._checksum) if self._last else b""
            out = self._unpacker.decompress(head + body + tail)
        except zstandard.ZstdError as error:
            raise _damaged("does not decompress") from error
        if self._last and (self._raw_at < len(self._raw) or self._read_more(1)):
            raise _damaged("goes on behind its end")
        return out

    def _header(self) -> bytes:
        start = self._exactly(5)
        if start[:4] != _MAGIC:
            raise _damaged("is not compressed with zstd")
        flags = start[4]
        window = 0 if flags & 0x20 else 1
        dictionary = (0, 1, 2, 4)[flags & 3]
        content = (1 if flags & 0x20 else 0, 2, 4, 8)[flags >> 6]
        self._checksum = 4 if flags & 4 else 0
        return start + self._exactly(window + dictionary + content)

    def _exactly(self, size: int) -> bytes:
        while len(self._raw) - self._raw_at < size:
            more = self._read_more(_PIECE)
            if not more:
                raise _damaged("ends too early")
            self._raw, self._raw_at = self._raw[self._raw_at :] + more, 0
        piece = self._raw[self._raw_at : self._raw_at + size]
        self._raw_at += size
        return piece


def _damaged(what: str) -> StoreTrouble:
    return StoreTrouble(
        f"The archive decrypts but {what}. The source is not touched. Use another backup, and run this plan again.",
        code="damaged",
    )
