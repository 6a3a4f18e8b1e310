"""One verb of several rounds, for a worker: each wish signed and counted, each answer in frames, no faster than taken.

The gate's verb `dump` is the only one. A frame is a letter, four bytes of length, and that many bytes.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from apps.servers.gate import wire
from apps.servers.ssh import Target, Trouble

if TYPE_CHECKING:
    from apps.servers.ssh.line import Line
    from apps.servers.ssh.talk import Talk

IDLE = 60.0  # seconds without a byte; a gate at work sends an empty frame every 15
MOST = 64 << 20  # bytes of one frame of rows, which is at least one row
MOST_DATA = 1 << 20  # bytes of one frame of a dump
KINDS = b"htrqedsxkf"
LAST = b"hqef"  # the frames that end an answer
Result = TypeVar("Result")


class Rounds:
    """A conversation that is held open. Its methods wait; call them from one thread at a time, `close` from any."""

    def __init__(self, target: Target, verb: str, args: Mapping[str, Any]) -> None:
        """Connect and ask for the verb. Raises Trouble."""
        self.name = target.name
        self._verb, self._count = verb, 0
        self._had = bytearray()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rounds", daemon=True)
        self._thread.start()
        self._closed = False
        self._line: Line | None = None
        try:
            self._wait(self._begin(target, args))
        except BaseException:
            self.close()
            raise

    async def _begin(self, target: Target, args: Mapping[str, Any]) -> None:
        from apps.servers.ssh.line import Line  # noqa: PLC0415 half a second and 15 MB: only who connects pays

        self._line = Line(target)
        self._talk: Talk
        self._sign: Callable[[Mapping[str, Any]], bytes]
        self._talk, self._sign = await self._line.begin(self._verb, args)
        self._parts: AsyncIterator[bytes] = self._talk.parts(IDLE)

    def ask(self, **wish: Any) -> Iterator[tuple[bytes, bytes]]:
        """Send one wish and yield the frames of its answer; the last one is q (done) or e (the database refused).

        Raises Trouble when the gate refuses, says something else, or is gone. Without a wish: only the first answer.
        """
        if wish:
            self._count += 1
            self._wait(self._send(self._sign({"at": self._count, **wish})))
        while True:
            kind, data = self._frame()
            if kind == b"f":
                raise self._refused(data)
            if kind != b"k":
                yield kind, data
            if kind in LAST:
                return

    def close(self) -> None:
        """Hang up at once; whatever the gate does for us ends with that."""
        if self._closed:
            return
        self._closed = True

        async def bye() -> None:
            if self._line is not None:
                self._line.drop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=2) if others else None

        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(bye(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _send(self, data: bytes) -> None:
        self._talk.write(data)

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._take(5)
        kind, size = head[:1], int.from_bytes(head[1:], "big")
        if kind == b"{":  # one document, as every verb ends with: the gate refused before it began
            raise self._refused(head + self._rest())
        if kind not in KINDS or size > (MOST if kind == b"r" else MOST_DATA):
            raise Trouble("malformed", f"{self.name} answered with something that is no answer; nothing of it is kept.")
        return kind, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._had) < size:
            self._had += self._wait(self._more())
        found = bytes(self._had[:size])
        del self._had[:size]
        return found

    def _rest(self) -> bytes:
        with suppress(Trouble):
            while len(self._had) < wire.MOST_GREETING:
                self._had += self._wait(self._more())
        return bytes(self._had)

    async def _more(self) -> bytes:
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            raise Trouble("closed", f"{self.name} hung up in the middle of an answer.") from None

    def _refused(self, data: bytes) -> Trouble:
        try:
            found = json.loads(data)
            code, said = wire.printable(str(found["code"]))[:20], wire.printable(str(found["said"]))[:2000]
        except (ValueError, KeyError, TypeError):
            return Trouble("closed", f"{self.name} ended the conversation.")
        return Trouble(code, said)

    def _wait(self, doing: "Coroutine[Any, Any, Result]") -> Result:
        gone = Trouble("closed", f"The conversation with {self.name} has ended.")
        if self._closed:
            doing.close()
            raise gone
        try:
            return asyncio.run_coroutine_threadsafe(doing, self._loop).result()
        except CancelledError:  # by close, from another thread
            raise gone from None
