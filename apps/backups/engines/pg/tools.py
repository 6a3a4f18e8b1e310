"""Chooses the PostgreSQL client programs, and lends them a password without showing it to anyone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from apps.backups.engines.pg.address import Address
from apps.backups.engines.pg.connect import OLDEST, ca_file
from apps.backups.engines.pg.relay import relay
from apps.backups.facts import EngineTrouble
from apps.backups.scratch.installs import Install, installs


def dump_client(server: int, *, own: bool = False) -> Install:
    """Return the newest client at or above the server's major version. Raises EngineTrouble naming what is missing.

    `own`: prefer one of exactly that major. Some builds (Debian's 15.20) mark every column with an option of their own,
    which only their pg_dump leaves out; a dump with it could be restored nowhere else.
    """
    have = installs()
    if not have:
        raise EngineTrouble(
            "This machine has no pg_dump. Nothing was dumped; install the package postgresql-client and try again.",
            code="no-client",
        )
    if server < OLDEST:
        raise EngineTrouble(
            f"The server is PostgreSQL {server}, and no pg_dump of today reads a server older "
            f"than {OLDEST}. Nothing was dumped; "
            f"upgrade the server.",
            code="server-too-old",
        )
    if server > have[0].major:
        raise EngineTrouble(
            f"The server is PostgreSQL {server}, and the newest pg_dump here is "
            f"{have[0].version}. Nothing was dumped; install the "
            f"package postgresql-client-{server} on the machine that runs Mainstay.",
            code="server-too-new",
        )
    mine = [one for one in have if one.major == server] if own else []
    return max(mine, key=lambda one: int(one.version.partition(".")[2] or 0), default=have[0])


def restore_client(dumped_by: str) -> Install:
    """Return the newest pg_restore, which must be at least as new as the pg_dump that made the archive."""
    major = int(dumped_by.split(".", maxsplit=1)[0].split(maxsplit=1)[0] or 0)
    have = installs()
    if not have or have[0].major < major:
        raise EngineTrouble(
            f"The archive was made by pg_dump {dumped_by}, and this machine has no pg_restore as "
            "new as that. Install the package "
            f"postgresql-client-{major}.",
            code="no-client",
            untestable=True,
        )
    return have[0]


@dataclass(frozen=True, slots=True)
class Lent:
    """What a client program gets: a connection string without the password, and an environment that names its file."""

    conninfo: str
    env: dict[str, str]


def quoted(value: str) -> str:
    """Quote one value of a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def lent(where: Address, client: Install, *, database: str | None = None) -> Iterator[Lent]:
    """Lend a connection for the block: password in a file of mode 0600, TLS by the client itself or through a relay."""
    folder = Path(mkdtemp(prefix="ms-pg-"))  # mode 0700, and short: a socket's path must stay under 108 characters
    try:
        passfile = folder / "pass"
        handle = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if where.password:
                escaped = where.password.replace("\\", "\\\\").replace(":", "\\:")
                file.write(f"*:*:*:*:{escaped}\n")
        with ca_file(where) as ca:
            parts = {
                "dbname": database or where.database,
                "user": where.user,
                "connect_timeout": "15",
                "application_name": "mainstay",
            }
            env = {
                "PATH": "/usr/bin:/bin",
                "LC_ALL": "C",
                "PGPASSFILE": str(passfile),
                "HOME": str(folder),
                "TZ": "UTC",
            }
            if where.sslmode == "disable" or client.tls:
                parts |= {"host": where.host, "port": str(where.port), "sslmode": where.sslmode}
                parts |= {"sslrootcert": ca if where.sslmode == "verify-full" else "/nonexistent"} if client.tls else {}
                yield Lent(_conninfo(parts), env)
            else:
                with relay(where, ca, folder):
                    parts |= {"host": str(folder), "port": "5432", "sslmode": "disable"}
                    yield Lent(_conninfo(parts), env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _conninfo(parts: dict[str, str]) -> str:
    return " ".join(f"{name}={quoted(value)}" for name, value in parts.items())
