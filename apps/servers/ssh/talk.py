"""One channel to a gate: lines and bytes with an end to every wait and every size."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncssh

from apps.servers.ssh import Trouble

MOST_ERRORS = 4096  # bytes of standard error that are kept; the rest is counted
ENDLESS = 256 * 1024  # bytes of standard error after which the server is cut off
AHEAD = 1024 * 1024  # bytes that may lie here before the server has to wait


class Talk(asyncssh.SSHClientSession[bytes]):
    """What came on a channel and was not taken yet."""

    def __init__(self, name: str) -> None:
        """Begin with nothing."""
        self.name = name
        self.status: int | None = None
        self.whole = False  # whether the other side said that it has ended
        self._data = bytearray()
        self._errors = bytearray()
        self._noise = 0
        self._over = False
        self._held = False
        self._news = asyncio.Event()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    @property
    def errors(self) -> str:
        """Return the first bytes of standard error; hostile text."""
        return self._errors.decode("utf-8", "replace")

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """Remember the channel."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Keep what came; hold the server when too much lies here, cut it off when it only makes noise."""
        if datatype is None:
            self._data += data
            if len(self._data) > AHEAD and not self._held and self._channel is not None:
                self._held = True
                self._channel.pause_reading()
        else:
            self._noise += len(data)
            self._errors += data[: MOST_ERRORS - len(self._errors)]
            if self._noise > ENDLESS:
                self.end()
        self._news.set()

    def eof_received(self) -> bool:
        """Nothing more will come."""
        self.whole = self._over = True
        self._news.set()
        return False

    def exit_status_received(self, status: int) -> None:
        """Remember how the gate ended."""
        self.status = status

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the library's signature
        """Nothing more can come."""
        self._over = True
        self._news.set()

    def write(self, data: bytes) -> None:
        """Send. Raises Trouble when the channel is gone."""
        if self._channel is None or self._over:
            raise Trouble("closed", f"{self.name} hung up in the middle of a conversation.")
        try:
            self._channel.write(data)
        except (OSError, asyncssh.Error) as error:
            raise Trouble("closed", f"{self.name} hung up in the middle of a conversation.") from error

    def end(self) -> None:
        """Close the channel, whatever the other side still says."""
        self._over = True
        self._news.set()
        if self._channel is not None:
            self._channel.abort()

    async def line(self, most: int, seconds: float) -> bytes | None:
        """Return the next line without its end, or None when the channel ended first. Raises Trouble."""
        await self._until(lambda: b"\n" in self._data or len(self._data) > most, seconds)
        at = self._data.find(b"\n", 0, most + 1)
        if at < 0:
            if len(self._data) > most:
                raise Trouble("malformed", f"{self.name} sent more than {most} bytes where one short line was due.")
            if not self._data.strip():
                await self._ended()
                return None
            at = len(self._data)
        found = bytes(self._data[:at])
        del self._data[: at + 1]
        return found

    async def rest(self, most: int, seconds: float) -> bytes:
        """Return everything up to the end. Raises Trouble when it is too long, too slow, or cut off."""
        await self._until(lambda: len(self._data) > most, seconds)
        if len(self._data) > most:
            raise Trouble("malformed", f"{self.name} answered with more than {most} bytes, so nothing of it was used.")
        if not self.whole:
            raise Trouble("closed", f"{self.name} hung up in the middle of an answer.")
        return bytes(self._data)

    async def parts(self, idle: float) -> AsyncIterator[bytes]:
        """Yield what comes until the end. Raises Trouble after `idle` seconds without a byte, and when cut off."""
        while True:
            await self._until(lambda: bool(self._data), idle)
            if not self._data:
                if self.whole:
                    return
                raise Trouble("closed", f"{self.name} hung up in the middle of a stream.")
            part = bytes(self._data)
            self._data.clear()
            self._resume()
            yield part

    def _resume(self) -> None:
        if self._held and self._channel is not None:
            self._held = False
            self._channel.resume_reading()

    async def _ended(self) -> None:
        """Give the exit status, which follows the end of the data, a moment to come."""
        try:
            async with asyncio.timeout(2):
                if self._channel is not None:
                    await self._channel.wait_closed()
        except TimeoutError:
            return

    async def _until(self, true: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not true() and not self._over:
                    self._news.clear()
                    self._resume()
                    await self._news.wait()
        except TimeoutError as error:
            raise Trouble("timeout", f"{self.name} stopped answering.") from error
        if self._noise > ENDLESS:
            raise Trouble("malformed", f"{self.name} sends errors without end, so nothing of it was used.")
