"""A SQLite file whose folder belongs to somebody hostile: Mainstay deletes and changes nothing for them."""

import os
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from apps.backups.facts import EngineTrouble
from tests.backups.lent import Lent
from tests.backups.sqlite_file import ENGINE, dumped, rungs, target

HALF = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for each in ("PRAGMA cache_size=1", "PRAGMA cache_spill=1", "BEGIN", "UPDATE t SET x = 'y' || x"):
    db.execute(each)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database whose application was killed in the middle of a write."""
    folder = tmp_path / "app"
    folder.mkdir()
    path = folder / "app.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t(x)")
        db.executemany("INSERT INTO t VALUES(?)", [("x" * 100,)] * 200)
        db.commit()
    subprocess.run([sys.executable, "-c", HALF, path], check=False)
    assert Path(f"{path}-journal").stat().st_size > 4096
    return path


def test_a_journal_that_names_a_file_to_delete_deletes_nothing(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "ring.json"
    victim.write_text("the keys", encoding="ascii")
    name = os.fsencode(victim)
    record = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name))
    with Path(f"{path}-journal").open("ab") as journal:
        journal.write(record + bytes.fromhex("d9d505f920a163d7"))
    before = path.read_bytes()
    with pytest.raises(EngineTrouble, match="in the middle of a write") as caught:
        ENGINE.check(target(path))
    assert not caught.value.permanent
    assert victim.exists()
    assert path.read_bytes() == before


def test_once_the_application_has_cleaned_up_it_is_backed_up_again(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT count(*) FROM t").fetchone()
    (tmp_path / "work").mkdir(mode=0o700)
    work = Lent(tmp_path / "work")
    data, manifest = dumped(path, work)
    assert all(rung.ok for rung in rungs(data, manifest, work))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand its rights down")
def test_a_file_of_somebody_else_is_opened_with_their_rights(tmp_path: Path) -> None:
    path = tmp_path / "theirs" / "app.sqlite3"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t(x)")
        db.execute("INSERT INTO t VALUES(1)")
        db.commit()
    for each in (path.parent, path):
        os.chown(each, 4242, 4242)
    (tmp_path / "work").mkdir(mode=0o700)
    work = Lent(tmp_path / "work")
    data, manifest = dumped(path, work)
    assert all(rung.ok for rung in rungs(data, manifest, work))
    made = {each.name: each.stat().st_uid for each in path.parent.iterdir()}
    assert set(made.values()) <= {4242}
