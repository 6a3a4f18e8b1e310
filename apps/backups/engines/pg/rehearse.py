"""Restores an archive into a scratch server as a plain role, and climbs the ladder: restored, complete, correct."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import psycopg

from apps.backups.engines.base import Opener
from apps.backups.engines.pg.archive import Contents
from apps.backups.engines.pg.compare import Comparison, check_indexes, compare
from apps.backups.engines.pg.connect import steady
from apps.backups.engines.pg.prepare import (
    DATABASE,
    RESTORER,
    assert_possible,
    make_extensions,
    open_schemas,
    prepare,
    untestable,
)
from apps.backups.engines.pg.spool import assert_room, contents_of, spool
from apps.backups.engines.pg.stderr import Verdict, classify
from apps.backups.engines.pg.steps import Step, schema_step, steps
from apps.backups.engines.pg.tools import quoted, restore_client
from apps.backups.facts import EngineTrouble, Manifest, Rung
from apps.backups.scratch import jail
from apps.backups.scratch.installs import Install, server_install
from apps.backups.scratch.server import SUPERUSER, ScratchServer, missing_major, scratch_server, wait_for
from apps.backups.work import Work
from apps.core.words import plural

SHOWN = 12  # differences named in a rung's log
JOBS = 2


def rehearse(opener: Opener, manifest: Manifest, work: Work) -> Iterator[Rung]:
    """Yield "restored", "complete" and "correct"; see the Engine protocol."""
    major = int(manifest.version.split(".")[0])
    if server_install(major) is None:
        raise missing_major(major)
    client = restore_client(str(manifest.tools.get("pg_dump", manifest.facts.get("dumped_by", "0"))))
    with scratch_server(major, work) as server:
        assert_possible(server, manifest)
        # The archive is about as big as the data; what is restored needs as much again for rows and for indexes.
        assert_room(server.folder, 3 * manifest.source_bytes)
        client = jail.readable(client, server.jail.keeper)
        started = time.monotonic()
        archive = server.folder / "archive"
        size = spool(opener, archive, work, manifest.source_bytes)
        jail.give(archive, server.jail.keeper)
        contents = contents_of(archive)
        rung = _restored(server, client, manifest, contents, work, started, size)
        yield rung
        if rung.ok is not True:
            return
        started = time.monotonic()
        with _sessions(server) as (whole, plain):
            found = _compared(manifest, whole, plain, work)
            yield _complete(found, time.monotonic() - started)
            if found.missing:
                return
            started = time.monotonic()
            yield _correct(found, whole, server, work, started)


@contextmanager
def _sessions(server: ScratchServer) -> Iterator[tuple[psycopg.Connection, list[psycopg.Connection]]]:
    """Lend one session that sees every catalogue, and two that read rows as a plain role."""
    with ExitStack() as stack:
        whole = stack.enter_context(server.connect(DATABASE))
        steady(whole)
        # Rows are read by the plain role: a type's or a view's own code never runs as the superuser.
        whole.execute(f'ALTER ROLE "{RESTORER}" BYPASSRLS'.encode())
        whole.execute(f'GRANT pg_read_all_data TO "{RESTORER}"'.encode())
        if server.install.major >= 17:  # a sign-in trigger may write rows, and those are not the backup's
            whole.execute(f'ALTER ROLE "{RESTORER}" SET event_triggers = off'.encode())
        plain = [stack.enter_context(server.connect(DATABASE, user=RESTORER)) for _ in range(JOBS)]
        for connection in plain:
            steady(connection)
        yield whole, plain


def _compared(manifest: Manifest, whole: psycopg.Connection, plain: list[psycopg.Connection], work: Work) -> Comparison:
    def seen(done: int, total: int) -> None:
        work.progress("comparing", done, total)

    try:
        return compare(manifest, whole, [partial(_same, one) for one in plain], seen)
    except psycopg.Error as error:
        raise EngineTrouble(
            "The restored copy could not be compared with what was backed up; the log below "
            "says why. Nothing else was touched.",
            code="compare",
            permanent=False,
            log=tuple(str(error).splitlines()[:4]),
        ) from None


def _same(connection: psycopg.Connection) -> psycopg.Connection:
    return connection


def _restored(
    server: ScratchServer,
    client: Install,
    manifest: Manifest,
    contents: Contents,
    work: Work,
    started: float,
    size: int,
) -> Rung:
    """Restore everything and judge every line that was said."""
    work.tools["pg_restore"] = client.version
    work.progress("restoring", 0, manifest.source_bytes)
    prepared = prepare(server, manifest, contents)
    roles = {*manifest.facts.get("roles", []), *(entry.owner for entry in contents.entries if entry.owner)}
    extension_tables = {
        (entry.schema, entry.name)
        for entry in contents.entries
        if f"{_quoted(entry.schema)}.{_quoted(entry.name)}" in set(manifest.facts.get("extension_tables", []))
    }
    tool = jail.Jail(server.jail.keeper, server.folder, (client, server.install))
    verdict = Verdict()
    failed = 0
    with server.connect(DATABASE) as whole:
        failed |= _run(tool, client, schema_step(contents), verdict, work)
        try:
            make_extensions(whole, manifest.facts.get("extensions", []))
        except psycopg.Error as error:
            raise untestable(
                f"an extension could not be made ({str(error).splitlines()[0]}).", "missing-extension"
            ) from None
        open_schemas(whole, contents, roles, opened=True)
        closed = False
        for step in steps(contents, extension_tables):
            if step.privileged and step.title in {"rights and comments", "event triggers"} and not closed:
                open_schemas(whole, contents, roles, opened=False)
                closed = True
            failed |= _run(tool, client, step, verdict, work)
        if not closed:
            open_schemas(whole, contents, roles, opened=False)
    figures = {
        "archive_bytes": size,
        "jobs": JOBS,
        "server": server.install.version,
        "isolation": server.jail.keeper.said,
        "durability": "fsync off, minimal WAL",
        "harmless": verdict.harmless,
    }
    if prepared.substituted:
        figures["collation"] = prepared.substituted
    seconds = time.monotonic() - started
    return restored_rung(verdict, failed, seconds, figures)


def restored_rung(verdict: Verdict, failed: int, seconds: float, figures: dict[str, object]) -> Rung:
    """Judge what every pg_restore said and how it ended (pure)."""
    if verdict.ok and not failed & ~1:
        # Exit code 1 with nothing but known harmless lines is what pg_restore gives for an ignored error.
        if failed and not verdict.harmless:
            return Rung(
                "restored",
                ok=False,
                said="pg_restore failed and gave no reason.",
                seconds=seconds,
                figures=figures,
                log=verdict.log,
            )
        return Rung(
            "restored",
            ok=True,
            said=f"Restored into a PostgreSQL {figures['server']} server of its own.",
            seconds=seconds,
            figures=figures,
        )
    if set(verdict.codes) == {"no-rights"} and not verdict.unknown:
        return Rung(
            "restored",
            ok=None,
            seconds=seconds,
            figures=figures,
            log=verdict.log,
            said="The backup holds something that only a superuser may restore, and restores are tested as a plain "
            "role: "
            f"{verdict.codes['no-rights']}. Nothing is known against it; restore it once by hand "
            "to be sure.",
        )
    if verdict.codes:
        what = next(what for code, what in verdict.codes.items() if code != "no-rights" or len(verdict.codes) == 1)
        said = f"The restore failed: {what}. Use an older backup, and mend the source before the next."
    elif verdict.unknown:
        said = f"The restore said something that is not known to be harmless: {verdict.unknown[0][:200]}"
    else:
        said = f"pg_restore ended with code {failed}."
    return Rung("restored", ok=False, said=said, seconds=seconds, figures=figures, log=verdict.log)


def _quoted(name: str) -> str:
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() and not name[0].isdigit()
    return name if plain else '"' + name.replace('"', '""') + '"'


def _run(tool: jail.Jail, client: Install, step: Step, verdict: Verdict, work: Work) -> int:
    """Run one step in the jail, add what it said to the verdict, and return its exit code."""
    if not step.entries:
        return 0
    listed = tool.folder / "list"
    listed.write_text(step.list_text, encoding="ascii")
    listed.chmod(0o644)
    user = SUPERUSER if step.privileged else RESTORER
    conninfo = f"host={quoted(str(tool.folder))} port=5432 dbname={DATABASE} user={quoted(user)}"
    argv = [
        client.program("pg_restore"),
        f"--dbname={conninfo}",
        f"--use-list={listed}",
        "--no-tablespaces",
        "--no-password",
        *step.words,
        str(tool.folder / "archive"),
    ]
    errors = tool.folder.parent / f"{tool.folder.name}.err"  # outside what the jail can write to
    try:
        with errors.open("wb") as sink, tool.popen(argv, stderr=sink) as process:
            try:
                while not wait_for(process, 5):
                    work.progress("restoring")
            except BaseException:
                process.kill()
                raise
        said = errors.read_text(encoding="utf-8", errors="replace")[:4_000_000].splitlines()
    finally:
        errors.unlink(missing_ok=True)
    if trouble := jail.refused(process.returncode, "\n".join(said)):
        raise trouble
    more = classify(said)
    verdict.codes.update({code: what for code, what in more.codes.items() if code not in verdict.codes})
    verdict.unknown += more.unknown
    verdict.harmless += more.harmless
    if not more.ok:
        verdict.log = (*verdict.log, *(f"[{step.title}] {line}" for line in more.log))[-60:]
    return int(process.returncode)


def _complete(found: Comparison, seconds: float) -> Rung:
    figures = {
        "tables": len(found.rows),
        "rows": sum(row.restored or 0 for row in found.rows),
        "objects": found.objects,
        "sequences": len(found.survey.sequences),
        "extensions": len(found.survey.extensions),
        "compared": [row.to_json() for row in found.rows],
    }
    if found.missing:
        more = f" and {len(found.missing) - 1} more" if len(found.missing) > 1 else ""
        return Rung(
            "complete",
            ok=False,
            seconds=seconds,
            figures=figures,
            log=found.missing[:SHOWN],
            said=(
                f"The restored copy is not what was backed up: {found.missing[0]}{more}. Use an "
                "older backup, and look for the cause."
            ),
        )
    return Rung(
        "complete",
        ok=True,
        seconds=seconds,
        figures=figures,
        said=(
            f"{plural(len(found.rows), 'table')}, {plural(int(str(figures['rows'])), 'row')} and "
            f"{plural(found.objects, 'other object')} are all there, exactly."
        ),
    )


def _correct(found: Comparison, whole: psycopg.Connection, server: ScratchServer, work: Work, started: float) -> Rung:
    figures: dict[str, object] = {"hashed_tables": len(found.rows)}
    wrong = list(found.wrong)
    if not wrong:
        with ExitStack() as stack:

            def another() -> psycopg.Connection:
                return stack.enter_context(server.connect(DATABASE))

            checked, bad = check_indexes(
                whole, [another] * JOBS, lambda done, total: work.progress("checking indexes", done, total)
            )
        figures["amcheck"] = "not available" if checked is None else checked
        wrong += bad
    seconds = time.monotonic() - started
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return Rung(
            "correct",
            ok=False,
            seconds=seconds,
            figures=figures,
            log=tuple(wrong[:SHOWN]),
            said=f"The restored copy is not right: {wrong[0]}{more}. Use an older backup, and look for the cause.",
        )
    here = f"PostgreSQL {server.install.version} of {server.install.origin}"
    return Rung("correct", ok=True, said=sound(figures["amcheck"], here), seconds=seconds, figures=figures)


def sound(checked: object, here: str) -> str:
    """Return what "correct" says: of how many pages, or that this server has no amcheck to look at them (pure)."""
    said = "Every row equals the recorded one (order-independent hash), every constraint is valid"
    if isinstance(checked, int):
        return f"{said}, {checked:,} tables and indexes have sound pages."
    return f"{said}. The pages of its indexes were not checked: {here} has no amcheck."
