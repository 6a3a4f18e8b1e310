"""Compares a restored database with the manifest of its dump: complete (all is there), correct (every row)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from apps.backups.engines.pg.catalogue import differences, listing
from apps.backups.engines.pg.manifest import hash_all, large_objects, sequence_values
from apps.backups.engines.pg.spread import Opener, Seen, spread
from apps.backups.engines.pg.survey import Survey, survey
from apps.backups.facts import Manifest, Member

AMCHECK_SCHEMA = "mainstay scratch amcheck"


@dataclass(frozen=True, slots=True)
class Row:
    """One table as recorded and as restored; None: it is not there."""

    name: str
    recorded: int | None
    restored: int | None
    equal: bool

    def to_json(self) -> list[Any]:
        """Return what the evidence page stores."""
        return [self.name, self.recorded, self.restored, self.equal]


def pair(recorded: Sequence[Member], restored: Sequence[Member]) -> list[Row]:
    """Put recorded and restored tables side by side, by name (pure)."""
    old, new = {one.name: one for one in recorded}, {one.name: one for one in restored}
    return [
        Row(
            name,
            old[name].count if name in old else None,
            new[name].count if name in new else None,
            name in old and name in new and old[name] == new[name],
        )
        for name in sorted(old.keys() | new.keys())
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. `missing` are the reasons against "complete", `wrong` those against "correct"."""

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    objects: int  # how many of the catalogue were compared
    survey: Survey


def rows_of(found: Survey, openers: Sequence[Opener], seen: Seen) -> tuple[Member, ...]:
    """Count and hash every table of a restored database."""
    return hash_all(found.tables, openers, seen)


def compare(manifest: Manifest, connection: psycopg.Connection, openers: Sequence[Opener], seen: Seen) -> Comparison:
    """Compare everything: `connection` sees the whole catalogue, `openers` give sessions of a plain role."""
    facts = manifest.facts
    found = survey(connection)
    rows = pair(manifest.members, rows_of(found, openers, seen))
    missing: list[str] = []
    wrong: list[str] = []
    for row in rows:
        if row.restored is None:
            missing.append(f"table {row.name} is missing")
        elif row.recorded is None:
            missing.append(f"table {row.name} was not in the backup")
        elif row.recorded != row.restored:
            missing.append(f"table {row.name} has {row.restored:,} rows instead of {row.recorded:,}")
        elif not row.equal:
            wrong.append(f"the rows of {row.name} differ from those that were backed up")
    missing += _sequences(facts.get("sequences", []), sequence_values(connection, found.sequences))
    missing += _extensions(facts.get("extensions", []), found.extensions)
    if found.locale["encoding"] != facts["locale"]["encoding"]:
        missing.append(f"the encoding is {found.locale['encoding']} instead of {facts['locale']['encoding']}")
    count, digest = large_objects(connection)
    if count != facts["large_objects"][0]:
        missing.append(f"{count} large objects instead of {facts['large_objects'][0]}")
    elif digest != facts["large_objects"][1]:
        wrong.append("the large objects differ from those that were backed up")
    catalogue = listing(connection, lambda: seen(0, 0))
    missing += differences(facts["catalogue"], catalogue)
    return Comparison(tuple(rows), tuple(missing), tuple(wrong), sum(len(names) for names in catalogue.values()), found)


def _sequences(recorded: Sequence[Sequence[Any]], restored: dict[str, tuple[int, bool]]) -> list[str]:
    said = []
    for name, value, called in recorded:
        if name not in restored:
            said.append(f"sequence {name} is missing")
        elif restored[name] != (value, called):
            said.append(f"sequence {name} stands at {restored[name][0]} instead of {value}")
    return said


def _extensions(recorded: Sequence[Sequence[str]], restored: Sequence[Sequence[str]]) -> list[str]:
    there = {name: version for name, version, _ in restored}
    return [
        f"extension {name} {'is missing' if name not in there else f'is {there[name]} instead of {version}'}"
        for name, version, _ in recorded
        if there.get(name) != version
    ]


def check_indexes(
    connection: psycopg.Connection, openers: Sequence[Opener], seen: Seen
) -> tuple[int | None, list[str]]:
    """Check B-tree indexes against their tables and tables' pages (amcheck). Returns how many, and what is wrong.

    That an index holds every row of its table is not asked (heapallindexed): this server built each of them just now
    from those very rows, so it would test the server, not the backup; it was half the time of this step.
    None: this server has no amcheck. Event triggers are gone by then, because making an extension would set them off.
    """
    there = connection.execute("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'").fetchone()
    if there is None:
        return None, []
    for (name,) in connection.execute("SELECT evtname FROM pg_catalog.pg_event_trigger").fetchall():
        connection.execute(sql.SQL("DROP EVENT TRIGGER {}").format(sql.Identifier(name)))
    schema = sql.Identifier(AMCHECK_SCHEMA)
    if not connection.execute("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'amcheck'").fetchone():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(sql.SQL("CREATE EXTENSION amcheck SCHEMA {}").format(schema))
    row = connection.execute(
        "SELECT n.nspname FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON "
        "n.oid = x.extnamespace WHERE x.extname = 'amcheck'"
    ).fetchone()
    inside = sql.Identifier(row[0] if row else AMCHECK_SCHEMA)
    targets = connection.execute(
        "SELECT c.oid, c.relkind::text, c.oid::pg_catalog.regclass::text, "
        "pg_catalog.pg_relation_size(c.oid) FROM pg_catalog.pg_class c "
        "LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid "
        "WHERE c.oid >= 16384 AND c.relpersistence = 'p' AND (c.relkind IN ('r', 'm', 't') AND a.amname = 'heap' "
        "OR c.relkind = 'i' AND a.amname = 'btree' AND i.indisvalid AND i.indisready)"
    ).fetchall()

    def one(session: psycopg.Connection, target: tuple[int, str, str]) -> str:
        oid, kind, name = target
        try:
            if kind == "i":
                session.execute(
                    sql.SQL("SELECT {}.bt_index_check({}::pg_catalog.oid::pg_catalog.regclass, false)").format(
                        inside, oid
                    )
                )
                return ""
            bad = session.execute(
                sql.SQL("SELECT msg FROM {}.verify_heapam({}::pg_catalog.oid::pg_catalog.regclass) LIMIT 1").format(
                    inside, oid
                )
            ).fetchone()
            return f"{name}: {bad[0]}" if bad else ""
        except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
            return f"{name}: {str(error).splitlines()[0]}"

    items = [((oid, kind, name), int(size)) for oid, kind, name, size in targets]
    results = spread(items, one, openers, seen)
    return len(items), sorted(text for text in results.values() if text)
