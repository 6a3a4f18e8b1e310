"""SQLite: one exact snapshot under live writes, in the file format itself, and every way in which a copy can differ."""

import os
import select
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from apps.backups.facts import EngineTrouble, Manifest, Rung
from tests.backups.lent import Lent
from tests.backups.sqlite_file import ENGINE, dumped, opener, rungs, target, wal


@pytest.fixture
def work(tmp_path: Path) -> Lent:
    """Lend a folder."""
    (tmp_path / "work").mkdir(mode=0o700)
    return Lent(tmp_path / "work")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a database with what tends to get lost in copies."""
    path = tmp_path / "app.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("""
            PRAGMA user_version=42; PRAGMA application_id=77;
            CREATE TABLE person(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, note, born REAL);
            CREATE TABLE pair(a TEXT, b INT, PRIMARY KEY(a, b)) WITHOUT ROWID;
            CREATE TABLE total(price INT, tax INT, whole INT GENERATED ALWAYS AS (price + tax) STORED,
                               twice INT GENERATED ALWAYS AS (price * 2) VIRTUAL);
            CREATE TABLE "odd ""name"" 'here'"(x);
            CREATE VIRTUAL TABLE words USING fts5(body);
            CREATE INDEX person_name ON person(name); CREATE VIEW names AS SELECT name FROM person;
            CREATE TRIGGER shout AFTER INSERT ON pair BEGIN UPDATE person SET note = 'x' WHERE id = 1; END;
        """)
        db.executemany(
            "INSERT INTO person(name, note, born) VALUES(?, ?, ?)",
            [(f"person {n}", [None, b"\x00\xff", "text", 7, 0.1, "é", ""][n % 7], n / 3) for n in range(5000)],
        )
        db.executemany("INSERT INTO pair VALUES(?, ?)", [(str(n), n) for n in range(1000)])
        db.execute("INSERT INTO total(price, tax) VALUES(100, 19)")
        db.execute("INSERT INTO words VALUES('a backup that nobody restored')")
        db.execute("INSERT INTO person(name) VALUES(CAST(x'ff41' AS TEXT))")  # text that is not UTF-8
        db.commit()
    return path


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate", "persist"])
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_dump_restores_equal_in_every_mode(path: Path, work: Lent, mode: str, page_size: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={page_size}")
        db.execute("VACUUM")
        db.execute(f"PRAGMA journal_mode={mode}")
    data, manifest = dumped(path, work)
    assert [(rung.name, rung.ok) for rung in rungs(data, manifest, work)] == [
        ("restored", True),
        ("complete", True),
        ("correct", True),
    ]
    assert "to the end" in ENGINE.read(opener(data), manifest, work)
    counts = {member.name: member.count for member in manifest.members}
    assert (counts["person"], counts["pair"], counts["total"], counts["odd \"name\" 'here'"]) == (5001, 1000, 1, 0)
    assert (manifest.facts["user_version"], manifest.facts["application_id"]) == (42, 77)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert list(work.folder.iterdir()) == []


def test_the_restored_file_opens_with_the_sqlite3_program(path: Path, work: Lent, tmp_path: Path) -> None:
    wal(path).close()
    data, _ = dumped(path, work)
    (tmp_path / "again.sqlite3").write_bytes(data)
    said = subprocess.run(
        ["sqlite3", tmp_path / "again.sqlite3", "PRAGMA integrity_check; SELECT count(*) FROM person"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["ok", "5001"]


def test_rows_that_are_only_in_the_write_ahead_log_are_in_the_dump(path: Path, work: Lent, tmp_path: Path) -> None:
    """A plain copy of the file passes integrity_check and has lost them (D41)."""
    with closing(wal(path)) as db:
        db.execute("INSERT INTO pair SELECT 'new', n FROM (SELECT id + 10000 AS n FROM person)")
        shutil.copy(path, tmp_path / "copied")
        data, manifest = dumped(path, work)
    with closing(sqlite3.connect(tmp_path / "copied")) as copied:
        assert copied.execute("SELECT count(*) FROM pair").fetchone() == (1000,)
    assert {member.name: member.count for member in manifest.members}["pair"] == 6001
    assert all(rung.ok for rung in rungs(data, manifest, work))


@contextmanager
def writing(path: Path, statement: str) -> Iterator["subprocess.Popen[str]"]:
    """Let another process write as fast as it can, with checkpoints, until the block ends."""
    script = textwrap.dedent(f"""
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
        db.execute("PRAGMA wal_autocheckpoint=50")
        n = 0
        while True:
            n += 1
            db.execute({statement!r}, (n,))
            if n == 20:
                print("writing", flush=True)
            if n % 500 == 0:
                db.execute("PRAGMA wal_checkpoint(RESTART)")
    """)
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "writing\n"
        yield writer
        assert writer.poll() is None, "the writer was kept from writing"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_dump_under_live_writes_is_one_moment_exactly(path: Path, work: Lent) -> None:
    wal(path).close()
    with closing(sqlite3.connect(path)) as db:  # two tables that every commit changes together
        db.executescript(
            "CREATE TABLE one(n INT); CREATE TABLE two(n INT); "
            "CREATE TRIGGER both AFTER INSERT ON one BEGIN INSERT INTO two VALUES(new.n); "
            "UPDATE person SET note = new.n WHERE id % 97 = new.n % 97; END;"
        )
    with writing(path, "INSERT INTO one VALUES(?)"):
        for _ in range(5):
            data, manifest = dumped(path, work)
            members = {member.name: member for member in manifest.members}
            assert members["one"].count == members["two"].count > 0
            assert members["one"].digest == members["two"].digest
            assert all(rung.ok for rung in rungs(data, manifest, work))


def test_a_slow_reader_of_the_dump_keeps_no_writer_waiting(path: Path, work: Lent) -> None:
    with closing(wal(path)) as db:
        db.execute("CREATE TABLE big(x)")
        db.execute("INSERT INTO big SELECT randomblob(3000) FROM person")
        with ENGINE.dump(target(path), work) as dump:
            first = dump.stream.read(10)
            db.execute("DELETE FROM big")  # while most of the dump has not been read
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            data = first + dump.stream.read()
            manifest = dump.finish()
        assert {member.name: member.count for member in manifest.members}["big"] == 5001
        assert all(rung.ok for rung in rungs(data, manifest, work))


def test_a_changed_row_a_lost_row_and_a_lost_table_are_each_named(path: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(path, work)

    def after(statement: str) -> Rung:
        changed = tmp_path / "changed.sqlite3"
        changed.write_bytes(data)
        with closing(sqlite3.connect(changed)) as db:
            db.execute(statement)
            db.commit()
        raw = changed.read_bytes()
        return rungs(raw.ljust(manifest.source_bytes, b"\0"), manifest, work)[-1]

    said = after("UPDATE person SET born = 3 WHERE id = 17")
    assert (said.name, said.ok) == ("correct", False)
    assert "person" in said.said
    said = after("UPDATE person SET note = '7' WHERE note = 7")  # the same text, another type
    assert (said.name, said.ok) == ("correct", False)
    said = after("DELETE FROM person WHERE id = 17")
    assert (said.name, said.ok) == ("complete", False)
    assert "5,001 rows recorded, 5,000 restored" in said.said.replace("\u202f", ",").replace("\u2009", ",")
    said = after("DROP VIEW names")
    assert (said.name, said.ok) == ("complete", False)
    said = after("PRAGMA user_version=43")
    assert "user_version" in said.said


def test_one_bit_of_a_row_is_noticed_although_integrity_check_says_ok(path: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(path, work)
    at = data.index(b"person 1234")
    flipped = data[:at] + b"q" + data[at + 1 :]
    (tmp_path / "f").write_bytes(flipped)
    with closing(sqlite3.connect(tmp_path / "f")) as db:
        db.execute("DROP INDEX person_name")  # the index would give the change away; other columns have none
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert rungs(flipped, manifest, work)[-1].ok is False


def test_damage_at_the_source_is_backed_up_but_never_called_correct(path: Path, work: Lent) -> None:
    raw = bytearray(path.read_bytes())
    for page in range(0, len(raw), 4096):  # an entry of the index: the rows stay readable
        if raw[page] == 0x0A and (at := raw.find(b"person 4321", page, page + 4096)) > 0:
            raw[at + 8] = ord("9")
    path.write_bytes(raw)
    data, manifest = dumped(path, work)
    last = rungs(data, manifest, work)[-1]
    assert (last.name, last.ok) == ("correct", False)
    assert "source itself was already damaged" in last.said


def test_an_archive_of_another_length_is_not_readable(path: Path, work: Lent) -> None:
    data, manifest = dumped(path, work)
    for wrong in (data[:-4096], data + bytes(4096), b"x" + data[1:], b""):
        with pytest.raises(EngineTrouble, match="not the recorded SQLite file"):
            ENGINE.read(opener(wrong), manifest, work)
    with pytest.raises(EngineTrouble, match="recorded"):
        rungs(data[:-4096], manifest, work)
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"not a database at all", "not an SQLite database"),
        (os.urandom(8192), "not an SQLite database"),
    ],
)
def test_a_file_that_holds_no_database_is_refused(tmp_path: Path, work: Lent, content: bytes, words: str) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(content)
    for look in (lambda: ENGINE.check(target(path)), lambda: dumped(path, work)):
        with pytest.raises(EngineTrouble, match=words):
            look()


def test_a_database_without_a_table_is_refused(tmp_path: Path, work: Lent) -> None:
    path = tmp_path / "bare.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=1")
    with pytest.raises(EngineTrouble, match="no table") as caught:
        dumped(path, work)
    assert caught.value.code == "empty"


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path / "nothing", tmp_path, "relative.sqlite3", ""):
        with pytest.raises(EngineTrouble):
            ENGINE.check(target(wrong))


def test_a_file_among_the_keys_is_refused_also_through_a_link(tmp_path: Path, work: Lent) -> None:
    inside = Path(settings.MAINSTAY_KEYS) / "db.sqlite3"
    inside.write_bytes(b"")
    (tmp_path / "link").symlink_to(inside)
    for each in (inside, tmp_path / "link"):
        with pytest.raises(EngineTrouble, match="keys") as caught:
            ENGINE.check(target(each))
        assert caught.value.code == "keys"
    inside.unlink()


def test_a_database_that_stays_locked_gives_up_in_bounded_time(
    path: Path, work: Lent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = Path(
        shutil.copy(Path(sys.modules["apps.backups.engines.sqlite_child"].__file__ or ""), tmp_path / "child.py")
    )
    child.write_text(child.read_text().replace("BUSY_SECONDS = 30.0", "BUSY_SECONDS = 0.2"))
    monkeypatch.setattr("apps.backups.engines.sqlite_child.__file__", str(child))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EngineTrouble, match="kept the database locked") as caught:
            dumped(path, work)
    assert (caught.value.code, caught.value.permanent) == ("busy", False)


def test_checking_changes_nothing(path: Path) -> None:
    with closing(wal(path)) as db:
        db.execute("INSERT INTO pair VALUES('x', 1)")
        before = {each.name: each.read_bytes() for each in path.parent.glob("app.sqlite3*") if "shm" not in each.name}
        found = ENGINE.check(target(path))
        assert before == {
            each.name: each.read_bytes() for each in path.parent.glob("app.sqlite3*") if "shm" not in each.name
        }
    assert found.size == found.facts["tables"] * 0 + (found.size or 0)
    assert "tables" in found.sentence
    assert found.warnings == ()


def test_a_database_without_wal_gets_a_warning(path: Path) -> None:
    assert "WAL mode" in ENGINE.check(target(path)).warnings[0]


def test_leaving_the_dump_early_ends_the_process(path: Path, work: Lent) -> None:
    wal(path).close()
    with closing(wal(path)) as db:
        db.execute("INSERT INTO pair SELECT randomblob(3000), id FROM person")
        with ENGINE.dump(target(path), work) as dump:
            dump.stream.read(1)
        child = dump._child  # type: ignore[attr-defined]
        assert child.returncode is not None
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # no reader is left


def test_the_child_ends_with_its_parent(path: Path, tmp_path: Path) -> None:
    """A worker that is killed leaves no reader behind that would keep the write-ahead log growing."""
    with closing(wal(path)) as db:
        db.execute("INSERT INTO pair SELECT randomblob(3000), id FROM person")
        script = textwrap.dedent("""
            import subprocess, sys
            pipe = subprocess.PIPE
            child = subprocess.Popen([sys.executable, "-I", *sys.argv[1:]], stdin=pipe, stdout=pipe)
            child.stdout.read(1)
            print(child.pid, flush=True)
            sys.stdin.read()
        """)
        child = sys.modules["apps.backups.engines.sqlite_child"].__file__ or ""
        parent = subprocess.Popen(
            [sys.executable, "-c", script, child, "stream", str(path), str(tmp_path / "r"), str(tmp_path / "s")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watch = os.pidfd_open(pid)
        parent.kill()
        parent.communicate()
        assert select.select([watch], [], [], 10)[0], "the reader outlived its parent"
        os.close(watch)


def test_a_restore_makes_a_new_file_that_equals_the_record(path: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(path, work)
    said = ENGINE.restore(opener(data), manifest, target(tmp_path / "new.sqlite3"), work)
    assert "all equal" in said
    assert (tmp_path / "new.sqlite3").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(tmp_path / "new.sqlite3")) as db:
        assert db.execute("SELECT count(*) FROM person").fetchone() == (5001,)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["app.sqlite3", "new.sqlite3", "work"]


@pytest.mark.parametrize("taken", ["new.sqlite3", "new.sqlite3-wal", "new.sqlite3-journal"])
def test_a_restore_never_touches_what_is_there(path: Path, work: Lent, tmp_path: Path, taken: str) -> None:
    data, manifest = dumped(path, work)
    (tmp_path / taken).write_bytes(b"")
    with pytest.raises(EngineTrouble, match="exists already"):
        ENGINE.restore(opener(data), manifest, target(tmp_path / "new.sqlite3"), work)
    with pytest.raises(EngineTrouble, match="exists already"):  # the source itself
        ENGINE.restore(opener(data), manifest, target(path), work)


def test_a_restore_that_would_differ_leaves_no_file(path: Path, work: Lent, tmp_path: Path) -> None:
    data, manifest = dumped(path, work)
    at = data.index(b"person 1234")
    with pytest.raises(EngineTrouble, match="removed again"):
        ENGINE.restore(opener(data[:at] + b"q" + data[at + 1 :]), manifest, target(tmp_path / "new.sqlite3"), work)
    with pytest.raises(EngineTrouble, match="does not exist"):
        ENGINE.restore(opener(data), manifest, target(tmp_path / "no" / "new.sqlite3"), work)
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineTrouble, match="exists already"):
        ENGINE.restore(opener(data), manifest, target(tmp_path / "dangling"), work)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["app.sqlite3", "dangling", "work"]


def test_a_file_is_told_from_every_other(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    assert ENGINE.identity(target(path)) == ENGINE.identity(target(tmp_path / "link")) != ""
    assert ENGINE.identity(target(tmp_path / "nothing")) == ""
