"""Extracts a tar stream into an empty folder, never outside it, and measures archives and extracted trees alike."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from apps.backups.engines.base import Opener
from apps.backups.engines.folder_read import digest_of, shown
from apps.backups.engines.paths import open_up
from apps.backups.facts import EngineTrouble

CHUNK = 1024 * 1024
Told = Callable[[int], None]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Found:
    """What an archive or a tree holds: shown name → (bytes, digest)."""

    members: dict[str, tuple[int, str]] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0


def measured(opener: Opener, told: Told) -> Found:
    """Read an archive to its end and say what is in it."""
    found = Found()
    with opener() as archive:
        for tar, info in _infos(archive):
            name = shown(info.name)
            mode = stat.S_IMODE(info.mode)
            if info.isdir():
                found.members[name + "/"] = (0, digest_of("folder", mode, ""))
            elif info.issym():
                found.members[name] = (0, digest_of("link", mode, shown(info.linkname)))
            elif info.islnk():
                found.members[name] = (0, digest_of("same", mode, shown(info.linkname)))
            else:
                digest = hashlib.sha256()
                for data in _content(tar, info):
                    digest.update(data)
                    found.bytes += len(data)
                    told(found.bytes)
                found.files += 1
                found.members[name] = (info.size, digest_of("file", mode, digest.hexdigest()))
    return found


class Extraction:
    """One extraction into an empty folder. Every step goes by folder handle, so nothing can reach outside it."""

    def __init__(self, place: Path, *, owners: bool) -> None:
        """Take the folder; `owners` gives files their recorded owners, which needs root."""
        self._place, self._owners = place, owners
        self.files = self.bytes = 0
        self._folders: list[tuple[tuple[str, ...], tarfile.TarInfo]] = []
        self._same: dict[str, str] = {}
        self._links: dict[str, int] = {}

    def run(self, opener: Opener, told: Told) -> None:
        """Extract everything. Raises EngineTrouble for an entry that has no business in a backup."""
        name = ""
        try:
            with opener() as archive:
                for tar, info in _infos(archive):
                    name, parts = info.name, _parts(info.name)
                    with self._parent(parts) as folder:
                        self._entry(tar, info, parts, folder, told)
        except OSError as error:
            raise _unwritten(error, name) from error

    def found(self, told: Told) -> Found:
        """Read everything from the disk again and say what is there."""
        found = Found()
        for folder, base, name in self._walk():
            self._look(found, folder, base, name, told)
        # Modes and times of folders come last: a closed one could not be filled or read, and filling changes the time.
        for parts, info in reversed(self._folders):
            with self._parent(parts) as folder:
                self._dress(folder, parts[-1], info)
                mode = stat.S_IMODE(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode)
            found.members[shown(info.name) + "/"] = (0, digest_of("folder", mode, ""))
        return found

    def undo(self, *, made: bool) -> None:
        """Remove what was extracted, and the folder itself when it was made for this."""
        open_up(self._place)
        for each in self._place.iterdir() if self._place.is_dir() else ():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                self._place.rmdir()

    def _entry(
        self, tar: tarfile.TarFile, info: tarfile.TarInfo, parts: tuple[str, ...], folder: int, told: Told
    ) -> None:
        base = parts[-1]
        if info.isdir():
            os.mkdir(base, 0o700, dir_fd=folder)
            self._folders.append((parts, info))
        elif info.issym():
            os.symlink(info.linkname, base, dir_fd=folder)
            self._links[shown(info.name)] = stat.S_IMODE(info.mode)
            self._dress(folder, base, info, link=True)
        elif info.islnk():
            target = _parts(info.linkname)
            with self._parent(target) as other:
                os.link(target[-1], base, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
            self._same[shown(info.name)] = shown(info.linkname)
        else:
            with os.fdopen(os.open(base, _NEW, 0o600, dir_fd=folder), "wb", buffering=0) as file:
                for data in _content(tar, info):
                    file.write(data)
                    self.bytes += len(data)
                    told(self.bytes)
            self.files += 1
            self._dress(folder, base, info)

    def _dress(self, folder: int, base: str, info: tarfile.TarInfo, *, link: bool = False) -> None:
        if self._owners:
            os.chown(base, info.uid, info.gid, dir_fd=folder, follow_symlinks=False)
        if not link:
            os.chmod(base, stat.S_IMODE(info.mode), dir_fd=folder)
        moment = int(info.mtime * 1e9)
        os.utime(base, ns=(moment, moment), dir_fd=folder, follow_symlinks=False)

    def _look(self, found: Found, folder: int, base: str, name: str, told: Told) -> None:
        info = os.stat(base, dir_fd=folder, follow_symlinks=False)
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISLNK(info.st_mode):
            target = shown(os.readlink(base, dir_fd=folder))
            found.members[name] = (0, digest_of("link", self._links.get(name, mode), target))
        elif name in self._same:
            found.members[name] = (0, digest_of("same", mode, self._same[name]))
        else:
            digest = hashlib.sha256()
            handle = _opened(folder, base, mode)
            with os.fdopen(handle, "rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    digest.update(data)
                    found.bytes += len(data)
                    told(found.bytes)
            found.files += 1
            found.members[name] = (info.st_size, digest_of("file", mode, digest.hexdigest()))

    def _walk(self) -> Iterator[tuple[int, str, str]]:
        for top, names, files, folder in os.fwalk(self._place):
            prefix = os.path.relpath(top, self._place)
            links = [name for name in names if (Path(top) / name).is_symlink()]
            for base in sorted((*files, *links)):
                yield folder, base, shown(base if prefix == "." else f"{prefix}/{base}")

    @contextlib.contextmanager
    def _parent(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open the folder that an entry lies in, one step at a time, through no link."""
        handle = os.open(self._place, _FOLDER)
        try:
            for name in parts[:-1]:
                below = os.open(name, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)


