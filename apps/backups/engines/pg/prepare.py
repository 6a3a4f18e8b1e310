"""Makes a scratch server ready for one backup: what it needs must be there, roles without rights, extensions first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from apps.backups.engines.pg.archive import Contents
from apps.backups.facts import EngineTrouble, Manifest
from apps.backups.scratch.server import ScratchServer

RESTORER = "mainstay scratch restorer"
DATABASE = "restored"
_PACKAGES = {
    "vector": "pgvector",
    "postgis": "postgis",
    "pg_cron": "pg-cron",
    "timescaledb": "timescaledb",
    "pg_partman": "partman",
    "pg_repack": "repack",
    "hypopg": "hypopg",
    "pglogical": "pglogical",
    "pg_hint_plan": "pg-hint-plan",
    "pgaudit": "pgaudit",
}


def untestable(sentence: str, code: str) -> EngineTrouble:
    """Return the trouble of a backup that cannot be tested here, which says nothing against it."""
    return EngineTrouble(
        f"This backup cannot be tested here: {sentence} The backup itself is kept.", code=code, untestable=True
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """The empty database, and what had to be different from the source."""

    substituted: str  # collation that was used instead, in words; "" when it is the source's own


def assert_possible(server: ScratchServer, manifest: Manifest) -> None:
    """Raise untestable trouble when an extension or a collation of the backup is not here, naming the package."""
    with server.connect() as connection:
        have = {
            (name, version)
            for name, version in connection.execute("SELECT name, version FROM pg_available_extension_versions")
        }
        collations = {row[0] for row in connection.execute("SELECT quote_ident(collname) FROM pg_collation")}
    names = {name for name, _ in have}
    major = server.install.major
    for name, version, _ in manifest.facts.get("extensions", []):
        if name not in names:
            package = _PACKAGES.get(
                name, "contrib" if name in {"pgcrypto", "uuid-ossp", "hstore"} else name.replace("_", "-")
            )
            wanted = f"postgresql-{major}" if package == "contrib" else f"postgresql-{major}-{package}"
            raise untestable(
                f"it needs the extension {name}, which the PostgreSQL {major} on this machine "
                f"({server.install.origin}) does not have. "
                f"Install the package {wanted} (with the server package postgresql-{major}).",
                "missing-extension",
            )
        if (name, version) not in have:
            there = ", ".join(sorted(known for one, known in have if one == name))
            raise untestable(
                f"it needs version {version} of the extension {name}, and this machine has {there}. Install a package "
                f"postgresql-{major} that has it, or update the extension in the database (ALTER "
                f"EXTENSION {name} UPDATE).",
                "missing-extension",
            )
    if absent := sorted(set(manifest.facts.get("collations", [])) - collations):
        raise untestable(
            f"it uses the collation {absent[0]}, which this machine does not have. Install the "
            "package locales (and, for ICU, the server "
            f"package postgresql-{major}).",
            "missing-collation",
        )


def prepare(server: ScratchServer, manifest: Manifest, contents: Contents) -> Prepared:
    """Make the plain restoring role, the backup's roles (no sign-in, no rights of their own) and an empty database."""
    with server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(sql.Identifier(RESTORER))
        )
        wanted = {*manifest.facts.get("roles", []), *(entry.owner for entry in contents.entries if entry.owner)}
        _make_roles(connection, roles_to_make(wanted), set(manifest.facts.get("superusers", [])))
        substituted = _create_database(connection, manifest.facts["locale"], server.install.major)
        for role in sorted(roles_to_make(wanted)):
            connection.execute(
                sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(DATABASE), sql.Identifier(role))
            )
    return Prepared(substituted)


