"""Runs pg_dump into a pipe inside a snapshot that stays open until the manifest is taken."""

import fcntl
import io
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

import psycopg

from apps.backups.engines.base import Target
from apps.backups.engines.pg.address import Address, address
from apps.backups.engines.pg.archive import Contents, Recorder, read_contents
from apps.backups.engines.pg.connect import clean, major_of, version_of
from apps.backups.engines.pg.manifest import Snapshot, facts, hash_all, lost, snapshot
from apps.backups.engines.pg.stderr import Verdict, classify
from apps.backups.engines.pg.through import away, distant
from apps.backups.engines.pg.told import told
from apps.backups.engines.pg.tools import dump_client, lent
from apps.backups.facts import EngineTrouble, Manifest
from apps.backups.scratch.installs import Install
from apps.backups.work import Work

_PIPE = 1024 * 1024


class _Whole(io.RawIOBase):
    """The archive from its first byte: the table of contents that was read already, then what pg_dump still writes."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._at, self._rest = memoryview(head), 0, rest
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "io.BufferedIOBase | memoryview | bytearray") -> int:  # type: ignore[override]
        view = memoryview(buffer)  # type: ignore[arg-type]
        if self._at < len(self._head):
            size = min(len(view), len(self._head) - self._at)
            view[:size] = self._head[self._at : self._at + size]
            self._at += size
            return size
        size = self._rest.readinto(view)  # type: ignore[attr-defined]
        self.ended = size == 0
        return int(size)


@dataclass(slots=True)
class PostgresDump:
    """A dump under way; see the Dump protocol."""

    stream: IO[bytes]
    suffix: str
    whole: _Whole
    contents: Contents
    held: Snapshot
    process: "Running"
    work: Work
    taken_at: datetime
    version: str
    client: str

    def finish(self) -> Manifest:
        """Wait for pg_dump, judge what it said, and take the manifest in the same snapshot."""
        if not self.whole.ended:
            raise EngineTrouble(
                "The dump was not read to its end, so it does not count.", code="incomplete", permanent=False
            )
        _judge(self.process, self.held.where)
        _assert_whole(self.held, self.contents)

        def seen(done: int = 0, total: int | None = None) -> None:
            self.work.progress("comparing", done, total)

        seen()
        try:
            openers = [lambda: self.held.connection, *([self.held.another] if self.held.id else [])]
            members = hash_all(self.held.survey.tables, openers, seen)
            found = facts(self.held, self.contents, seen)
            found["told"] = told(self.held.connection, self.taken_at)
        except psycopg.Error as error:
            raise lost(self.held.where, error) from None
        return Manifest(
            engine="postgresql",
            version=self.version,
            taken_at=self.taken_at,
            source_bytes=self.held.survey.size,
            members=members,
            facts=found,
            tools={"pg_dump": self.client},
        )


class _Said:
    """Keeps what a process says on stderr, bounded: its beginning and its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.first: list[str] = []
        self.last: deque[str] = deque(maxlen=2000)
        self.dropped = 0
        self._thread = threading.Thread(target=self._listen, args=(stream,), daemon=True)
        self._thread.start()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in iter(lambda: stream.readline(65536), b""):
                line = raw.decode(errors="replace").rstrip("\n")
                if len(self.first) < 2000:
                    self.first.append(line)
                else:
                    self.dropped += len(self.last) == self.last.maxlen
                    self.last.append(line)

    def lines(self) -> list[str]:
        """Return what was said, after the process has ended."""
        self._thread.join(20)
        middle = [f"({self.dropped} lines were not kept)"] if self.dropped else []  # unclassified, and so a failure
        return [*self.first, *middle, *self.last]


class Running(Protocol):
    """A pg_dump under way: here, or on the server of the database."""

    stdout: IO[bytes]

    def wait(self, seconds: float) -> int:
        """Return its exit code. Raises EngineTrouble when it does not end, or was lost."""

    def lines(self) -> list[str]:
        """Return what it said on stderr, after it has ended."""


