"""SQLite files: the pages of one snapshot as a stream, and a restored copy that must equal what the snapshot held."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from django.conf import settings

from apps.backups.engines import sqlite_child
from apps.backups.engines.base import Dump, Opener, Target
from apps.backups.engines.paths import real, refuse_keys, refuse_own_folder, whole
from apps.backups.facts import Checkup, EngineTrouble, Manifest, Member, Rung
from apps.backups.work import Work
from apps.core.words import count, plural, size

MAGIC = b"SQLite format 3\0"
CHUNK = 1024 * 1024
SPARE = 64 * 1024 * 1024
# Of the facts: what a restored copy must have equal before its rows are compared.
COMPLETE = ("schema", "objects", "user_version", "application_id", "encoding", "page_size", "page_count", "auto_vacuum")
# Codes of trouble that another try may mend.
PASSING = {"busy", "no-room", "unfinished"}


class SqliteEngine:
    """One SQLite file. Reading it happens in a process of its own: see `sqlite_child`."""

    kind = "sqlite"

    def check(self, target: Target) -> Checkup:
        """Open the file and look, changing nothing."""
        path = _source(target)
        with TemporaryDirectory(prefix="mainstay-check-") as folder:
            found = _asked("check", path, Path(folder))
        warnings = []
        if found["journal"] != "wal":
            warnings.append(
                "The database does not use WAL mode: while it is copied, the application's writes wait. "
                "PRAGMA journal_mode=WAL ends that."
            )
        return Checkup(
            f"An SQLite database with {plural(int(found['tables']), 'table')} and {size(found['bytes'])}.",
            version=str(found["sqlite"]),
            size=int(found["bytes"]),
            warnings=tuple(warnings),
            facts={"tables": found["tables"], "journal": found["journal"]},
        )

    @contextmanager
    def dump(self, target: Target, work: Work) -> Iterator[Dump]:
        """Stream the file's pages as of one moment; the application may go on writing."""
        path = _source(target)
        result, spool = work.folder / "survey.json", work.folder / "spool.sqlite3"
        with contextlib.ExitStack() as ends:
            child = ends.enter_context(_child("stream", path, result, spool))
            ends.callback(spool.unlink, missing_ok=True)
            yield _Dump(child, result, work)

    def read(self, opener: Opener, manifest: Manifest, work: Work) -> str:
        """Read the archive to its end: it must be as long as the snapshot and begin as SQLite files do."""
        with opener() as archive:
            head = archive.read(CHUNK)
            done = len(head)
            while data := archive.read(CHUNK):
                done += len(data)
                work.progress("reading the archive", done, manifest.source_bytes)
        if not head.startswith(MAGIC) or done != manifest.source_bytes:
            raise EngineTrouble(
                f"The archive holds {size(done)} that are not the recorded SQLite file of "
                f"{size(manifest.source_bytes)}. "
                "The source is untouched. Use another backup.",
                code="damaged",
            )
        return f"Read {size(done)} to the end: an SQLite file of the recorded length."

    def rehearse(self, opener: Opener, manifest: Manifest, work: Work) -> Iterator[Rung]:
        """Restore into the scratch folder, open the copy with SQLite and compare it."""
        began = time.monotonic()
        copy = work.folder / "restored.sqlite3"
        _room(work.folder, manifest.source_bytes)
        try:
            _written(opener, copy, manifest, work)
            found = _asked("survey", copy, work.folder, work)
            took = time.monotonic() - began
            work.tools["sqlite"] = str(found["sqlite"])
            yield Rung(
                "restored",
                ok=True,
                said=f"Restored {size(manifest.source_bytes)} into a new file; SQLite opens it.",
                seconds=took,
                figures={"bytes": found["bytes"]},
            )
            yield from _compared(manifest, found)
        finally:
            for each in work.folder.glob("restored.sqlite3*"):
                each.unlink(missing_ok=True)

    def restore(self, opener: Opener, manifest: Manifest, target: Target, work: Work) -> str:
        """Write a new file, never over an existing one; it gets its name only when it equals the manifest."""
        path = whole(target.config.get("path"))
        refuse_keys(path)
        refuse_own_folder(path)
        taken = [
            each for each in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))) if _there(each)
        ]
        if taken:
            raise EngineTrouble(
                f"{taken[0]} exists already. It was not touched and nothing was restored. Name a path "
                "that does not exist.",
                code="not-empty",
            )
        if not path.parent.is_dir():
            raise EngineTrouble(
                f"The folder {path.parent} does not exist. Nothing was restored. Make it first.", code="missing"
            )
        _room(path.parent, manifest.source_bytes)
        partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.restoring")
        try:
            _written(opener, partial, manifest, work)
            found = _asked("survey", partial, work.folder, work)
            wrong = next((rung for rung in _compared(manifest, found) if not rung.ok), None)
            if wrong is not None:
                raise EngineTrouble(f"{wrong.said} The restored file was removed again.", code="unequal", log=wrong.log)
            for end in ("-wal", "-shm"):
                Path(f"{partial}{end}").unlink(missing_ok=True)
            os.link(partial, path)  # unlike rename, refuses to replace
        except OSError as error:
            raise EngineTrouble(
                f"The file could not be written to {path.parent}: {error.strerror}. Nothing was left there.",
                code="no-write",
            ) from error
        finally:
            for each in partial.parent.glob(f"{partial.name}*"):
                each.unlink(missing_ok=True)
        rows = sum(member.count for member in manifest.members)
        return (
            f"Restored {plural(rows, 'row')} in {plural(len(manifest.members), 'table')} to {path}; all "
            "equal what was recorded."
        )

    def identity(self, target: Target) -> str:
        """Return device and inode of the file, or "" when it is not there."""
        try:
            found = whole(target.config.get("path")).stat()
        except (OSError, EngineTrouble):
            return ""
        return f"{found.st_dev}:{found.st_ino}"


