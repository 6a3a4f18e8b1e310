"""A database that is reached through its server's gate: the same questions, and that server's own pg_dump."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format, TransactionStatus
from psycopg.sql import Composable

from apps.backups.engines.pg.address import Address
from apps.backups.engines.pg.connect import STABLE, clean, refusal
from apps.backups.facts import EngineTrouble
from apps.servers import ssh
from apps.servers.ssh import Trouble
from apps.servers.ssh.rounds import Rounds

if TYPE_CHECKING:
    from apps.servers.models import Server

_BEGUN = re.compile(r"\s*(SAVEPOINT|ROLLBACK TO SAVEPOINT) \w+\s*\Z")  # the gate does both around each question
_MOST_ROWS = 128 << 20  # bytes of one answer
_LONGEST = 8192  # bytes of a line
_LINES = 4000  # of pg_dump's stderr that are kept
_PASSING = frozenset({"closed", "timeout", "unreachable", "refused", "resolve", "busy", "protocol", "failed"})


@dataclass(slots=True)
class _Info:
    """What callers ask of a connection."""

    server_version: int
    transaction_status: TransactionStatus = TransactionStatus.INTRANS


class Rows(list[tuple[Any, ...]]):
    """The rows of an answer, as a cursor gives them."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row."""
        return self[0] if self else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return list(self)


class Through:
    """One read-only moment of a database, lent by a gate: what the manifest needs of a psycopg connection."""

    def __init__(self, where: Address, server: "Server") -> None:
        """Connect. Raises EngineTrouble with a sentence and a code."""
        self._where, self.name = where, server.name
        self._closed = False
        self._transformer = Transformer()
        args = {
            "host": where.host, "port": str(where.port), "database": where.database, "user": where.user,
            "password": where.password, "settings": {**STABLE, "transaction_timeout": "0"},
        }  # fmt: skip
        try:
            self._rounds: Rounds = ssh.converse(server, "dump", args)
        except Trouble as trouble:
            raise said_of(where, trouble) from None
        try:
            found: dict[str, Any] = {}
            for kind, data in self._frames():
                if kind == b"h":
                    found = json.loads(data)
            self.info = _Info(int(found["version"]))
            self.client = str(found["pg_dump"])[:100].removeprefix("pg_dump (PostgreSQL) ").partition(" ")[0]
        except (ValueError, KeyError, TypeError):
            self.close()
            raise unreadable() from None
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Return whether nothing can be asked any more."""
        return self._closed

    def execute(self, query: "str | bytes | Composable") -> Rows:
        """Ask one SELECT and return its rows, of the very types that psycopg gives. Raises psycopg's errors."""
        text = query.as_string(None) if isinstance(query, Composable) else query
        text = text.decode() if isinstance(text, bytes) else text
        if _BEGUN.match(text):
            return Rows()
        rows, loaders, size = Rows(), [], 0
        for kind, data in self._frames(question=text):
            size += len(data)
            if size > _MOST_ROWS:
                self.close()
                raise psycopg.OperationalError("the answer is longer than any true one")
            try:
                if kind == b"t":
                    loaders = [self._transformer.get_loader(int(oid), Format.TEXT).load for oid in json.loads(data)]
                elif kind == b"r":
                    rows.extend(
                        tuple(
                            None if part is None else load(part.encode("utf-8", "surrogateescape"))
                            for load, part in zip(loaders, row, strict=True)
                        )
                        for row in json.loads(data)
                    )
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
                self.close()
                raise unreadable() from None
        return rows

    def lock(self, tables: "list[tuple[str, str]]") -> None:
        """Keep the shape of some tables. Raises psycopg's errors."""
        list(self._frames(lock=tables))

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """Run that server's pg_dump in this moment; yield its bytes (d), its stderr (s) and its exit code (x)."""
        return self._frames(dump=True)

    def _frames(self, **wish: Any) -> Iterator[tuple[bytes, bytes]]:
        try:
            for kind, data in self._rounds.ask(**wish):
                if kind == b"e":
                    state, words = json.loads(data)
                    raise _error(str(state))(clean(str(words), self._where))
                yield kind, data
        except Trouble as trouble:
            self.close()
            raise said_of(self._where, trouble) from None
        except (ValueError, TypeError, RecursionError):
            self.close()
            raise unreadable() from None

    def needs_client(self) -> None:
        """Raise unless that server has a pg_dump."""
        if not self.client:
            raise EngineTrouble(
                f"{self.name} has no pg_dump. Nothing was dumped; install PostgreSQL's client programs there (package "
                f"postgresql-client-{self.info.server_version // 10000}) and try again.",
                code="no-client",
            )

    def cancel_safe(self, timeout: float = 0) -> None:  # noqa: ARG002 psycopg's signature
        """End whatever is asked, and the conversation with it."""
        self.close()

    def close(self) -> None:
        """Hang up: the gate then ends pg_dump and the transaction."""
        self._closed = True
        with suppress(AttributeError):  # it was never opened
            self._rounds.close()


