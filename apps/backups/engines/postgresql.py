"""PostgreSQL sources: pg_dump in a snapshot with an exact manifest, proven in a scratch server of the same major."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress

import psycopg

from apps.backups.engines.base import Dump, Opener, Target
from apps.backups.engines.pg import dump, rehearse, restore, spool
from apps.backups.engines.pg.address import Address, address, parse_url
from apps.backups.engines.pg.connect import identity_of, major_of, version_of
from apps.backups.engines.pg.manifest import reach
from apps.backups.engines.pg.survey import Survey, survey
from apps.backups.engines.pg.through import distant
from apps.backups.engines.pg.tools import dump_client, lent
from apps.backups.facts import Checkup, EngineTrouble, Manifest, Rung
from apps.backups.scratch.installs import server_install
from apps.backups.work import Work
from apps.core.words import plural

__all__ = ["PostgresEngine", "parse_url"]


class PostgresEngine:
    """See the Engine protocol. Config: host, port, database, user, sslmode, ca; secret: password."""

    kind = "postgresql"

    def check(self, target: Target) -> Checkup:
        """Connect, and look whether the whole database could be dumped and its restore tested here."""
        where = address(target)
        with closing(reach(where)) as connection:
            version, major = version_of(connection), major_of(connection)
            lender = distant(connection)
            if lender is not None:
                lender.needs_client()
            else:
                dump_client(major)  # that there is one, before anything else is asked
            try:
                found = survey(connection)
            except psycopg.Error as error:
                raise EngineTrouble(
                    "The database answers, but its catalogue could not be read; the log below says why.",
                    code="connect",
                    permanent=False,
                    log=tuple(str(error).splitlines()[:3]),
                ) from None
            found.refuse_partial(where.user)
            identity = identity_of(connection)
        if lender is not None:
            dumps_with = lender.client
        else:
            client = dump_client(major, own=found.own_options)
            with lent(where, client):  # a client without TLS is relayed: say now when that fails
                dumps_with = client.version
        return Checkup(
            sentence=f"PostgreSQL {version} {f'on {where.through}' if lender else f'at {where.said}'}: "
            f"database {found.database} with "
            f"{plural(len(found.tables), 'table')} can be read.",
            version=version,
            size=found.size,
            warnings=tuple(_warnings(where, found, major)),
            facts={
                "tables": len(found.tables),
                "pg_dump": dumps_with,
                "system_identifier": identity,
                "extensions": [name for name, _, _ in found.extensions],
            },
        )

    def dump(self, target: Target, work: Work) -> AbstractContextManager[Dump]:
        """Start pg_dump in a snapshot that stays open until the manifest is taken."""
        return dump.dump(target, work)

    def read(self, opener: Opener, manifest: Manifest, work: Work) -> str:
        """Decode the whole archive with pg_restore."""
        return spool.read(opener, manifest, work)

    def rehearse(self, opener: Opener, manifest: Manifest, work: Work) -> Iterator[Rung]:
        """Restore into a scratch server and compare everything."""
        return rehearse.rehearse(opener, manifest, work)

    def restore(self, opener: Opener, manifest: Manifest, target: Target, work: Work) -> str:
        """Restore into a new, empty database."""
        return restore.restore(opener, manifest, target, work)

    def identity(self, target: Target) -> str:
        """Return the cluster's system identifier and the database's name, or "" when it cannot be told."""
        with suppress(EngineTrouble, psycopg.Error):
            where = address(target)
            with closing(reach(where)) as connection:
                found = identity_of(connection)
                return f"postgresql:{found}/{where.database}" if found else ""
        return ""


def _warnings(where: Address, found: Survey, major: int) -> Iterator[str]:
    if not found.tables:
        yield f"The database {found.database} has no tables. Is it the right one? A backup of it would be refused."
    elif where.database in {"postgres", "template1"}:
        yield f"{where.database} is the server's own database. Is it the one that holds your data?"
    if found.foreign_tables:
        yield f"{len(found.foreign_tables)} foreign tables: their rows live on other servers and are not in the dump."
    if where.sslmode == "require":
        yield (
            "The connection is encrypted, but the server's certificate is not checked (sslmode "
            "require). verify-full checks it."
        )
    install = server_install(major)
    if install is None:
        yield f"Restores cannot be tested here: install a PostgreSQL {major} server (package postgresql-{major})."
    elif install.extensions < 20 and len(found.extensions) > 1:
        names = ", ".join(name for name, _, _ in found.extensions if name != "plpgsql")
        yield (
            f"Restores may not be testable here: the PostgreSQL {major} on this machine has few "
            f"extensions, and the database uses {names}."
        )