class _Dump:
    """A dump under way."""

    suffix = ".sqlite3"

    def __init__(self, child: "subprocess.Popen[bytes]", result: Path, work: Work) -> None:
        self._child, self._result, self._work = child, result, work
        self._began = work.now()
        self.stream = cast("IO[bytes]", child.stdout)

    def finish(self) -> Manifest:
        """Wait for the survey of the same snapshot."""
        found = _result(self._child, self._result, self._work)
        self._work.tools["sqlite"] = str(found["sqlite"])
        return _manifest(found, self._began)


def _manifest(found: Mapping[str, Any], taken_at: datetime) -> Manifest:
    return Manifest(
        engine="sqlite",
        version=str(found["sqlite"]),
        taken_at=taken_at,
        source_bytes=int(found["bytes"]),
        members=tuple(Member(name, rows, digest) for name, rows, digest in found["members"]),
        facts=found["facts"],
        tools={"sqlite": str(found["sqlite"])},
    )


def _compared(manifest: Manifest, found: Mapping[str, Any]) -> Iterator[Rung]:
    """Judge a survey of the copy against the manifest: "complete", then "correct"; stops at a failure."""
    began = time.monotonic()
    copy = {name: (rows, digest) for name, rows, digest in found["members"]}
    facts = found["facts"]
    wrong = [
        f"{member.name}: {count(member.count)} rows recorded, {count(copy[member.name][0])} restored"
        if member.name in copy
        else f"{member.name}: missing"
        for member in manifest.members
        if member.name not in copy or copy[member.name][0] != member.count
    ]
    wrong += [f"{name}: not recorded" for name in sorted(copy.keys() - {member.name for member in manifest.members})]
    wrong += [
        f"{name}: recorded {manifest.facts[name]}, restored {facts[name]}"
        for name in COMPLETE
        if facts[name] != manifest.facts[name]
    ]
    rows = sum(member.count for member in manifest.members)
    figures = {"tables": len(manifest.members), "rows": rows}
    if wrong:
        said = (
            f"The restored copy is not complete: {wrong[0]}. Do not rely on this backup; run a new "
            "one and find out why."
        )
        yield Rung(
            "complete", ok=False, said=said, seconds=time.monotonic() - began, figures=figures, log=tuple(wrong[:20])
        )
        return
    yield Rung(
        "complete",
        ok=True,
        said=f"{plural(len(manifest.members), 'table')} with {plural(rows, 'row')}, schema and settings as recorded.",
        seconds=time.monotonic() - began,
        figures=figures,
    )
    wrong = [f"{member.name}: its rows differ" for member in manifest.members if copy[member.name][1] != member.digest]
    for name, healthy in (("integrity", ["ok"]), ("foreign_keys", None)):
        if facts[name] != manifest.facts[name]:
            wrong.append(f"{name}: recorded {manifest.facts[name]}, restored {facts[name]}")
        elif healthy is not None and facts[name] != healthy and not str(facts[name][0]).startswith("not checked"):
            wrong.append(f"the source itself was already damaged when it was backed up: {facts[name][0]}")
    if wrong:
        said = (
            f"The restored copy is not correct: {wrong[0]}. Keep earlier backups; check the source "
            "with PRAGMA integrity_check."
        )
        yield Rung("correct", ok=False, said=said, seconds=time.monotonic() - began, log=tuple(wrong[:20]))
        return
    checked = facts["integrity"] == ["ok"]
    broken = sum(facts["foreign_keys"].values())
    yield Rung(
        "correct",
        ok=True,
        said=f"Every row equals the recorded one{'; integrity_check says ok' if checked else ''}"
        f"{f'; {count(broken)} rows point to nothing, as at the source' if broken else ''}.",
        seconds=time.monotonic() - began,
        figures={"digests": len(manifest.members), "integrity": facts["integrity"][0], "broken_references": broken},
    )


