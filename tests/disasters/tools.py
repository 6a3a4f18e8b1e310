"""Disasters of the client programs: older than the server, gone, cut, silent about a failure, leaving tables out."""

import shutil
from dataclasses import replace
from pathlib import Path

from apps.backups.engines.pg import dump, tools
from apps.backups.scratch.installs import Install, installs
from tests.disasters.databases import proven, shop
from tests.disasters.registry import case
from tests.disasters.scene import Scene

EVERY_STAGE = "exit code and every line of every stage"
RECORD = "the archive's contents against the survey of the same snapshot"


def shimmed(scene: Scene, script: str) -> None:
    """Put a script in the place of pg_dump; REAL in it is the real one. The twin only calls that one."""
    newest = installs()[0]
    folder = scene.folder / "bin"
    folder.mkdir()
    real = newest.program("pg_dump")
    shim = folder / "pg_dump"
    played = script if scene.broken else 'exec REAL "$@"'
    shim.write_text(f"#!/bin/bash\n{played}\n".replace("REAL", real))
    shim.chmod(0o755)
    for name in ("pg_restore", "psql"):
        if Path(newest.program(name)).exists():
            (folder / name).symlink_to(newest.program(name))
    instead: Install = replace(newest, bin=folder)
    scene.patched(dump, "dump_client", lambda *_words, **_named: instead)
    scene.ends.callback(shutil.rmtree, folder, ignore_errors=True)


def dumped(scene: Scene) -> list[str]:
    """Back the shop up with what stands in for pg_dump, and prove it."""
    _, target = shop(
        scene, "CREATE TABLE blobs AS SELECT n, repeat(md5(n::text), 20) x FROM generate_series(1, 4000) n"
    )
    return proven(scene, scene.world(target))


@case("D01", "the client is older than the server", mechanism="versions before the dump", needs="postgres",
      cause="server is postgresql 17.*newest pg_dump here is 15", step="install the package")  # fmt: skip
def old_client(scene: Scene) -> list[str]:
    some = tuple(one for one in installs() if one.major == 15) if scene.broken else installs()
    scene.patched(tools, "installs", lambda: some)
    return dumped(scene)


@case("D29-path", "the machine has no client at all", mechanism="a failed run is told at once", needs="postgres",
      cause="no pg_dump", step="install the package")  # fmt: skip
def no_client(scene: Scene) -> list[str]:
    some = () if scene.broken else installs()
    scene.patched(tools, "installs", lambda: some)
    return dumped(scene)


@case("D01-exit", "the client fails in the middle of the pipe", mechanism=EVERY_STAGE,
      needs="postgres", cause="pg_dump (ended|did not)", step="does not count")  # fmt: skip
def client_fails(scene: Scene) -> list[str]:
    shimmed(scene, 'REAL "$@" | head -c 60000; exit 1')
    return dumped(scene)


@case("D33-cut", "the dump stops at a border of its chunks and exits 0", mechanism="full decode in the test",
      needs="postgres", cause="end|cut|incomplete|damaged|decode", step="back up|test|mend|not count")  # fmt: skip
def client_cuts(scene: Scene) -> list[str]:
    shimmed(scene, f'REAL "$@" | head -c {65536 * scene.random.randrange(1, 3)}; exit 0')
    return dumped(scene)


@case("D13", "a table's rows are left out and the client exits 0", mechanism=RECORD, needs="postgres",
      cause="no rows of public.orders", step="dump as the owner")  # fmt: skip
def client_leaves_out_rows(scene: Scene) -> list[str]:
    shimmed(scene, 'exec REAL "$@" --exclude-table-data=orders')
    return dumped(scene)


@case("D13-table", "a whole table is left out and the client exits 0", mechanism=RECORD, needs="postgres",
      cause="no rows of public.blobs", step="dump as the owner")  # fmt: skip
def client_leaves_out_a_table(scene: Scene) -> list[str]:
    shimmed(scene, 'exec REAL "$@" --exclude-table=blobs')
    return dumped(scene)


@case("D13-view", "a materialized view is left out and the client exits 0", mechanism="restore test against the record",
      needs="postgres", cause="turnover", step="mend the cause|dump as the owner")  # fmt: skip
def client_leaves_out_a_view(scene: Scene) -> list[str]:
    shimmed(scene, 'exec REAL "$@" --exclude-table=turnover')
    return dumped(scene)


@case("D01-word", "the client warns of something unknown and exits 0", mechanism=EVERY_STAGE, needs="postgres",
      cause="said something that is not known to be harmless", step="does not count")  # fmt: skip
def client_warns(scene: Scene) -> list[str]:
    shimmed(scene, 'echo "pg_dump: warning: the moon is full" >&2; exec REAL "$@"')
    return dumped(scene)


@case("D01-empty", "the client writes a few bytes and exits 0", mechanism=EVERY_STAGE, needs="postgres",
      cause="not an archive|no archive", step="back up now|nothing was kept")  # fmt: skip
def client_writes_nothing(scene: Scene) -> list[str]:
    shimmed(scene, "printf '%s' nothing; exit 0")
    return dumped(scene)
