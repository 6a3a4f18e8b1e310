"""Restores an archive for real: into a new, empty database that an admin named, never over anything."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

import psycopg
from psycopg import sql

from apps.backups.engines.base import Opener, Target
from apps.backups.engines.pg.address import Address, address
from apps.backups.engines.pg.compare import pair
from apps.backups.engines.pg.connect import clean, connect, identity_of, major_of, version_of
from apps.backups.engines.pg.manifest import hash_all
from apps.backups.engines.pg.prepare import roles_to_make
from apps.backups.engines.pg.spool import assert_room, contents_of, spool
from apps.backups.engines.pg.stderr import classify
from apps.backups.engines.pg.steps import Step, halves
from apps.backups.engines.pg.survey import survey
from apps.backups.engines.pg.tools import Lent, lent, restore_client
from apps.backups.facts import EngineTrouble, Manifest
from apps.backups.scratch.installs import Install
from apps.backups.scratch.server import wait_for
from apps.backups.work import Work
from apps.core.words import plural

_ANYTHING = """SELECT count(*) FROM (
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE
      e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE
      e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
    UNION ALL SELECT 1 FROM pg_largeobject_metadata) things"""


def restore(opener: Opener, manifest: Manifest, target: Target, work: Work) -> str:
    """Restore into a new, empty database and return one sentence. Raises EngineTrouble when it may not or did not."""
    where = address(target)
    made = _reach(where, manifest)
    try:
        with closing(connect(where)) as connection:
            _assert_allowed(connection, where, manifest)
            client = restore_client(str(manifest.tools.get("pg_dump", manifest.facts.get("dumped_by", "0"))))
            roles = roles_to_make(manifest.facts.get("roles", []))
            absent = sorted(roles - {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")})
            mighty = bool(_one(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))
        assert_room(work.folder, manifest.source_bytes)
        archive = work.folder / "archive.pgdump"
        spool(opener, archive, work, manifest.source_bytes)
        contents = contents_of(archive)
    except BaseException:
        if made:
            _drop(where)
        raise
    whole = mighty and not absent
    _run(client, where, archive, halves(contents, owners=whole), work, made=made)
    archive.unlink(missing_ok=True)
    equal = _compare(where, manifest, work)
    said = (
        f"{plural(len(manifest.members), 'table')} with {plural(equal, 'row')} were restored into {where.database} on "
        f"{where.said} and equal the backup."
    )
    if absent:
        return (
            f"{said} Owners and rights were left out, because the server lacks the roles "
            f"{', '.join(absent[:5])}: everything belongs to {where.user}."
        )
    if not whole:
        return (
            f"{said} Owners and rights were left out, because {where.user} is not a superuser: "
            f"everything belongs to {where.user}."
        )
    return said


def _reach(where: Address, manifest: Manifest) -> bool:
    """Make sure that the database is there; True when we made it."""
    try:
        with closing(connect(where)):
            return False
    except EngineTrouble as trouble:
        if trouble.code != "no-database":
            raise
    with closing(_maintenance(where)) as connection:
        _assert_server(connection, where, manifest)
        locale = manifest.facts["locale"]
        base = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
            sql.Identifier(where.database), sql.Literal(locale["encoding"])
        )
        likes = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(locale["collate"]), sql.Literal(locale["ctype"])
        )
        try:
            connection.execute(base + likes)
        except psycopg.errors.InsufficientPrivilege:
            raise EngineTrouble(
                f"User {where.user} may not make the database {where.database} on {where.said}. "
                "Make it empty by hand, or give the user "
                "CREATEDB. Nothing was restored.",
                code="no-rights",
            ) from None
        except psycopg.errors.DuplicateDatabase:
            return False
        except psycopg.Error as error:
            raise EngineTrouble(
                f"The database {where.database} could not be made with the collation of the "
                f"source ({locale['collate']}). Make it empty by "
                "hand with the collation that you want, and restore again. Nothing was restored.",
                code="missing-locale",
                log=tuple(str(error).splitlines()[:3]),
            ) from None
    return True


def _maintenance(where: Address) -> psycopg.Connection:
    try:
        return connect(replace(where, database="postgres"))
    except EngineTrouble as trouble:
        if trouble.code not in {"no-database", "no-rights", "not-allowed"}:
            raise
        return connect(replace(where, database="template1"))


def _drop(where: Address) -> None:
    """Remove the empty database that we had made when nothing was restored into it."""
    with closing(_maintenance(where)) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(where.database)))


def _one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _assert_server(connection: psycopg.Connection, where: Address, manifest: Manifest) -> None:
    """Raise when the server itself cannot take the backup, or is the source and the database its own."""
    mine = identity_of(connection)
    theirs = str(manifest.facts.get("system_identifier", ""))
    if where.database == manifest.facts.get("database") and (not mine or not theirs or mine == theirs):
        same_place = (where.host, where.port) == (manifest.facts.get("host"), manifest.facts.get("port"))
        if mine == theirs != "" or same_place:
            raise EngineTrouble(
                f"{where.database} on {where.said} is the database that was backed up. A restore "
                "never writes to its source: name a new "
                "database. Nothing was changed.",
                code="is-source",
            )
    if major_of(connection) < int(manifest.version.split(".")[0]):
        raise EngineTrouble(
            f"The backup is of PostgreSQL {manifest.version} and {where.said} is "
            f"{version_of(connection)}, which is older. Restore into "
            f"PostgreSQL {manifest.version.split('.')[0]} or newer. Nothing was changed.",
            code="server-too-old",
        )


def _assert_allowed(connection: psycopg.Connection, where: Address, manifest: Manifest) -> None:
    _assert_server(connection, where, manifest)
    count = int(str(_one(connection, _ANYTHING)))
    if count:
        raise EngineTrouble(
            f"The database {where.database} on {where.said} is not empty ({plural(count, 'object')}). A "
            "restore never writes over anything: name a "
            "new database. Nothing was changed.",
            code="not-empty",
        )
    have = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}
    if absent := [name for name, _, _ in manifest.facts.get("extensions", []) if name not in have]:
        raise EngineTrouble(
            f"The backup needs the extension {absent[0]}, which {where.said} does not have. "
            "Install it there first. Nothing was changed.",
            code="missing-extension",
        )


def _run(
    client: Install, where: Address, archive: os.PathLike[str], steps: Sequence[Step], work: Work, *, made: bool
) -> None:
    """Restore step after step, up to the first that fails. Raises EngineTrouble for that."""
    work.tools["pg_restore"] = client.version
    work.progress("restoring")
    with lent(where, client) as loan:
        for step in steps:
            _step(client, where, archive, step, work, loan, made=made)


def _step(
    client: Install, where: Address, archive: os.PathLike[str], step: Step, work: Work, loan: Lent, *, made: bool
) -> None:
    listed, errors = work.folder / "list", work.folder / "pg_restore.log"
    listed.write_text(step.list_text, encoding="ascii")
    argv = [
        client.program("pg_restore"),
        f"--dbname={loan.conninfo}",
        f"--use-list={listed}",
        "--no-tablespaces",
        "--no-password",
        *step.words,
        *([] if step.owners else ["--no-privileges"]),
        os.fspath(archive),
    ]
    with (
        errors.open("wb") as sink,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            env=loan.env,
            start_new_session=True,
        ) as process,
    ):
        try:
            while not wait_for(process, 5):
                work.progress("restoring")
        except BaseException:
            process.kill()
            raise
    verdict = classify(
        clean(line, where) for line in errors.read_text(encoding="utf-8", errors="replace")[:4_000_000].splitlines()
    )
    if verdict.ok and (process.returncode == 0 or (process.returncode == 1 and verdict.harmless)):
        return
    reason = next(
        iter(verdict.codes.values()), verdict.unknown[0][:200] if verdict.unknown else f"exit code {process.returncode}"
    )
    left = "was made for it and holds" if made else "now holds"
    raise EngineTrouble(
        f"The restore failed: {reason}. The database {where.database} {left} an unfinished copy: "
        "drop it, and restore into a new one. The "
        "backup and the source were not touched.",
        code=next(iter(verdict.codes), "unclassified"),
        log=verdict.log,
    )


def _compare(where: Address, manifest: Manifest, work: Work) -> int:
    """Compare every row with the manifest and return how many there are."""

    def seen(done: int, total: int) -> None:
        work.progress("comparing", done, total)

    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(where))) for _ in range(2)]
        for connection in connections:
            connection.execute("SET row_security = on")  # ours are all rows: we are the owner, or a superuser
        tables = survey(connections[0]).tables
        restored = hash_all(tables, [partial(_same, one) for one in connections], seen)
    different = [row.name for row in pair(manifest.members, restored) if not row.equal]
    if different:
        raise EngineTrouble(
            f"The restored copy is not what was backed up: {_names(different)}. Drop the "
            f"database {where.database} and restore an older "
            "backup. The backup and the source were not touched.",
            code="unequal",
        )
    return sum(member.count for member in restored)


def _same(connection: psycopg.Connection) -> psycopg.Connection:
    return connection


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (
        f" and {len(names) - 3} more differ" if len(names) > 3 else " differ" if len(names) > 1 else " differs"
    )
