"""A real server with PostgreSQL behind its gate: the script was run on it, its host keys are pinned."""

import shlex
from contextlib import suppress
from typing import Any

import psycopg

from apps.backups.engines.base import Target
from apps.servers.gate import script
from apps.servers.gate.wire import new_pair
from apps.servers.models import HostKey
from apps.servers.models import Server as Row
from tests.fleet.server import Server

READY = "timeout 60 sh -c 'until pg_isready -q; do sleep 0.1; done'"


class Gated:
    """One server, as a row and in the flesh, and the moves that tests make in its databases."""

    def __init__(self, server: Server, level: str = "operate") -> None:
        """Run its script on it and pin its host keys."""
        self.server, self.level = server, level
        private, public = new_pair()
        self.row: Row = Row.objects.create(
            name=server.name, address=server.address, port=server.port, level=level, gate_level=level,
            private_key=private, public_key=public,
        )  # fmt: skip
        gateway = server.address.rsplit(".", 1)[0] + ".1"
        text = script.make(server=str(self.row.pk), public_key=public, level=level, seen_from=[gateway]).text
        server.inside("sh", input=text)
        for number, line in enumerate(server.host_keys):
            kind, blob = line.split()
            HostKey.objects.create(
                server=self.row, type=kind, blob=blob, fingerprint=f"SHA256:{number}{self.row.pk}", state="pinned"
            )
        server.inside(READY)

    def sql(self, database: str, *statements: str) -> str:
        """Run statements as the superuser; return what psql prints."""
        self.server.inside(READY)
        words = f"runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -d {shlex.quote(database)} -f -"
        return self.server.inside(words, input=";\n".join(statements) + ";\n").out.strip()

    def make(self, name: str, *statements: str) -> Target:
        """Make a database with some things in it."""
        self.sql("postgres", 'CREATE DATABASE "' + name.replace('"', '""') + '" ENCODING UTF8 TEMPLATE template0')
        if statements:
            self.sql(name, *statements)
        return self.target(name)

    def target(self, name: str, user: str = "postgres", password: str = "", **config: Any) -> Target:
        """Return a database as a source through the gate."""
        secret = {"password": password} if password else {}
        return Target("postgresql", {"database": name, "user": user, **config}, secret, self.row)

    def at_work(self) -> str:
        """Return what of a dump still runs there: processes and transactions."""
        programs = self.server.inside("ps -eo user,args | grep -E '[p]g_dump|[g]ate root' || true").out.strip()
        asked = "SELECT pid, state FROM pg_stat_activity WHERE application_name IN ('mainstay', 'pg_dump')"
        return programs + self.sql("postgres", asked)

    def calm(self) -> str:
        """Wait up to 20 s until nothing of a dump runs there any more; return what still does."""
        self.server.inside(
            "timeout 20 sh -c \"while ps -eo args | grep -qE '[p]g_dump|[g]ate root'; do sleep 0.1; done\"", check=False
        )
        return self.at_work()