def unreadable() -> EngineTrouble:
    """Return the trouble of an answer that is none."""
    return EngineTrouble(
        "The gate's answer is not what it should be, so nothing of it counts. It will be tried again.",
        code="malformed",
        permanent=False,
    )


def distant(connection: object) -> Through | None:
    """Return a connection that a gate lent, or None for any other."""
    return connection if isinstance(connection, Through) else None


def said_of(where: Address, trouble: Trouble) -> EngineTrouble:
    """Turn what a gate or the way to it said into the trouble of a source."""
    name = str(where.through)
    if trouble.code == "connect":
        if "running locally" in trouble.said or "No such file" in trouble.said or "onnection refused" in trouble.said:
            return EngineTrouble(
                f"No PostgreSQL answers on {name} at {where.host or 'its usual socket'}, port {where.port}. Check that "
                "it runs there; it will be tried again.",
                code="refused",
                permanent=False,
                log=(clean(trouble.said, where),),
            )
        return refusal(where, trouble.said)
    said = trouble.said if name in trouble.said else f"{name}: {trouble.said}"
    passing = trouble.code in _PASSING
    return EngineTrouble(
        f"{said} {'It will be tried again.' if passing else 'Nothing was dumped.'}",
        code="connection-lost" if trouble.code == "closed" else trouble.code.replace("_", "-"),
        permanent=not passing,
    )


def _error(state: str) -> type[psycopg.Error]:
    try:
        return psycopg.errors.lookup(state)
    except KeyError:
        return psycopg.OperationalError if state[:2] in {"08", "57", "53"} else psycopg.DatabaseError


class Away:
    """A pg_dump that runs on another server, held like a process here: a pipe to read, lines, an exit code."""

    def __init__(self, held: Through) -> None:
        """Start it; its bytes come through a pipe, which holds it back as a local one would."""
        self._held = held
        self._code: int | None = None
        self._trouble: EngineTrouble | None = None
        self._lines: list[str] = []
        self._dropped = 0
        reads, self._writes = os.pipe()
        self.stdout: IO[bytes] = os.fdopen(reads, "rb", 0)
        self._thread = threading.Thread(target=self._pump, name="pg_dump", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        errors = bytearray()
        try:
            with os.fdopen(self._writes, "wb", 0) as sink:
                for kind, data in self._held.dump():
                    if kind == b"d":
                        left = memoryview(data)
                        while left:
                            left = left[sink.write(left) :]
                    elif kind == b"s" and len(self._lines) < _LINES:
                        errors += data
                        *whole, rest = bytes(errors).split(b"\n")
                        errors = bytearray(rest[-65536:])
                        self._lines += [line[:_LONGEST].decode(errors="replace") for line in whole]
                    elif kind == b"s":
                        self._dropped += 1
                    elif kind == b"x":
                        self._code = int(data)
        except EngineTrouble as trouble:
            self._trouble = trouble
        except psycopg.Error as error:
            self._trouble = EngineTrouble(
                f"The database ended the dump: {str(error)[:300]} It will be tried again.",
                code="connection-lost",
                permanent=False,
            )
        except (OSError, ValueError):  # nobody reads any more
            self._held.close()
        finally:
            self._lines += [errors.decode(errors="replace")] if errors else []

    def wait(self, seconds: float) -> int:
        """Return pg_dump's exit code. Raises EngineTrouble when it never came."""
        self._thread.join(seconds)
        if self._trouble is not None:
            raise self._trouble
        if self._code is None:
            raise EngineTrouble("The dump ended without an exit code.", code="connection-lost", permanent=False)
        return self._code

    def lines(self) -> list[str]:
        """Return what it said on stderr."""
        return [*self._lines, *(["(lines were not kept)"] if self._dropped else [])]

    def kill(self) -> None:
        """End it: hang up, unless it has ended."""
        with suppress(OSError):
            self.stdout.close()
        if self._code is None:
            self._held.close()
        self._thread.join(20)


@contextmanager
def away(held: Through) -> Iterator[Away]:
    """Run pg_dump on the other server for the block."""
    held.needs_client()
    process = Away(held)
    try:
        yield process
    finally:
        process.kill()
