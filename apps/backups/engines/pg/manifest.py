"""Takes the manifest: what a restored copy must equal, read in the very snapshot that pg_dump reads."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
from psycopg import sql

from apps.backups.engines.pg.address import Address
from apps.backups.engines.pg.archive import Contents
from apps.backups.engines.pg.catalogue import listing
from apps.backups.engines.pg.connect import clean, connect, identity_of
from apps.backups.engines.pg.spread import Opener, Seen, spread
from apps.backups.engines.pg.survey import Survey, Table, survey
from apps.backups.engines.pg.through import Through, distant
from apps.backups.facts import EngineTrouble, Member

_SETVAL = re.compile(r", (-?\d+), (true|false)\);\s*$")


@dataclass(slots=True)
class Snapshot:
    """One moment of a database, held open: pg_dump and every query of the manifest see exactly it."""

    where: Address
    connection: psycopg.Connection
    id: str  # empty for one that a gate lends: nobody else may join it
    survey: Survey
    sequences: dict[str, tuple[int, bool]]  # as they stood before pg_dump began; sequences obey no snapshot
    more: list[psycopg.Connection] = field(default_factory=list)

    def another(self) -> psycopg.Connection:
        """Open one more connection that sees the same moment."""
        connection = connect(self.where)
        self.more.append(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.id)))
        return connection


@contextmanager
def snapshot(where: Address) -> Iterator[Snapshot]:
    """Hold one moment open for the block; every table is locked against changes of its shape only."""
    with ExitStack() as stack:
        for attempt in (1, 2, 3):
            connection, name = stack.enter_context(_moment(where))
            found = survey(connection)
            found.refuse_partial(where.user)
            try:
                _lock(connection, found.tables)
            except psycopg.errors.UndefinedTable:
                if attempt == 3:
                    raise EngineTrouble(
                        "Tables kept being dropped while the dump was about to begin. Nothing "
                        "was dumped; it will be tried again.",
                        code="moving",
                        permanent=False,
                    ) from None
                connection.close()
                continue
            except psycopg.errors.LockNotAvailable:
                raise EngineTrouble(
                    "A table was locked by somebody else for a minute (a migration?). Nothing "
                    "was dumped; it will be tried again.",
                    code="locked",
                    permanent=False,
                ) from None
            held = Snapshot(where, connection, name, found, sequence_values(connection, found.sequences))
            stack.callback(_close_all, held.more)
            break
        yield held


def reach(where: Address) -> psycopg.Connection:
    """Connect to a database, or have the gate of its server do so. Raises EngineTrouble."""
    if where.through is None:
        return connect(where)
    return cast("psycopg.Connection", Through(where, where.through))  # all that is asked of one here


@contextmanager
def _moment(where: Address) -> Iterator[tuple[psycopg.Connection, str]]:
    """Begin one moment for the block; return its connection, and the name by which others join it."""
    if where.through is not None:
        with closing(reach(where)) as lent:
            yield lent, ""
        return
    with _closing(connect(where)) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        yield connection, str(row[0]) if row else ""


@contextmanager
def _closing(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    try:
        yield connection
    finally:
        _close_all([connection])


def _close_all(connections: Sequence[psycopg.Connection]) -> None:
    for connection in connections:
        with suppress(psycopg.Error, OSError):
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                connection.cancel_safe(timeout=5)
        connection.close()


def _lock(connection: psycopg.Connection, tables: Sequence[Table]) -> None:
    """Keep tables' shapes until the manifest is taken: the snapshot saves rows, but not from TRUNCATE or ALTER."""
    if (lender := distant(connection)) is not None:
        for start in range(0, len(tables), 200):
            lender.lock([(table.schema, table.name) for table in tables[start : start + 200]])
        return
    connection.execute("SET LOCAL lock_timeout = '60s'")
    for start in range(0, len(tables), 200):
        names = sql.SQL(", ONLY ").join(
            sql.Identifier(table.schema, table.name) for table in tables[start : start + 200]
        )
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(names))
    connection.execute("SET LOCAL lock_timeout = 0")


