"""A real server with PostgreSQL behind its gate: the script was run on it, its host keys are pinned."""

import shlex
from typing import Any
from uuid import uuid4

from apps.backups.engines.base import Target
from apps.servers.gate import script
from apps.servers.gate.wire import new_pair
from apps.servers.models import HostKey
from apps.servers.models import Server as Row
from tests.fleet.server import Server

READY = "timeout 60 sh -c 'until pg_isready -q; do sleep 0.1; done'"


class Gated:
    """One server in the flesh, with its script run on it, and the moves that tests make in its databases."""

    row: Row

    def __init__(self, server: Server, level: str = "operate") -> None:
        """Run its script on it."""
        self.server, self.id, self.level = server, str(uuid4()), level
        self.private, self.public = new_pair()
        self.install(level)
        server.inside(READY)

    def install(self, level: str) -> None:
        """Run the script of a level on it."""
        gateway = self.server.address.rsplit(".", 1)[0] + ".1"
        text = script.make(server=self.id, public_key=self.public, level=level, seen_from=[gateway]).text
        self.server.inside("sh", input=text)

    def known(self) -> "Gated":
        """Write it down as a row whose host keys are pinned."""
        one = self.server
        self.row = Row.objects.create(
            pk=self.id, name=one.name, address=one.address, port=one.port, level=self.level, gate_level=self.level,
            private_key=self.private, public_key=self.public,
        )  # fmt: skip
        for number, line in enumerate(one.host_keys):
            kind, blob = line.split()
            HostKey.objects.create(
                server=self.row, type=kind, blob=blob, fingerprint=f"SHA256:{number}{self.row.pk}", state="pinned"
            )
        return self

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
