"""The collector's loop: looks what is due, asks over kept connections, hands what it heard to one writing thread."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.db import close_old_connections, connections

from apps.servers.collector import pace
from apps.servers.facts import parse, sample
from apps.servers.facts.read import MalformedError
from apps.servers.services import collecting
from apps.servers.services.collecting import Due, Heard
from apps.servers.ssh import Answer, Target, Trouble, line

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two looks at what is due
IDLE = 20.0  # the same, while there is no server
RENEW = timedelta(seconds=20)
ROLL = timedelta(seconds=60)
PRUNE = timedelta(hours=1)
TOGETHER = 12  # samples asked for at the same time
TELLING = 4  # servers that tell their facts, which takes them seconds: never in the way of samples
CONNECTING = 4  # of them connecting: a key exchange costs CPU on both sides

FACTS = " facts"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Seat:
    """What is kept of a server between two questions."""

    target: Target
    line: line.Line
    before: sample.Measured | None = None
    failures: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


class Collector:
    """Drives the servers that it leases, from one event loop."""

    def __init__(self, driver: str) -> None:
        """`driver` names this process in the leases, unlike any other."""
        self.driver = driver
        self.seats: dict[str, Seat] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._heard: list[Heard] = []
        self._leased: set[UUID] = set()
        self._leased_at = self._rolled_at = self._pruned_at = datetime.min.replace(tzinfo=UTC)
        self._rolled: dict[int, int] = {}
        self._asking = asyncio.Semaphore(TOGETHER)
        self._telling = asyncio.Semaphore(TELLING)
        self._connecting = asyncio.Semaphore(CONNECTING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until told to stop; a look that fails is written down, and the next one is made."""
        try:
            while not stopped.is_set():
                try:
                    await self.look(datetime.now(UTC))
                except Exception:
                    log.exception("a look at the servers failed")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), LOOK if self._leased else IDLE)
        finally:
            await self.close()

    async def look(self, now: datetime) -> None:
        """Write what was heard, keep the leases, and start what is due."""
        await self.write()
        if now - self._leased_at >= RENEW or not self._leased:
            self._leased = await self._rows(collecting.lease, driver=self.driver, now=now)
            self._leased_at = now
            await self._leave({str(pk) for pk in self._leased})
        if not self._leased:
            return
        for one in await self._rows(collecting.due, driver=self.driver, now=now):
            self._start(one.target.id, one, self._do, now)
        if now - self._rolled_at >= ROLL:
            self._rolled = await self._rows(collecting.roll_up, servers=self._leased, since=self._rolled, now=now)
            self._rolled_at = now
        if now - self._pruned_at >= PRUNE:
            await self._rows(collecting.prune, servers=self._leased, now=now)
            self._pruned_at = now

    async def settled(self) -> None:
        """Wait until whatever is being asked was answered, and write it."""
        while self._busy:
            await asyncio.wait(set(self._busy.values()))
            await asyncio.sleep(0)  # lets the done callbacks run
        await self.write()

    async def write(self) -> None:
        """Hand what was heard to the writing thread. What cannot be written now is tried again with the next look."""
        heard, self._heard = self._heard, []
        if not heard:
            return
        try:
            await self._rows(collecting.keep, heard, driver=self.driver)
        except BaseException:
            self._heard = (heard + self._heard)[-2000:]
            raise

    async def close(self) -> None:
        """Hang up everywhere, write what was heard and let go of the leases."""
        for task in list(self._busy.values()):
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        await asyncio.gather(*(seat.line.close() for seat in self.seats.values()), return_exceptions=True)
        with contextlib.suppress(Exception):
            await self.write()
            await self._rows(collecting.release, driver=self.driver)
        self._thread.submit(connections.close_all).result()
        self._thread.shutdown()

    async def _do(self, one: Due, now: datetime) -> None:
        async with self._asking:
            if one.scan:
                await self._scan(one, now)
            if not (one.sample or one.facts):
                return
            seat = await self._seat(one)
            if one.sample and not await self._sample(seat, one, now):
                return
        if one.facts:
            self._start(f"{one.target.id}{FACTS}", one, self._facts, now)

    def _start(
        self, key: str, one: Due, work: Callable[[Due, datetime], Coroutine[Any, Any, None]], now: datetime
    ) -> None:
        """Begin one piece of work, unless the same is still under way."""
        if key not in self._busy:
            task = asyncio.create_task(work(one, now), name=one.target.name)
            self._busy[key] = task
            task.add_done_callback(functools.partial(self._done, key))

    async def _seat(self, one: Due) -> Seat:
        """Return what is kept of a server; a new address, name or pinned key begins anew."""
        seat = self.seats.get(one.target.id)
        if seat is None or seat.target != one.target:
            if seat is not None:
                await seat.line.close()
            seat = self.seats[one.target.id] = Seat(one.target, line.Line(one.target))
        return seat

    async def _ask(self, seat: Seat, verb: str, args: dict[str, Any], *, root: bool) -> Answer:
        if seat.line.is_open:
            try:
                return await seat.line.ask(verb, args, root=root)
            except Trouble as trouble:
                if trouble.code != "closed":
                    raise  # a kept connection that broke is no trouble yet: the server may only have started anew
        async with seat.opening, self._connecting:
            if not seat.line.is_open:
                await seat.line.open()
        return await seat.line.ask(verb, args, root=root)

    async def _sample(self, seat: Seat, one: Due, now: datetime) -> bool:
        try:
            answer = await self._ask(seat, "sample", {}, root=False)
            measured = sample.parse(answer.data)
        except (Trouble, MalformedError) as error:
            trouble = error if isinstance(error, Trouble) else _malformed(one, error)
            seat.failures += 1
            seat.before = None
            until = pace.after_trouble(trouble.code, seat.failures, now, reached=one.reached)
            self._heard.append(Heard(one, now, until, trouble))
            if trouble.permanent or trouble.code == "malformed":
                await seat.line.close()
            return False
        seat.failures = 0
        greeted = answer.greeted
        self._heard.append(
            Heard(
                one,
                now,
                pace.following(one.target.id, now, pace.SAMPLE),
                gate=(greeted.version, greeted.level, greeted.verbs),
                skew=answer.skew,
                measured=measured,
                figures=sample.figures(measured, seat.before),
            )
        )
        seat.before = measured
        return True

    async def _facts(self, one: Due, now: datetime) -> None:
        async with self._telling:
            await self._hear_facts(await self._seat(one), one, now)

    async def _hear_facts(self, seat: Seat, one: Due, now: datetime) -> None:
        key = (one.known.get("updates") or {}).get("key")
        args = {"updates": key} if key else {}
        try:
            answer, lacks = await self._facts_of(seat, args, root=one.root)
            found = parse.parse(
                {**answer.data, "lacks": [*lacks, *(answer.data.get("lacks") or [])]}, known=one.known, today=now.date()
            )
        except (Trouble, MalformedError, TypeError) as error:
            trouble = error if isinstance(error, Trouble) else _malformed(one, error)
            until = now + timedelta(seconds=600)
            self._heard.append(Heard(one, now, until, trouble, only_facts=True))
            return
        until = pace.following(one.target.id, now, pace.FACTS)
        self._heard.append(Heard(one, now, until, facts=found, only_facts=True))

    async def _facts_of(self, seat: Seat, args: dict[str, Any], *, root: bool) -> tuple[Answer, list[str]]:
        """Ask as root where the level allows it; a server without sudo tells what it can tell without."""
        try:
            return await self._ask(seat, "facts", args, root=root), []
        except Trouble as trouble:
            if not root or trouble.code not in {"sudo", "lacks", "level"}:
                raise
            return await self._ask(seat, "facts", args, root=False), [trouble.said]

    async def _scan(self, one: Due, now: datetime) -> None:
        try:
            async with self._connecting:
                keys, trouble = await line.scan(one.target.address, one.target.port), None
        except Trouble as error:
            keys, trouble = (), error
        await self._rows(collecting.keep_scan, one, keys=keys, trouble=trouble, now=now)

    async def _leave(self, leased: set[str]) -> None:
        """Hang up on servers that are not ours any more."""
        for gone in set(self.seats) - leased:
            if gone not in self._busy and gone + FACTS not in self._busy:
                await self.seats.pop(gone).line.close()

    def _done(self, server: str, task: asyncio.Task[None]) -> None:
        self._busy.pop(server, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("asking %s failed", task.get_name(), exc_info=error)

    async def _rows(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a service in the one thread that speaks with the database."""

        def run() -> T:
            close_old_connections()
            return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _malformed(one: Due, error: Exception) -> Trouble:
    said = str(error) if isinstance(error, MalformedError) else "The answer is not what it should be."
    return Trouble("malformed", f"{one.target.name}: {said}")
