"""Disasters of what is in a backup: the wrong, the empty, the half, the unreadable, the copied while in use."""

import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apps.backups.engines.base import Target
from tests.backups.factories import World, execute, sqlite_file
from tests.disasters.registry import case
from tests.disasters.scene import Scene, newer, reconfigure

BANDS = "bands against the backups before"
ENGINE = "what the engine says of its own dump"


def tree(scene: Scene, files: int = 40) -> Path:
    """Write a folder with some files in four sub-folders."""
    root = scene.folder / "tree"
    for number in range(files):
        path = root / f"part{number % 4}" / f"file {number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} " * 200)
    return root


def of_folder(scene: Scene, root: Path, **config: str) -> World:
    """Make a plan of a folder."""
    return scene.world(Target("directory", {"path": str(root), **config}, {}))


def history(made: World, runs: int = 3) -> None:
    """Take some backups, and prove the first."""
    made.proven()
    for _ in range(runs - 1):
        newer(made)


@contextmanager
def as_the_file_says() -> Iterator[None]:
    """As root, give up the right to read everything for the block: a file's mode then counts for us, too."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    before = data[0]
    data[0] = before & ~0b110  # effective: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = before
        assert libc.capset(header, data) == 0


@case("D18", "the large part is excluded and forgotten", mechanism=ENGINE, cause="more is excluded .* than kept",
      step="plan of its own")  # fmt: skip
def excluded_because_large(scene: Scene) -> list[str]:
    root = tree(scene)
    (root / "videos").mkdir()
    (root / "videos" / "all.bin").write_bytes(os.urandom(3_000_000 if scene.broken else 2000))
    made = of_folder(scene, root, excludes="videos")
    made.proven()
    return scene.told(made)


@case("unreadable", "permissions changed: part of the folder cannot be read", mechanism=ENGINE,
      cause="may not be read, part", step="give mainstay's user the right")  # fmt: skip
def unreadable_part(scene: Scene) -> list[str]:
    root = tree(scene)
    made = of_folder(scene, root)
    made.proven()
    if scene.broken:
        (root / "part2").chmod(0)
    with as_the_file_says():
        newer(made)
    (root / "part2").chmod(0o755)
    return scene.told(made)


@case("half", "half of the files are gone", mechanism=BANDS, cause="smaller than before: .* instead of",
      step="nothing was deleted")  # fmt: skip
def half_of_the_files(scene: Scene) -> list[str]:
    root = tree(scene)
    made = of_folder(scene, root)
    history(made)
    for path in sorted(root.rglob("*.txt"))[:: 2 if scene.broken else 20]:
        path.unlink()
    newer(made)
    return scene.told(made)


@case("not-mounted", "the disk of the folder is not mounted", mechanism="an empty source is refused",
      cause="failed: .*(no file|empty|nothing|holds)", step="mounted|right folder|check")  # fmt: skip
def source_not_mounted(scene: Scene) -> list[str]:
    root = tree(scene)
    made = of_folder(scene, root)
    made.proven()
    if scene.broken:
        root.rename(scene.folder / "aside")
        root.mkdir()
    newer(made)
    return scene.told(made)


@case("D41", "a live SQLite file is copied with its folder", mechanism=ENGINE, cause="is a database in use",
      step="plan of its own")  # fmt: skip
def live_sqlite_copied(scene: Scene) -> list[str]:
    root = tree(scene)
    database = sqlite3.connect(root / "shop.sqlite3", isolation_level=None)
    scene.ends.callback(database.close)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE t (x)")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if scene.broken:
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(500)])
    made = of_folder(scene, root)
    made.proven()
    return scene.told(made)


@case("D41-wal", "the log of a live SQLite file is excluded", mechanism=ENGINE, cause="is a database in use",
      step="plan of its own")  # fmt: skip
def live_sqlite_without_log(scene: Scene) -> list[str]:
    root = tree(scene)
    database = sqlite3.connect(root / "shop.sqlite3", isolation_level=None)
    scene.ends.callback(database.close)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE t (x)")
    if scene.broken:
        database.execute("INSERT INTO t VALUES (1)")
        made = of_folder(scene, root, exclude="*-wal\n*-shm")
    else:  # the right way: a plan of its own, under the same writes
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(500)])
        made = scene.world(Target("sqlite", {"path": str(root / "shop.sqlite3")}, {}))
    made.proven()
    return scene.told(made)


@case("D42-nothing", "a SQLite file of zero bytes", mechanism="minimum content",
      cause="(no table|empty|not a|holds)", step="check|name the")  # fmt: skip
def empty_file(scene: Scene) -> list[str]:
    made = scene.world()
    if scene.broken:
        made.file.write_bytes(b"")
    made.back_up()
    if not scene.broken:
        made.prove()
    return scene.told(made)


@case("D42-tables", "every table of a SQLite file is empty", mechanism="minimum content",
      cause="not a single row", step="check that .* names the right database")  # fmt: skip
def no_rows(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    if scene.broken:
        execute(made.file, "DELETE FROM things_0", "DELETE FROM things_1")
    newer(made)
    return scene.told(made)


@case("D36-path", "the plan reads another, smaller database than before", mechanism=BANDS,
      cause="smaller than before: .* instead of", step="check")  # fmt: skip
def other_file(scene: Scene) -> list[str]:
    made = scene.world()
    history(made)
    if scene.broken:
        reconfigure(made, path=str(sqlite_file(scene.folder / "other.sqlite3", rows=20)))
    newer(made)
    return scene.told(made)


@case("emptied", "one table was emptied since the last proof", mechanism="each table against the last proven record",
      cause="things_1 is empty, and held rows", step="check that this is meant.*restore the last proven")  # fmt: skip
def one_table_emptied(scene: Scene) -> list[str]:
    made = scene.world(rows=300)
    execute(made.file, "CREATE TABLE big (x)", *(["INSERT INTO big SELECT id FROM things_0"] * 20))
    history(made)
    execute(made.file, "DELETE FROM things_1" if scene.broken else "DELETE FROM things_1 WHERE id % 3 = 0")
    newer(made)
    return scene.told(made)


@case("dropped", "one table was dropped since the last proof", mechanism="each table against the last proven record",
      cause="things_1 is not there any more", step="restore the last proven")  # fmt: skip
def one_table_dropped(scene: Scene) -> list[str]:
    made = scene.world(rows=300)
    execute(made.file, "CREATE TABLE big (x)", *(["INSERT INTO big SELECT id FROM things_0"] * 20))
    history(made)
    execute(made.file, "DROP TABLE things_1" if scene.broken else "ALTER TABLE things_1 ADD COLUMN more")
    newer(made)
    return scene.told(made)


@case("D35-source", "the SQLite file itself is damaged", mechanism="integrity check in the dump and in the test",
      cause="damaged|malformed|corrupt|integrity", step="integrity_check|keep|restore|repair|earlier")  # fmt: skip
def damaged_source(scene: Scene) -> list[str]:
    made = scene.world(rows=6000)
    execute(made.file, "CREATE INDEX by_name ON things_0 (name)")
    if scene.broken:
        with sqlite3.connect(made.file) as database:
            (page,) = (
                database.execute(
                    "SELECT max(pageno) FROM dbstat WHERE name = 'by_name' AND pagetype = 'leaf'"
                ).fetchone()
                if _has_dbstat(database)
                else (made.file.stat().st_size // 4096,)
            )
        database.close()
        with made.file.open("r+b") as file:
            file.seek((page - 1) * 4096 + 2000)
            file.write(b"\xff" * 400)
    run = made.back_up()
    if run.state == "done":
        made.prove()
    return scene.told(made)


def _has_dbstat(database: sqlite3.Connection) -> bool:
    try:
        database.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.Error:
        return False
    return True