class _Here:
    """A pg_dump that runs here."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is None or process.stderr is None:
            raise EngineTrouble("pg_dump could not be started.", code="failed", permanent=False)
        self._process, self.stdout, self._said = process, process.stdout, _Said(process.stderr)

    def wait(self, seconds: float) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise EngineTrouble(
                "pg_dump closed its output but did not end, so the dump does not count.", code="stuck", permanent=False
            ) from None

    def lines(self) -> list[str]:
        return self._said.lines()


@contextmanager
def _here(held: Snapshot, client: Install) -> Iterator[_Here]:
    """Run this machine's pg_dump for the block."""
    with lent(held.where, client) as loan:
        argv = [
            client.program("pg_dump"),
            "--format=custom",
            "--compress=0",
            f"--snapshot={held.id}",
            "--no-password",
            "--lock-wait-timeout=60s",
            f"--dbname={loan.conninfo}",
        ]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=loan.env,
            start_new_session=True,
        )
        running = None
        try:
            running = _Here(process)
            yield running
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait(30)
            if running is not None:
                running.lines()


@contextmanager
def dump(target: Target, work: Work) -> Iterator[PostgresDump]:
    """Start a dump for the block; see the Engine protocol."""
    where = address(target)
    with snapshot(where) as held, ExitStack() as stack:
        server = version_of(held.connection)
        lender = distant(held.connection)
        if lender is not None:
            lender.needs_client()
        if not held.survey.tables:
            raise EngineTrouble(
                f"The database {held.survey.database} on {where.said} has no tables: there is nothing to back up. "
                "Check that it is the right database; nothing was dumped.",
                code="empty",
            )
        taken_at = work.now()
        work.progress("dumping", 0, held.survey.size)
        running: Running
        if lender is not None:
            version, running = lender.client, stack.enter_context(away(lender))
        else:
            client = dump_client(major_of(held.connection), own=held.survey.own_options)
            version, running = client.version, stack.enter_context(_here(held, client))
        work.tools["pg_dump"] = version
        with suppress(OSError):
            fcntl.fcntl(running.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
        recorder = Recorder(running.stdout)
        try:
            contents = read_contents(recorder)
        except EOFError:
            _judge(running, where)
            raise EngineTrouble(
                "pg_dump wrote no archive. Nothing was kept.", code="incomplete", permanent=False
            ) from None
        whole = _Whole(bytes(recorder.kept), running.stdout)
        yield PostgresDump(
            stream=io.BufferedReader(whole, _PIPE),
            suffix=".pgdump",
            whole=whole,
            contents=contents,
            held=held,
            process=running,
            work=work,
            taken_at=taken_at,
            version=server,
            client=version,
        )


def _judge(process: Running, where: Address) -> None:
    """Raise unless pg_dump ended well and said nothing but what is known to be harmless."""
    code = process.wait(120)
    verdict = classify(clean(line, where) for line in process.lines())
    if trouble := dump_trouble(code, verdict):
        raise trouble


def dump_trouble(code: int, verdict: Verdict) -> EngineTrouble | None:
    """Return what was wrong with pg_dump, from its exit code and what it said (pure)."""
    if code == 0 and verdict.ok:
        return None
    if verdict.codes:
        name, what = next(iter(verdict.codes.items()))
        passing = name in {"connection-lost", "locked", "cancelled", "snapshot"}
        again = " It will be tried again." if passing else ""
        return EngineTrouble(
            f"pg_dump did not finish: {what}. What it had written does not count.{again}",
            code=name,
            permanent=not passing,
            log=verdict.log,
        )
    if verdict.unknown:
        return EngineTrouble(
            "pg_dump said something that is not known to be harmless: "
            f"{verdict.unknown[0][:200]}. The dump does not count.",
            code="unclassified",
            log=verdict.log,
        )
    return EngineTrouble(
        f"pg_dump ended with exit code {code} and gave no reason. The dump does not count.",
        code="exit",
        log=verdict.log,
    )


def _assert_whole(held: Snapshot, contents: Contents) -> None:
    """Raise when the archive holds rows of fewer tables than the database has (disaster D32)."""
    there = contents.tables()
    absent = [table.said for table in held.survey.tables if (table.schema, table.name) not in there]
    if absent:
        raise EngineTrouble(
            f"The dump holds no rows of {', '.join(absent[:5])}, though the database has "
            f"{'it' if len(absent) == 1 else 'them'}. "
            "It does not count. Dump as the owner of the database or as a superuser.",
            code="incomplete",
        )
