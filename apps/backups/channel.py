"""A bounded run of bytes from one thread to another: what keeps the pipeline's memory flat and its stages apart."""

import threading
from collections import deque
from collections.abc import Callable


class Stopped(Exception):  # noqa: N818 not an error: the other side has gone
    """The other side gave up; whoever gets this ends at once, without a word."""


class Channel:
    """Bytes written by one thread, read by another, never more than about `limit` bytes between them.

    Any number of small writes are gathered into pieces of `piece` bytes first, because each hand-over costs a lock.
    """

    def __init__(self, limit: int, *, piece: int = 256 * 1024) -> None:
        """Take the most bytes that may wait between the two sides."""
        self._limit, self._piece = limit, piece
        self._lock = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: BaseException | None = None
        self._gathered: list[bytes] = []  # the writer's own
        self._gathered_bytes = 0
        self._current, self._at = b"", 0  # the reader's own

    def write(self, data: bytes) -> int:
        """Hand over bytes, waiting while the other side is behind. Raises Stopped when it has gone."""
        self._gathered.append(bytes(data))
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= self._piece:
            self._hand_over()
        return len(data)

    def flush(self) -> None:
        """Do nothing: pieces are handed over when they are full, and at the end."""

    def end(self) -> None:
        """Hand over the rest and the end of the stream."""
        self._hand_over()
        with self._lock:
            self._ended = True
            self._lock.notify_all()

    def stop(self, error: BaseException | None = None) -> None:
        """Give up, from either side or from outside. The reader then raises `error`, or Stopped."""
        with self._lock:
            if self._error is None:
                self._error = error or Stopped()
            self._waiting.clear()
            self._held = 0
            self._lock.notify_all()

    def read(self, size: int = -1, *, idle: Callable[[], None] | None = None) -> bytes:
        """Return at most `size` bytes (any number below 0: one piece), or b"" at the end of the stream.

        `idle` is called about once a second while nothing comes.
        """
        if self._at >= len(self._current) and not self._next(idle):
            return b""
        if size < 0 or (self._at == 0 and size >= len(self._current)):
            piece = self._current[self._at :] if self._at else self._current
            self._current, self._at = b"", 0
            return piece
        piece = self._current[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _hand_over(self) -> None:
        if not self._gathered:
            return
        data = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered, self._gathered_bytes = [], 0
        with self._lock:
            while self._held >= self._limit and self._error is None:
                self._lock.wait()
            if self._error is not None:
                raise Stopped
            self._waiting.append(data)
            self._held += len(data)
            self._lock.notify_all()

    def _next(self, idle: Callable[[], None] | None) -> bool:
        while True:
            with self._lock:
                if self._error is not None:
                    raise self._error
                if self._waiting:
                    self._current, self._at = self._waiting.popleft(), 0
                    self._held -= len(self._current)
                    self._lock.notify_all()
                    if self._current:
                        return True
                    continue
                if self._ended:
                    return False
                timed_out = not self._lock.wait(timeout=1)
            if timed_out and idle is not None:
                idle()
