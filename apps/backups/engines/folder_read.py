"""Walks a folder and writes it as a tar stream, keeping the digest of exactly the bytes that went into the archive."""

import contextlib
import fnmatch
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.backups.facts import EngineTrouble

CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def shown(name: str) -> str:
    """Return a file's name as text that every database and page can hold: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace").replace("\x00", "")


def digest_of(kind: str, mode: int, content: str) -> str:
    """Return what is compared of an entry: a file's sha256, a link's target, and the mode."""
    return f"{kind}:{mode:04o}:{content}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the tree as it was seen."""

    info: os.stat_result
    folder: int  # handle of the folder that it lies in, open while the entry is looked at
    base: str

    @property
    def is_file(self) -> bool:
        """Return whether it is a regular file."""
        return stat.S_ISREG(self.info.st_mode)

    @property
    def size(self) -> int:
        """Return a file's length, 0 for anything else."""
        return self.info.st_size if self.is_file else 0


class Excluded:
    """Patterns of what is left out: with a slash from the folder on, without one any name anywhere."""

    def __init__(self, patterns: Sequence[str] | str) -> None:
        """Take patterns, or a text with one a line."""
        lines = patterns.splitlines() if isinstance(patterns, str) else patterns
        self._patterns = [
            line.strip().rstrip("/") for line in lines if line.strip() and not line.strip().startswith("#")
        ]
        if any(pattern in {"", "*", "**", "/*", "/"} for pattern in self._patterns):
            raise EngineTrouble(
                "A pattern that excludes everything was given. Nothing was read. Remove it.", code="bad-pattern"
            )

    def __call__(self, name: str) -> bool:
        """Return whether an entry is left out."""
        base = name.rsplit("/", 1)[-1]
        for pattern in self._patterns:
            if "/" in pattern:
                if fnmatch.fnmatchcase(name, pattern.lstrip("/")):
                    return True
            elif fnmatch.fnmatchcase(base, pattern):
                return True
        return False


