"""What the tests of the SQLite engine share: naming, dumping and rehearsing a file."""

import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

from apps.backups.engines.base import Target
from apps.backups.engines.sqlite import SqliteEngine
from apps.backups.facts import Manifest, Rung
from tests.backups.lent import Lent

ENGINE = SqliteEngine()


def target(path: Path | str) -> Target:
    """Name a file as a source or as a place to restore to."""
    return Target("sqlite", {"path": str(path)}, {})


def wal(path: Path) -> sqlite3.Connection:
    """Open a database in WAL mode and let nobody checkpoint it."""
    db = sqlite3.connect(path, isolation_level=None)
    assert db.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    db.execute("PRAGMA wal_autocheckpoint=0")
    return db


def dumped(path: Path, work: Lent) -> tuple[bytes, Manifest]:
    """Dump a file into memory."""
    with ENGINE.dump(target(path), work) as dump:
        return dump.stream.read(), dump.finish()


def opener(data: bytes) -> Callable[[], "closing[IO[bytes]]"]:
    """Open an archive from memory, as often as wanted."""
    return lambda: closing(io.BytesIO(data))


def rungs(data: bytes, manifest: Manifest, work: Lent) -> list[Rung]:
    """Rehearse a restore."""
    return list(ENGINE.rehearse(opener(data), manifest, work))