def _make_roles(connection: psycopg.Connection, roles: set[str], superusers: set[str]) -> None:
    """Make roles that own things and do nothing else.

    A superuser of the source may read and write every row and use everything of the others, as it could there (a
    materialized view of its own is filled with its rights), but it is a plain role here: none can leave the database.
    """
    for role in sorted(roles):
        more = "BYPASSRLS" if role in superusers else "NOBYPASSRLS"
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER " + more).format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(RESTORER)))
    for mighty in sorted(roles & superusers):
        connection.execute(sql.SQL("GRANT pg_read_all_data, pg_write_all_data TO {}").format(sql.Identifier(mighty)))
        for role in sorted(roles - superusers):
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(mighty)))


def roles_to_make(names: Collection[str]) -> set[str]:
    """Return the roles that do not come with every server (pure)."""
    return {name for name in names if name and not name.startswith("pg_") and name not in {RESTORER, "public"}}


def _create_database(connection: psycopg.Connection, locale: dict[str, Any], major: int) -> str:
    base = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {}").format(
        sql.Identifier(DATABASE), sql.Identifier(RESTORER), sql.Literal(locale["encoding"])
    )
    libc = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(locale["collate"]), sql.Literal(locale["ctype"]))
    tries: list[tuple[sql.Composable, str]] = []
    if locale["provider"] == "i":
        tries.append(
            (
                sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
                    sql.Literal(locale["locale"])
                ),
                "",
            )
        )
    elif locale["provider"] == "b":
        tries.append(
            (sql.SQL(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(locale["locale"])) + libc, "")
        )
        tries.append(
            (
                sql.SQL(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
                    sql.Literal(locale["locale"])
                ),
                "",
            )
        )
    else:
        tries.append((libc, ""))
    named = locale["locale"] or locale["collate"]
    said = f"the collation {named} is not on this machine; %s was used, so the order of texts was not tested"
    if locale["encoding"] == "UTF8":
        tries.append((sql.SQL(" LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"), said % "C.UTF-8"))
    tries.append((sql.SQL(" LC_COLLATE 'C' LC_CTYPE 'C'"), said % "C"))
    error: psycopg.Error | None = None
    for more, substituted in tries:
        try:
            connection.execute(base + more)
        except psycopg.Error as refused:
            error = refused
        else:
            return substituted
    raise untestable(
        f"PostgreSQL {major} on this machine cannot make a database like it ({str(error).splitlines()[0]}).",
        "missing-locale",
    )


def make_extensions(connection: psycopg.Connection, extensions: Sequence[Sequence[str]]) -> None:
    """Make the extensions as the superuser, in the recorded version and schema."""
    for name, version, schema in extensions:
        if name == "plpgsql":
            continue
        if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone():
            where: sql.Composable = sql.SQL("")  # the extension makes the schema itself
        else:
            where = sql.SQL(" SCHEMA {}").format(sql.Identifier(schema))
        connection.execute(
            sql.SQL("CREATE EXTENSION {}{} VERSION {}").format(sql.Identifier(name), where, sql.Literal(version))
        )


def open_schemas(connection: psycopg.Connection, contents: Contents, roles: Collection[str], *, opened: bool) -> None:
    """Let the backup's roles own things in its schemas while it is restored, and take that away again.

    Rights come back from the archive afterwards; meanwhile a plain role could not hand a table to an owner who may not
    create in the schema.
    """
    schemas = sorted({"public", *(one.name for one in contents.entries if one.kind == "SCHEMA")})
    there = [
        row[0] for row in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", (schemas,))
    ]
    names = sql.SQL(", ").join(sql.Identifier(role) for role in sorted(roles_to_make(roles)))
    if there and roles_to_make(roles):
        verb = sql.SQL("GRANT ALL ON SCHEMA {} TO {}") if opened else sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}")
        connection.execute(verb.format(sql.SQL(", ").join(sql.Identifier(name) for name in there), names))
    if not opened:
        for entry in contents.entries:
            if entry.kind == "SCHEMA" and entry.owner:
                connection.execute(
                    sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(
                        sql.Identifier(entry.name), sql.Identifier(entry.owner)
                    )
                )