class Walk:
    """One pass over a tree. After `write` its lists say what is in the archive and what is not."""

    def __init__(
        self, root: Path, excluded: Excluded, forbidden: Mapping[tuple[int, int], EngineTrouble] | None = None
    ) -> None:
        """Take the folder, what to leave out, and what (device, inode) must not be met at all."""
        self.root, self._excluded, self._forbidden = root, excluded, forbidden or {}
        self.members: list[tuple[str, int, str]] = []
        self.excluded: list[tuple[str, int]] = []
        self.skipped: list[tuple[str, str]] = []
        self.changed: list[str] = []
        self.vanished: list[str] = []
        self.files = self.folders = self.links = self.bytes = 0
        self._linked: dict[tuple[int, int], str] = {}

    @property
    def excluded_bytes(self) -> int:
        """Return the bytes of everything that was left out."""
        return sum(length for _, length in self.excluded)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Return (name from the root, entry), folders before what is in them, by name."""
        handle = os.open(self.root, _FOLDER & ~os.O_NOFOLLOW)
        try:
            yield from self._below(handle, "")
        finally:
            os.close(handle)

    def write(self, out: IO[bytes]) -> None:
        """Write the whole tree as a tar stream."""
        with tarfile.open(
            fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for name, entry in self.entries():
                self._add(tar, name, entry)
                tar.members.clear()  # type: ignore[attr-defined] # flat memory, whatever the number of files

    def _below(self, folder: int, prefix: str) -> Iterator[tuple[str, Entry]]:
        for base in sorted(os.listdir(folder)):
            name = prefix + base
            try:
                info = os.stat(base, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                self.vanished.append(name)
                continue
            if (info.st_dev, info.st_ino) in self._forbidden:
                raise self._forbidden[info.st_dev, info.st_ino]
            if self._excluded(name):
                self.excluded.append((name, self._weight(folder, base, info)))
                continue
            if stat.S_ISDIR(info.st_mode):
                yield from self._folder(folder, base, name, info)
            elif stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
                yield name, Entry(info, folder, base)
            else:
                self.skipped.append((name, "special"))

    def _folder(self, folder: int, base: str, name: str, info: os.stat_result) -> Iterator[tuple[str, Entry]]:
        try:
            below = os.open(base, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            self.vanished.append(name)
            return
        except PermissionError:
            self.skipped.append((name, "unreadable"))
            return
        try:
            yield name, Entry(info, folder, base)
            yield from self._below(below, f"{name}/")
        finally:
            os.close(below)

    def _weight(self, folder: int, base: str, info: os.stat_result) -> int:
        """Return the bytes of an excluded entry and of all below it."""
        if stat.S_ISREG(info.st_mode):
            return info.st_size
        if not stat.S_ISDIR(info.st_mode):
            return 0
        total = 0
        with contextlib.suppress(OSError):
            below = os.open(base, _FOLDER, dir_fd=folder)
            try:
                for each in sorted(os.listdir(below)):  # noqa: PTH208 by handle, not by path
                    total += self._weight(below, each, os.stat(each, dir_fd=below, follow_symlinks=False))
            finally:
                os.close(below)
        return total

    def _add(self, tar: tarfile.TarFile, name: str, entry: Entry) -> None:
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(entry.info.st_mode), entry.info.st_mtime_ns / 1e9
        info.uid, info.gid = entry.info.st_uid, entry.info.st_gid
        if stat.S_ISDIR(entry.info.st_mode):
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
            self.folders += 1
            self.members.append((shown(name) + "/", 0, digest_of("folder", info.mode, "")))
        elif stat.S_ISLNK(entry.info.st_mode):
            self._add_link(tar, info, name, entry)
        else:
            self._add_file(tar, info, name, entry)

    def _add_link(self, tar: tarfile.TarFile, info: tarfile.TarInfo, name: str, entry: Entry) -> None:
        try:
            info.linkname = os.readlink(entry.base, dir_fd=entry.folder)
        except OSError:
            self.vanished.append(name)
            return
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        tar.addfile(info)
        self.links += 1
        self.members.append((shown(name), 0, digest_of("link", info.mode, shown(info.linkname))))

    def _add_file(self, tar: tarfile.TarFile, info: tarfile.TarInfo, name: str, entry: Entry) -> None:
        inode = (entry.info.st_dev, entry.info.st_ino)
        if entry.info.st_nlink > 1 and inode in self._linked:
            info.type, info.linkname = tarfile.LNKTYPE, self._linked[inode]
            tar.addfile(info)
            self.links += 1
            self.members.append((shown(name), 0, digest_of("same", info.mode, shown(info.linkname))))
            return
        try:
            handle = os.open(entry.base, _FILE, dir_fd=entry.folder)
        except FileNotFoundError:
            self.vanished.append(name)
            return
        except OSError as error:
            self.skipped.append((name, "unreadable" if isinstance(error, PermissionError) else "special"))
            return
        with os.fdopen(handle, "rb", buffering=0) as file:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                self.skipped.append((name, "special"))
                return
            info.size = before.st_size
            reading = _Exactly(file, info.size)
            tar.addfile(info, reading)
            after = os.fstat(handle)
        if reading.short or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self.changed.append(name)
        if before.st_nlink > 1:
            self._linked[inode] = name
        self.files += 1
        self.bytes += info.size
        self.members.append((shown(name), info.size, digest_of("file", info.mode, reading.digest.hexdigest())))


class _Exactly:
    """Reads a file to the length that the header promised: what is missing becomes zeros, what came later is left."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.digest = hashlib.sha256()
        self.short = False

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = b"" if self.short else self._file.read(wanted)
        while not self.short and len(data) < wanted:
            more = self._file.read(wanted - len(data))
            self.short = not more
            data += more
        data = data.ljust(wanted, b"\0")
        self._left -= len(data)
        self.digest.update(data)
        return data