def sequence_values(
    connection: psycopg.Connection, sequences: Sequence[tuple[str, str, str]]
) -> dict[str, tuple[int, bool]]:
    """Return last value and whether it was handed out, by name; two hundred sequences a query."""
    found: dict[str, tuple[int, bool]] = {}
    for start in range(0, len(sequences), 200):
        some = sequences[start : start + 200]
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, last_value, is_called FROM {}").format(sql.Literal(said), sql.Identifier(schema, name))
            for schema, name, said in some
        )
        found |= {said: (value, called) for said, value, called in connection.execute(query)}
    return found


def row_hash(table: Table, at: int) -> sql.Composed:
    """Return the query for (`at`, count, digest) of a table's rows, whatever order rows and columns stand in.

    record_out instead of a cast to text: a cast can be redefined by whoever owns the table, an output function cannot.
    """
    name = sql.Identifier(table.schema, table.name)
    if not table.columns:
        return sql.SQL("SELECT {}, count(*), '0' FROM ONLY {}").format(at, name)
    columns = sql.SQL(", ").join(sql.SQL("m.{}").format(sql.Identifier(column)) for column in table.columns)
    return sql.SQL(
        "SELECT {}, count(*), "
        'coalesce(sum(pg_catalog.hashtextextended(pg_catalog.record_out(ROW({}))::text COLLATE "C", 0)), 0)::text '
        "FROM ONLY {} AS m"
    ).format(at, columns, name)


_SMALL = (
    1024 * 1024
)  # bytes; smaller tables are asked together, so that thousands of them are not thousands of questions
_TOGETHER = 50


def batches(tables: Sequence[Table]) -> list[tuple[Table, ...]]:
    """Return the tables as they are asked: big ones alone, small ones fifty at a time (pure)."""
    big = [(table,) for table in tables if table.size > _SMALL]
    small = [table for table in tables if table.size <= _SMALL]
    return [*big, *(tuple(small[start : start + _TOGETHER]) for start in range(0, len(small), _TOGETHER))]


def hash_all(tables: Sequence[Table], openers: Sequence[Opener], seen: Seen) -> tuple[Member, ...]:
    """Count and hash every table, the biggest first."""

    def one(connection: psycopg.Connection, batch: tuple[Table, ...]) -> list[Member]:
        query = sql.SQL(" UNION ALL ").join(row_hash(table, at) for at, table in enumerate(batch))
        inside = connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        if inside:
            connection.execute("SAVEPOINT batch")
        rows = {at: (count, digest) for at, count, digest in connection.execute(query)}
        if inside:  # gives back the locks on indexes, of which a server has only so many
            connection.execute("ROLLBACK TO SAVEPOINT batch")
        return [Member(table.said, rows[at][0], str(rows[at][1])) for at, table in enumerate(batch)]

    found = spread([(batch, sum(table.size for table in batch)) for batch in batches(tables)], one, openers, seen)
    members = {member.name: member for batch in found.values() for member in batch}
    return tuple(members[table.said] for table in tables)


_LARGE = """SELECT count(*), coalesce(sum(pg_catalog.hashtextextended(concat_ws(':', m.oid::text,
    pg_catalog.pg_get_userbyid(m.lomowner),
    encode(pg_catalog.sha256(pg_catalog.lo_get(m.oid)), 'hex')) COLLATE "C", 0)), 0)::text
  FROM pg_catalog.pg_largeobject_metadata m"""
_ROLES = """SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace UNION SELECT pg_get_userbyid(relowner) FROM pg_class
  UNION SELECT pg_get_userbyid(proowner) FROM pg_proc UNION SELECT pg_get_userbyid(typowner) FROM pg_type"""