def _opened(folder: int, base: str, mode: int) -> int:
    """Open a file of ours to read, also one whose recorded mode keeps even its owner out."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(base, flags, dir_fd=folder)
    except PermissionError:
        os.chmod(base, 0o600, dir_fd=folder)
        try:
            return os.open(base, flags, dir_fd=folder)
        finally:
            os.chmod(base, mode, dir_fd=folder)


def _unwritten(error: OSError, name: str) -> EngineTrouble:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return EngineTrouble(
            f"The disk was full at {shown(name)}. The backup is untouched. Free space and try again.",
            code="no-room",
            permanent=False,
            untestable=True,
        )
    return EngineTrouble(
        f"The archive could not be extracted at {shown(name)}: {error.strerror}. The backup is untouched. "
        "Check the folder's disk; if it is healthy, use another backup.",
        code="unwritten",
    )


def _infos(archive: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Return every entry of a tar stream, which must end as tar archives end. Devices and pipes are refused."""
    counted = _Counted(archive)
    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", counted), mode="r|", bufsize=CHUNK, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            while (info := tar.next()) is not None:
                if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
                    raise EngineTrouble(
                        f"The archive holds a device or pipe ({shown(info.name)}), which no backup of Mainstay does. "
                        "Nothing more was extracted. Find out who can write to the store.",
                        code="damaged",
                    )
                yield tar, info
                tar.members.clear()  # type: ignore[attr-defined] # flat memory, whatever the number of files
        while counted.read(CHUNK):  # to the very end: the digest of the object needs it
            pass
    except (tarfile.TarError, EOFError) as error:
        raise EngineTrouble(
            "The archive is not a whole tar file. The source is untouched. Use another backup.", code="damaged"
        ) from error
    if counted.tail.strip(b"\0") or len(counted.tail) < 1024:
        raise EngineTrouble(
            "The archive ends without the mark that ends tar files. The source is untouched. Use another backup.",
            code="damaged",
        )


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(info)
    left = info.size
    while content is not None and left:
        data = b""
        with contextlib.suppress(tarfile.TarError):
            data = content.read(min(CHUNK, left))
        if not data:
            raise EngineTrouble(f"The archive ends inside {shown(info.name)}. Use another backup.", code="damaged")
        left -= len(data)
        yield data


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(name.rstrip("/").split("/"))
    if name.startswith("/") or any(part in {"", ".", ".."} or "\x00" in part for part in parts):
        raise EngineTrouble(
            f"The archive holds an entry that would leave its folder ({shown(name)[:80]}). Nothing "
            "was written outside. "
            "No backup of Mainstay does that: find out who can write to the store.",
            code="damaged",
        )
    return parts


class _Counted:
    """Passes reads on to the very end and keeps the last bytes: a tar file ends with two blocks of zeros."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.tail = b""

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._source.read(size - len(data))
            if not piece:
                break
            data += piece
        if data:
            self.tail = (self.tail + bytes(data[-1024:]))[-1024:]
        return bytes(data)
