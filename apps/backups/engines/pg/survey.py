"""What a database holds and what this user may not read of it: asked before a dump, and by "Test connection"."""

# ruff: noqa: E501, S608 the queries are put together from texts of our own, and read better unbroken
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from apps.backups.engines.pg.catalogue import USER_SCHEMA
from apps.backups.facts import EngineTrouble


@dataclass(frozen=True, slots=True)
class Table:
    """One table whose rows a dump must hold: an ordinary one or a leaf of a partitioned one."""

    schema: str
    name: str
    said: str  # quoted and with its schema, as SQL and people take it
    size: int  # bytes
    columns: tuple[str, ...]
    extension: bool  # a table of an extension that asks for its rows to be dumped


@dataclass(frozen=True, slots=True)
class Survey:
    """The tables, and what stands in the way of a whole dump."""

    database: str
    size: int
    tables: tuple[Table, ...]
    sequences: tuple[tuple[str, str, str], ...]  # schema, name, as SQL takes it
    unreadable: tuple[str, ...]  # tables, sequences and schemas without read rights
    row_security: tuple[str, ...]  # tables whose rows are hidden from this user
    foreign_tables: tuple[str, ...]
    extensions: tuple[tuple[str, str, str], ...]  # name, version, schema
    locale: dict[str, str]
    collations: tuple[str, ...]  # collations of the system that objects name
    superuser: bool
    own_options: bool  # columns carry options that only this build of PostgreSQL knows

    def refuse_partial(self, user: str) -> None:
        """Raise when this user would dump less than the whole database (disaster D32)."""
        if self.unreadable:
            raise EngineTrouble(
                f"User {user} may not read {_list(self.unreadable)}: the dump would not be whole, so none was made. "
                f"Grant it: GRANT pg_read_all_data TO {user} (PostgreSQL 14 or newer), or dump as the owner.",
                code="no-rights",
            )
        if self.row_security:
            raise EngineTrouble(
                f"Row-level security hides rows of {_list(self.row_security)} from user {user}: the dump would not be whole, so none "
                f"was made. Give the user the attribute BYPASSRLS, or dump as a superuser.",
                code="row-security",
            )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


# What a dump covers: everything a user made, and tables that an extension marked for dumping.
_COVERED = f"""({USER_SCHEMA} AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
      AND e.deptype = 'e') OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension))"""
_TABLES = f"""SELECT n.nspname, c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_table_size(c.oid),
    (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE "C") FROM pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    c.oid IN (SELECT unnest(extconfig) FROM pg_extension), c.relkind::text,
    has_schema_privilege(n.oid, 'USAGE'), CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
      ELSE has_table_privilege(c.oid, 'SELECT') END, CASE WHEN c.relkind IN ('r', 'p') THEN row_security_active(c.oid) ELSE false END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'S', 'f', 'm') AND c.relpersistence <> 't' AND {_COVERED}
  ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C\""""
_LOCALE = """SELECT pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d)->>'datlocprovider',
    coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') FROM pg_database d WHERE datname = current_database()"""
_COLLATIONS = f"""SELECT DISTINCT quote_ident(o.collname) FROM pg_collation o WHERE o.oid < 16384 AND o.collname NOT IN ('default', 'C', 'POSIX')
    AND (o.oid IN (SELECT a.attcollation FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {USER_SCHEMA} AND NOT a.attisdropped)
      OR o.oid IN (SELECT refobjid FROM pg_depend WHERE refclassid = 'pg_collation'::regclass AND objid >= 16384))"""


def survey(connection: psycopg.Connection) -> Survey:
    """Look at everything that a dump must hold. Sees every table, whatever the user may read."""
    tables, sequences, unreadable, hidden, foreign = [], [], [], [], []
    for schema, name, said, size, columns, extension, kind, usage, select, security in connection.execute(_TABLES):
        if not (usage and select) and kind != "m":
            unreadable.append(said)
        if security:
            hidden.append(said)
        if kind == "r":
            tables.append(Table(schema, name, said, size, tuple(columns or ()), extension))
        elif kind == "S":
            sequences.append((schema, name, said))
        elif kind == "f":
            foreign.append(said)
    one = _row(
        connection,
        "SELECT current_database(), pg_database_size(current_database()), "
        "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), EXISTS (SELECT 1 FROM pg_attribute a, unnest(a.attoptions) o "
        "WHERE NOT starts_with(o, 'n_distinct'))",
    )
    encoding, collate, ctype, provider, locale = _row(connection, _LOCALE)
    extensions = connection.execute(
        "SELECT x.extname, x.extversion, n.nspname FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace ORDER BY x.oid"
    ).fetchall()
    return Survey(
        database=one[0],
        size=one[1],
        tables=tuple(tables),
        sequences=tuple(sequences),
        unreadable=tuple(unreadable),
        row_security=tuple(hidden),
        foreign_tables=tuple(foreign),
        extensions=tuple((name, version, schema) for name, version, schema in extensions),
        locale={
            "encoding": encoding,
            "collate": collate,
            "ctype": ctype,
            "provider": provider or "c",
            "locale": locale or "",
        },
        collations=tuple(row[0] for row in connection.execute(_COLLATIONS)),
        superuser=bool(one[2]),
        own_options=bool(one[3]),
    )


def _row(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise EngineTrouble(
            "The server gave no answer to a simple question. Nothing was changed.", code="connect", permanent=False
        )
    return tuple(row)