_SETTINGS = """SELECT unnest(s.setconfig) FROM pg_db_role_setting s WHERE s.setrole = 0
    AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def large_objects(connection: psycopg.Connection) -> list[Any]:
    """Return [count, digest] of the large objects."""
    row = connection.execute(_LARGE).fetchone()
    return [row[0], str(row[1])] if row else [0, "0"]


def facts(held: Snapshot, contents: Contents, seen: Callable[[], None]) -> dict[str, Any]:
    """Return everything about the database but its rows, as JSON types."""
    connection, found = held.connection, held.survey
    try:
        objects = large_objects(connection)
    except psycopg.errors.InsufficientPrivilege:
        raise EngineTrouble(
            f"User {held.where.user} may not read the database's large objects: the dump cannot "
            "be compared, so it does not count. "
            "Dump as their owner or as a superuser.",
            code="no-rights",
        ) from None
    seen()
    return {
        "database": found.database,
        "host": held.where.through.address if held.where.through else held.where.host,
        "port": held.where.port,
        "system_identifier": identity_of_in(connection),
        "locale": found.locale,
        "collations": list(found.collations),
        "extensions": [list(entry) for entry in found.extensions],
        "extension_tables": [table.said for table in found.tables if table.extension],
        "roles": sorted(
            {row[0] for row in connection.execute(_ROLES) if not row[0].startswith("unknown (OID=")}
            | {entry.owner for entry in contents.entries if entry.owner}
        ),
        "superusers": [row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1")],
        "sequences": dumped_sequences(held, contents),
        "large_objects": objects,
        "foreign_tables": list(found.foreign_tables),
        "matviews": [
            list(row)
            for row in connection.execute(
                "SELECT c.oid::regclass::text, c.relispopulated FROM pg_class c WHERE c.relkind = 'm' ORDER BY 1"
            )
        ],
        "publications": [row[0] for row in connection.execute("SELECT pubname FROM pg_publication ORDER BY 1")],
        "subscriptions": _subscriptions(connection),
        "settings": [row[0] for row in connection.execute(_SETTINGS)],
        "catalogue": listing(connection, seen),
        "dumped_by": contents.client,
    }


def identity_of_in(connection: psycopg.Connection) -> str:
    """Return the system identifier inside a transaction that must survive a refusal."""
    connection.execute("SAVEPOINT ask")
    found = identity_of(connection)
    connection.execute("ROLLBACK TO SAVEPOINT ask")
    return found


def _subscriptions(connection: psycopg.Connection) -> list[str]:
    connection.execute("SAVEPOINT ask")
    try:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM "
                "pg_database WHERE datname = current_database()) ORDER BY 1"
            )
        ]
    except psycopg.Error:
        names = []
    connection.execute("ROLLBACK TO SAVEPOINT ask")
    return names


def dumped_sequences(held: Snapshot, contents: Contents) -> list[list[Any]]:
    """Return [name, last value, handed out] as the dump holds it, checked against what stood there before and after.

    A sequence obeys no snapshot: under live writes it moves between pg_dump's look and ours. So the value is the dump's
    own, and it must lie where the sequence was meanwhile.
    """
    after = sequence_values(held.connection, held.survey.sequences)
    dumped = {
        (entry.schema, entry.name): match.groups()
        for entry in contents.entries
        if entry.kind == "SEQUENCE SET" and (match := _SETVAL.search(entry.value))
    }
    found = []
    for schema, name, said in held.survey.sequences:
        if (schema, name) not in dumped:
            raise EngineTrouble(
                f"The dump holds no value for the sequence {said}, so it does not count.", code="incomplete"
            )
        value, called = int(dumped[schema, name][0]), dumped[schema, name][1] == "true"
        if held.sequences[said] == after[said] != (value, called):
            raise EngineTrouble(
                f"The dump holds another value for the sequence {said} than the database, so it does not count.",
                code="incomplete",
            )
        found.append([said, value, called])
    return found


def lost(where: Address, error: psycopg.Error) -> EngineTrouble:
    """Turn a failure in the middle of the manifest into a sentence."""
    text = clean(str(error), where)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return EngineTrouble(
            f"User {where.user} may not read all of the database: {text.splitlines()[0]}", code="no-rights", log=(text,)
        )
    log = tuple(text.splitlines()[:4])
    if isinstance(error, psycopg.OperationalError):
        return EngineTrouble(
            "The connection to the database was lost before the dump could be compared, so it "
            "does not count. It will be tried again.",
            code="connection-lost",
            permanent=False,
            log=log,
        )
    return EngineTrouble(
        "The database could not be read a second time to compare the dump with it, so it does "
        "not count; the log below says why.",
        code="compare",
        permanent=False,
        log=log,
    )
