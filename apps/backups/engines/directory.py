"""Folders: a standard tar stream, a digest of exactly the bytes that went into it, and a safe way back."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings

from apps.backups.engines.base import Dump, Opener, Target
from apps.backups.engines.folder_read import Excluded, Walk, shown
from apps.backups.engines.folder_told import told
from apps.backups.engines.folder_write import Extraction, Found, measured
from apps.backups.engines.paths import KEYS, real, refuse_keys, refuse_own_folder, whole
from apps.backups.engines.sqlite import own_database
from apps.backups.facts import Checkup, EngineTrouble, Manifest, Member, Rung
from apps.backups.work import Work
from apps.core.words import count, plural, size

SPARE = 64 * 1024 * 1024
LOOK_SECONDS = 10.0  # of "Test connection": a large tree is then only counted in part
NAMED = 50  # skipped, changed or vanished files that the manifest names


OWN_DATABASE = EngineTrouble(
    "Mainstay's own live database lies in this folder; it has a plan of its own. Nothing was read. "
    "Choose a folder beside it.",
    code="own-database",
)


class DirectoryEngine:
    """One folder of this machine. Symbolic links are kept as links and never followed."""

    kind = "directory"

    def check(self, target: Target) -> Checkup:
        """Walk the folder for a bounded time and look, changing nothing."""
        root, excluded = _source(target)
        walk = Walk(root, excluded, _forbidden())
        end = time.monotonic() + LOOK_SECONDS
        files = bytes_ = 0
        whole_tree = True
        for _name, found in walk.entries():
            files += found.is_file
            bytes_ += found.size
            if time.monotonic() > end:
                whole_tree = False
                break
        if whole_tree and not files:
            raise _empty(root)
        warnings = _warnings(walk)
        at_least = "" if whole_tree else "at least "
        return Checkup(
            f"A folder with {at_least}{plural(files, 'file')} and {at_least}{size(bytes_)}.",
            size=bytes_ if whole_tree else None,
            warnings=tuple(warnings),
            facts={"files": files, "bytes": bytes_, "excluded": walk.excluded_bytes, "whole": whole_tree},
        )

    @contextmanager
    def dump(self, target: Target, work: Work) -> Iterator[Dump]:
        """Stream the folder as a tar archive (PAX); a thread writes it into a pipe as fast as it is read."""
        root, excluded = _source(target)
        read, write = os.pipe()
        walk = Walk(root, excluded, _forbidden())
        dump = _Dump(walk, os.fdopen(read, "rb"), write, work)
        try:
            yield dump
        finally:
            dump.end()

    def read(self, opener: Opener, manifest: Manifest, work: Work) -> str:
        """Read the archive to its end and compare the digest of every file with the record."""
        found = measured(opener, lambda done: work.progress("reading the archive", done, manifest.source_bytes))
        wrong = _differences(manifest, found)
        if wrong:
            raise EngineTrouble(
                f"The archive is not what was recorded: {wrong[0]}. The source is untouched. Use another backup.",
                code="damaged",
                log=tuple(wrong[:20]),
            )
        return (
            f"Read {plural(found.files, 'file')} and {size(found.bytes)} to the end of the "
            "archive; every digest is equal."
        )

    def rehearse(self, opener: Opener, manifest: Manifest, work: Work) -> Iterator[Rung]:
        """Extract into the scratch folder, then read every file from the disk again and compare."""
        began = time.monotonic()
        place = work.folder / "restored"
        _room(work.folder, manifest.source_bytes)
        place.mkdir(mode=0o700)
        extraction = Extraction(place, owners=False)
        extraction.run(opener, lambda done: work.progress("restoring", done, manifest.source_bytes))
        yield Rung(
            "restored",
            ok=True,
            said=f"Extracted {plural(extraction.files, 'file')} and {size(extraction.bytes)} into an empty folder.",
            seconds=time.monotonic() - began,
            figures={"files": extraction.files, "bytes": extraction.bytes},
        )
        began = time.monotonic()
        found = extraction.found(lambda done: work.progress("comparing", done, manifest.source_bytes))
        yield from _compared(manifest, found, time.monotonic() - began)

    def restore(self, opener: Opener, manifest: Manifest, target: Target, work: Work) -> str:
        """Extract into an empty folder (made if its parent exists) and compare. One that is not empty is refused."""
        path = whole(target.config.get("path"))
        refuse_keys(path)
        refuse_own_folder(path)
        made = _empty_folder(path)
        _room(path, manifest.source_bytes)
        extraction = Extraction(path, owners=os.geteuid() == 0)
        try:
            extraction.run(opener, lambda done: work.progress("restoring", done, manifest.source_bytes))
            found = extraction.found(lambda done: work.progress("comparing", done, manifest.source_bytes))
            _must_equal(manifest, found)
        except BaseException as error:
            extraction.undo(made=made)
            if isinstance(error, OSError):
                raise EngineTrouble(
                    f"The folder {path} could not be written: {error.strerror}. What was extracted was removed again.",
                    code="no-write",
                ) from error
            raise
        return f"Restored {plural(found.files, 'file')} and {size(found.bytes)} to {path}; all equal what was recorded."

    def identity(self, target: Target) -> str:
        """Return device and inode of the folder, or "" when it is not there."""
        try:
            found = whole(target.config.get("path")).stat()
        except (OSError, EngineTrouble):
            return ""
        return f"{found.st_dev}:{found.st_ino}"


class _Dump:
    """A dump under way."""

    suffix = ".tar"

    def __init__(self, walk: Walk, stream: IO[bytes], write: int, work: Work) -> None:
        self._walk, self._work = walk, work
        self._taken_at = work.now()
        self._error: BaseException | None = None
        self.stream = stream
        self._thread = threading.Thread(target=self._write, args=(write,), name="folder-tar", daemon=True)
        self._thread.start()

    def finish(self) -> Manifest:
        """Return the manifest of what went into the archive. Raises EngineTrouble when the walk failed or was empty."""
        self._thread.join()
        if isinstance(self._error, OSError):
            raise EngineTrouble(
                f"The folder could not be read to its end: {self._error.strerror}. No backup was kept. Check its disk.",
                code="unreadable",
                permanent=False,
            ) from self._error
        if self._error is not None:
            raise self._error
        walk = self._walk
        if not walk.files and not walk.links:
            raise _empty(walk.root)
        return Manifest(
            engine="directory",
            version="tar (PAX)",
            taken_at=self._taken_at,
            source_bytes=walk.bytes,
            members=tuple(Member(name, length, digest) for name, length, digest in walk.members),
            facts=_facts(walk),
        )

    def end(self) -> None:
        """Close the reading end: the thread then ends by itself."""
        self.stream.close()
        self._thread.join()

    def _write(self, write: int) -> None:
        try:
            with os.fdopen(write, "wb", buffering=0) as pipe:
                self._walk.write(cast("IO[bytes]", pipe))
        except BaseException as error:  # noqa: BLE001 it is raised again by `finish`, in the run's own thread
            self._error = error


def _facts(walk: Walk) -> dict[str, Any]:
    return {
        "files": walk.files,
        "folders": walk.folders,
        "links": walk.links,
        "excluded": [[shown(name), length] for name, length in walk.excluded[:NAMED]],
        "excluded_bytes": walk.excluded_bytes,
        "excluded_count": len(walk.excluded),
        "skipped": [[shown(name), why] for name, why in walk.skipped[:NAMED]],
        "skipped_count": len(walk.skipped),
        "changed": [shown(name) for name in walk.changed[:NAMED]],
        "changed_count": len(walk.changed),
        "vanished": [shown(name) for name in walk.vanished[:NAMED]],
        "vanished_count": len(walk.vanished),
        "warnings": _warnings(walk),
        "told": told(walk),
    }


def _warnings(walk: Walk) -> list[str]:
    said = []
    if walk.excluded:
        said.append(f"{plural(len(walk.excluded), 'entry', 'entries')} with {size(walk.excluded_bytes)} are excluded.")
    if walk.changed:
        said.append(
            f"{plural(len(walk.changed), 'file')} changed while being read, {shown(walk.changed[0])} "
            "first: its copy may mix "
            "old and new. Stop the writer during backups, or dump what it writes."
        )
    if walk.vanished:
        said.append(
            f"{plural(len(walk.vanished), 'file')} vanished during the backup, {shown(walk.vanished[0])} first."
        )
    unreadable = [name for name, why in walk.skipped if why == "unreadable"]
    if unreadable:
        said.append(
            f"{plural(len(unreadable), 'entry', 'entries')} may not be read by Mainstay, "
            f"{shown(unreadable[0])} first, and are "
            "missing. Give its user the right, or exclude them."
        )
    special = len(walk.skipped) - len(unreadable)
    if special:
        said.append(f"{plural(special, 'socket, pipe or device', 'sockets, pipes or devices')} cannot be backed up.")
    return said


def _source(target: Target) -> tuple[Path, Excluded]:
    path = whole(target.config.get("path"))
    refuse_keys(path)
    root = real(path)
    if not root.exists():
        raise EngineTrouble(
            f"There is no folder {path}. Nothing was changed. Check the path, and that its disk is mounted.",
            code="missing",
        )
    if not root.is_dir():
        raise EngineTrouble(f"{path} is not a folder. Nothing was changed. Name a folder.", code="not-folder")
    own = own_database()
    if own is not None and root in real(own).parents:
        raise OWN_DATABASE
    if not os.access(root, os.R_OK | os.X_OK):
        raise EngineTrouble(
            f"Mainstay may not read {path}. Nothing was changed. Give its user the right.", code="no-right"
        )
    return root, Excluded(target.config.get("excludes") or ())


def _forbidden() -> dict[tuple[int, int], EngineTrouble]:
    """Return what the walk must not meet under any name (bind mounts, hard links): the keys, and the live database.

    Opening and closing the database here would even drop the locks that this very process holds on it.
    """
    found: dict[tuple[int, int], EngineTrouble] = {}
    keys = Path(settings.MAINSTAY_KEYS)
    own = own_database()
    for path, trouble in (
        (keys, KEYS),
        *((each, KEYS) for each in keys.glob("*")),
        *(((own, OWN_DATABASE),) if own else ()),
    ):
        with contextlib.suppress(OSError):
            info = path.stat()
            found[info.st_dev, info.st_ino] = trouble
    return found


def _empty(root: Path) -> EngineTrouble:
    return EngineTrouble(
        f"The folder {root} holds no file. Nothing was kept; earlier backups are untouched. "
        "Check that its disk is mounted and that this is the right folder.",
        code="empty",
    )


def _room(folder: Path, needed: int) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < needed + SPARE:
        raise EngineTrouble(
            f"There is no room in {folder}: {size(needed)} are needed and {size(free)} are free. Free space.",
            code="no-room",
            permanent=False,
            untestable=True,
        )


def _empty_folder(path: Path) -> bool:
    """Make the target, or see that it is an empty folder; returns whether it was made."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError as error:
        if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
            raise EngineTrouble(
                f"{path} is not an empty folder. It was not touched and nothing was restored. Name an "
                "empty or a new one.",
                code="not-empty",
            ) from error
        return False
    except OSError as error:
        raise EngineTrouble(
            f"The folder {path} could not be made: {error.strerror}. Nothing was restored. Make its parent first.",
            code="missing",
        ) from error
    return True