def _source(target: Target) -> Path:
    path = whole(target.config.get("path"))
    refuse_keys(path)
    found = real(path)
    if not found.exists():
        raise EngineTrouble(
            f"There is no file {path}. Nothing was changed. Check the path, and that its disk is mounted.",
            code="missing",
        )
    if not found.is_file():
        raise EngineTrouble(
            f"{path} is not a file. Nothing was changed. Name the SQLite file itself.", code="not-sqlite"
        )
    return found


def _there(path: Path) -> bool:
    return os.path.lexists(path)


def _room(folder: Path, needed: int) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < needed + SPARE:
        raise EngineTrouble(
            f"There is no room in {folder}: {size(needed)} are needed and {size(free)} are free. "
            "Nothing was written. Free space.",
            code="no-room",
            permanent=False,
            untestable=True,
        )


def _written(opener: Opener, path: Path, manifest: Manifest, work: Work) -> None:
    """Write the archive to a new file of mode 0600."""
    done = 0
    with opener() as archive, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while data := archive.read(CHUNK):
            file.write(data)
            done += len(data)
            if done > manifest.source_bytes:
                break
            work.progress("restoring", done, manifest.source_bytes)
        file.flush()
        os.fsync(file.fileno())
    if done != manifest.source_bytes:
        raise EngineTrouble(
            f"The archive does not hold the recorded {size(manifest.source_bytes)}. Use another backup.", code="damaged"
        )


@contextmanager
def _child(mode: str, path: Path, result: Path, *more: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `sqlite_child`; leaving the block ends it."""
    command = [sys.executable, "-I", str(Path(sqlite_child.__file__)), mode, str(path), str(result), *map(str, more)]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        cwd="/",
    )
    try:
        yield child
    finally:
        child.kill()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()


def _asked(mode: str, path: Path, folder: Path, work: Work | None = None) -> dict[str, Any]:
    result = folder / f"{mode}.json"
    with _child(mode, path, result) as child:
        return _result(child, result, work)


def _result(child: "subprocess.Popen[bytes]", result: Path, work: Work | None) -> dict[str, Any]:
    """Wait for the child, keeping the lease, and return what it found. Any word on its stderr is a failure."""
    while True:
        try:
            code = child.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            if work is not None:
                work.progress("counting and comparing rows")
    stderr = child.stderr.read() if child.stderr is not None else b""
    lines = tuple(stderr.decode("utf-8", "replace").splitlines()[-10:])
    if code != 0 or lines or not result.exists():
        raise EngineTrouble(
            "Reading the SQLite file ended in a way that Mainstay does not know. Nothing was changed at the source. "
            "Read the lines below; run the backup again.",
            code="unclassified",
            log=lines or (f"exit code {code}",),
        )
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    if "trouble" in found:
        raise EngineTrouble(found["said"], code=found["trouble"], permanent=found["trouble"] not in PASSING)
    return found


def own_database() -> Path | None:
    """Return the path of Mainstay's own SQLite database, or None when it lives in PostgreSQL."""
    database = settings.DATABASES["default"]
    return Path(str(database["NAME"])) if database["ENGINE"].endswith("sqlite3") else None
