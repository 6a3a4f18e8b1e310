"""Reads one SQLite file in a process of its own: streams the pages of one snapshot and says what is in it.

A process of its own, because POSIX locks belong to a process and die with the first file handle that it closes: looking
into a database that this worker also has open (Mainstay's own) would drop the locks of the other connection. Standard
library only; run as a script: MODE PATH RESULT [SPOOL]. RESULT is a JSON file; pages go to standard output.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import sqlite3
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

BUSY_SECONDS = 30.0
TRIES = 500  # to catch a snapshot between two commits
RUN = 1024 * 1024
SPARE = 64 * 1024 * 1024
MOST_LINES = 20


class Told(Exception):  # noqa: N818 a sentence for people, on its way to the parent
    """What is wrong with the file: code and sentence."""


def main(arguments: list[str]) -> int:
    """Do one thing and write its result; 0 also for a trouble that has its sentence."""
    mode, path, result, *spool = arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        found = stream(path, *spool) if mode == "stream" else check(path) if mode == "check" else survey_file(path)
    except Told as told:
        found = {"trouble": told.args[0], "said": told.args[1]}
    except sqlite3.Error as error:
        code, said = _words(error)
        found = {"trouble": code, "said": said}
    except OSError as error:
        found = {"trouble": "failed", "said": f"The file cannot be read: {error.strerror}. Nothing was changed."}
    Path(result).write_text(json.dumps(found), encoding="utf-8")
    return 0


def check(path: str) -> dict[str, Any]:
    """Open, look, change nothing."""
    with _opened(path) as (db, _main):
        db.execute("BEGIN")
        return {
            "tables": _tables_or_told(db),
            "journal": db.execute("PRAGMA journal_mode").fetchone()[0],
            "bytes": _pragma(db, "page_size") * _pragma(db, "page_count"),
            "sqlite": sqlite3.sqlite_version,
        }


def stream(path: str, spool: str) -> dict[str, Any]:
    """Write the whole database as of one moment to standard output, then survey it as of the same moment."""
    with _opened(path) as (db, main):
        if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            with _Snapshot(path, main, db) as snapshot:
                _tables_or_told(db)
                snapshot.write()
                return _survey(db)
        # In the older modes a reader keeps writers waiting: copy at the speed of the disk, then stream the copy.
        size = main.stat().st_size
        space = os.statvfs(Path(spool).parent)
        if space.f_bavail * space.f_frsize < size + SPARE:
            raise Told(
                "no-room",
                "This database does not use SQLite's WAL mode, so it is copied first; the data "
                "folder has no room for its "
                f"{size} bytes. Nothing was changed. Free space, or set PRAGMA journal_mode=WAL on the database.",
            )
        _tables_or_told(db)
        with contextlib.closing(sqlite3.connect(spool)) as copy:
            db.backup(copy)
    try:
        with Path(spool).open("rb") as file:
            while data := file.read(RUN):
                _out(data)
        _out_end()
        with _opened(spool) as (db, _main):
            db.execute("BEGIN")
            return _survey(db)
    finally:
        Path(spool).unlink(missing_ok=True)


def survey_file(path: str) -> dict[str, Any]:
    """Survey a restored copy."""
    with _opened(path) as (db, _main):
        db.execute("BEGIN")
        return _survey(db)


class _Snapshot:
    """The pages of a WAL database as one open read transaction sees them, read from the files themselves.

    While the transaction is open, a checkpoint may bring into the main file only frames that it sees anyway, and nobody
    may start the WAL over (https://sqlite.org/walformat.html, sections 2.3 and 4). So a page is the newest frame at or
    below the transaction's last frame, else the page in the main file. The WAL index says which frame that is: it is
    read before and after the transaction begins, until both are the same.
    """

    def __init__(self, path: str, main: Path, db: sqlite3.Connection) -> None:
        self._db, self._path, self._main_path = db, path, main
        self._files: list[int] = []

    def __enter__(self) -> Self:
        # These handles stay open until the transaction ends: closing one would drop its locks.
        self._main = self._open("")
        self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # makes the WAL index if there is none
        index, wal = self._open("-shm"), self._open("-wal")
        for _ in range(TRIES):
            before = self._head(index)
            self._db.execute("BEGIN")
            self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if before is not None and before == self._head(index):
                break
            self._db.execute("ROLLBACK")
            threading.Event().wait(0.005)
        else:
            raise Told("busy", "The database is written to without a pause. Nothing was changed. Mainstay tries again.")
        self._size, self._pages = _pragma(self._db, "page_size"), _pragma(self._db, "page_count")
        frames, salt = struct.unpack_from("=I", before, 16)[0], before[32:40]
        backfilled = struct.unpack("=I", os.pread(index, 4, 96))[0]
        self._wal = wal
        self._frames = {} if backfilled >= frames else self._frames_of(wal, frames, salt)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")
        self._db.close()
        for file in self._files:
            os.close(file)

    def write(self) -> None:
        """Write every page in order and close standard output."""
        per_run = max(1, RUN // self._size)
        for first in range(1, self._pages + 1, per_run):
            last = min(first + per_run, self._pages + 1)
            data = os.pread(self._main, (last - first) * self._size, (first - 1) * self._size)
            newer = [page for page in range(first, last) if page in self._frames]
            if newer or len(data) < (last - first) * self._size:
                run = bytearray(data.ljust((last - first) * self._size, b"\0"))
                for page in newer:
                    at = (page - first) * self._size
                    run[at : at + self._size] = self._page(self._frames[page])
                data = bytes(run)
            _out(data)
        _out_end()

    def _page(self, frame: int) -> bytes:
        return os.pread(self._wal, self._size, 32 + (frame - 1) * (24 + self._size) + 24)

    def _frames_of(self, wal: int, frames: int, salt: bytes) -> dict[int, int]:
        newest: dict[int, int] = {}
        for frame in range(1, frames + 1):
            head = os.pread(wal, 24, 32 + (frame - 1) * (24 + self._size))
            if len(head) < 24 or head[8:16] != salt:
                raise Told(
                    "failed", "The write-ahead log changed while it was read. Nothing was kept. Mainstay tries again."
                )
            newest[int.from_bytes(head[:4], "big")] = frame
        return newest

    def _head(self, index: int) -> bytes | None:
        """Return the header of the WAL index, or None while it is being written."""
        both = os.pread(index, 96, 0)
        return both[:48] if len(both) == 96 and both[:48] == both[48:] and both[12] else None

    def _open(self, suffix: str) -> int:
        file = os.open(f"{self._main_path}{suffix}", os.O_RDONLY | os.O_CLOEXEC)
        self._files.append(file)
        return file


def _survey(db: sqlite3.Connection) -> dict[str, Any]:
    """Say all that a restored copy must equal."""
    schema = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name, tbl_name").fetchall()
    kinds = {kind: sum(row[0] == kind for row in schema) for kind in ("table", "index", "view", "trigger")}
    size, pages = _pragma(db, "page_size"), _pragma(db, "page_count")
    return {
        "members": [[name, *_rows(db, name)] for name in _tables(db)],
        "bytes": size * pages,
        "sqlite": sqlite3.sqlite_version,
        "facts": {
            "schema": hashlib.sha256(repr(schema).encode("utf-8", "surrogatepass")).hexdigest(),
            "objects": kinds,
            "virtual": [row[1] for row in schema if _is_virtual(row[3])],
            "user_version": _pragma(db, "user_version"),
            "application_id": _pragma(db, "application_id"),
            "encoding": db.execute("PRAGMA encoding").fetchone()[0],
            "page_size": size,
            "page_count": pages,
            "auto_vacuum": _pragma(db, "auto_vacuum"),
            "integrity": _integrity(db),
            "foreign_keys": _foreign_keys(db),
        },
    }


def _rows(db: sqlite3.Connection, table: str) -> tuple[int, str]:
    """Count the rows and add up a digest of each: the order does not matter, a changed value or type does."""
    # Virtual generated columns (hidden 2) are computed, perhaps by functions that only the application has.
    columns = [row[1] for row in db.execute(f"PRAGMA table_xinfo({_quoted(table)})") if row[6] in {0, 3}]
    query = f"SELECT {', '.join(map(_quoted, columns))} FROM {_quoted(table)}"  # noqa: S608 quoted as SQLite asks
    try:
        return _added_up(db.execute(query))
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return _added_up(db.execute(query))
    finally:
        db.text_factory = str


def _added_up(rows: sqlite3.Cursor) -> tuple[int, str]:
    count = total = 0
    blake, number = hashlib.blake2b, int.from_bytes
    for row in rows:
        count += 1
        total += number(blake(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
    return count, f"{total % 2**128:032x}"


def _tables(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return [name for name, sql in rows if not _is_virtual(sql)]


def _tables_or_told(db: sqlite3.Connection) -> int:
    tables = _tables(db)
    if not tables:
        raise Told(
            "empty",
            "This SQLite file holds no table, so there is nothing to back up. Nothing was changed. "
            "Check that this is the file the application really writes to.",
        )
    return len(tables)


def _is_virtual(sql: str | None) -> bool:
    return bool(sql) and str(sql).lstrip().upper().startswith("CREATE VIRTUAL")


def _integrity(db: sqlite3.Connection) -> list[str]:
    try:
        return [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({MOST_LINES})")]
    except sqlite3.DatabaseError as error:  # a collation or function that only the application has, or worse damage
        return [f"not checked: {error}"]


def _foreign_keys(db: sqlite3.Connection) -> Any:
    broken: dict[str, int] = {}
    try:
        for table, _row, parent, _key in db.execute("PRAGMA foreign_key_check"):
            name = f"{table} to {parent}"
            broken[name] = broken.get(name, 0) + 1
    except sqlite3.DatabaseError as error:
        return {f"not checked: {error}": 0}
    return broken


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """Open a database that exists, read-only where that can be, waiting a bounded time for whoever writes."""
    main = Path(path).resolve()
    with main.open("rb") as file:  # before SQLite opens it: see the first lines
        head = file.read(16)
    if not head:
        raise Told(
            "empty", "The file is empty (0 bytes). Nothing was changed. Check that the application writes to this file."
        )
    if head != b"SQLite format 3\0":
        raise Told(
            "not-sqlite", "The file is not an SQLite database, or it is encrypted. Nothing was changed. Check the path."
        )
    try:
        db = _connected(main, "ro")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise
        _refuse_hot_journal(main)
        # A WAL database that nobody has open can only be opened by one who may write.
        with _as_owner(main):
            with contextlib.closing(_connected(main, "rw")) as db:
                yield db, main
            return
    with contextlib.closing(db):
        yield db, main


def _refuse_hot_journal(main: Path) -> None:
    """Leave an unfinished write of the application to the application.

    Finishing it changes the source. Worse, a rollback journal may name a super-journal, which SQLite deletes
    (https://sqlite.org/fileformat.html#the_rollback_journal): whoever can write into the folder would have Mainstay
    delete any file.
    """
    journal = Path(f"{main}-journal")
    if os.path.lexists(journal) and (journal.is_symlink() or journal.stat().st_size):
        raise Told(
            "unfinished",
            "The application stopped in the middle of a write and has not opened its database since. Nothing was "
            "changed: Mainstay does not finish it. Start the application once, then back up again.",
        )


@contextlib.contextmanager
def _as_owner(main: Path) -> Iterator[None]:
    """Touch files with the rights of who owns the folder, not with root's: that one could swap them at any moment."""
    folder, file = main.parent.stat(), main.stat()
    owner = folder if folder.st_uid else file
    if os.geteuid() != 0 or not owner.st_uid:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsgid(owner.st_gid)
    libc.setfsuid(owner.st_uid)  # for this thread's file access only; root's rights over files go with it
    try:
        if libc.setfsuid(-1) != owner.st_uid:
            raise Told("no-right", "Mainstay could not take the rights of the file's owner. Nothing was changed.")
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(0)


def _connected(main: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(main))}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA query_only=ON")
        db.execute("PRAGMA trusted_schema=OFF")  # the schema is somebody else's: no function with side effects in it
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _words(error: sqlite3.Error) -> tuple[str, str]:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "busy", (
            f"Another program kept the database locked for {BUSY_SECONDS:.0f} seconds. Nothing was changed. "
            "Mainstay tries again; WAL mode (PRAGMA journal_mode=WAL) would end the waiting."
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "damaged", (
            f"The database at the source is damaged ({error}). Nothing was changed. Do not delete earlier backups: "
            "restore the newest proven one, or try the sqlite3 program's .recover command."
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return "no-right", (
            "Mainstay may not open the database. Nothing was changed. Give its user the right to "
            "read the file and to write "
            "to its folder (SQLite keeps its lock files there)."
        )
    return "failed", f"SQLite could not read the database: {error}. Nothing was changed."


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _out(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def _out_end() -> None:
    """End standard output; its number stays taken, so that no database file can get it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _end_with_parent() -> None:
    """End as soon as the parent has gone: it holds the other end of standard input and writes nothing."""
    while os.read(0, 1):
        pass
    os._exit(9)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