def _must_equal(manifest: Manifest, found: Found) -> None:
    wrong = next((rung for rung in _compared(manifest, found, 0.0) if not rung.ok), None)
    if wrong is not None:
        raise EngineTrouble(f"{wrong.said} What was extracted was removed again.", code="unequal", log=wrong.log)


def _differences(manifest: Manifest, found: Found) -> list[str]:
    """Return what differs, as sentences' ends; empty when nothing does."""
    recorded = {member.name: member for member in manifest.members}
    wrong = [f"{name} is missing" for name in recorded if name not in found.members]
    wrong += [f"{name} was not recorded" for name in found.members if name not in recorded]
    for name, (length, digest) in found.members.items():
        if name not in recorded:
            continue
        if length != recorded[name].count:
            wrong.append(f"{name} has {count(length)} bytes instead of {count(recorded[name].count)}")
        elif digest != recorded[name].digest:
            wrong.append(f"{name} has other content, mode or target than recorded")
    return wrong


def _compared(manifest: Manifest, found: Found, seconds: float) -> Iterator[Rung]:
    figures = {"files": found.files, "bytes": found.bytes}
    wrong = _differences(manifest, found)
    lacking = [each for each in wrong if re.search(r" is missing$| was not recorded$| bytes instead of ", each)]
    if lacking:
        said = f"The restored copy is not complete: {lacking[0]}. Do not rely on this backup; run a new one."
        yield Rung("complete", ok=False, said=said, seconds=seconds, figures=figures, log=tuple(lacking[:20]))
        return
    entries = plural(len(manifest.members), "entry", "entries")
    yield Rung(
        "complete", ok=True, said=f"{entries} as recorded, each of its length.", seconds=seconds, figures=figures
    )
    if wrong:
        said = (
            f"The restored copy is not correct: {wrong[0]}. Do not rely on this backup; run a new one and find out why."
        )
        yield Rung("correct", ok=False, said=said, seconds=0.0, figures=figures, log=tuple(wrong[:20]))
        return
    changed = int(manifest.facts.get("changed_count", 0))
    mixed = f" {plural(changed, 'file')} changed while being backed up and may mix old and new." if changed else ""
    yield Rung(
        "correct",
        ok=True,
        said=f"The content and mode of {plural(found.files, 'file')} equal the recorded digests.{mixed}",
        seconds=0.0,
        figures={**figures, "changed": changed},
    )
