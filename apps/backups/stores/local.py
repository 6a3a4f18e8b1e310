"""A folder on this machine as a store: an object appears whole or not at all, and nothing leaves the folder."""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from django.conf import settings

from apps.backups.facts import Checkup, Stat, Stored, StoreTrouble
from apps.backups.stores.base import Place, Progress
from apps.backups.stores.keys import PROBE, checked
from apps.backups.stores.whole import Whole, cut
from apps.core.words import size as in_words

CHUNK = 1024 * 1024
SPARE = 64 * 1024 * 1024  # bytes that a backup leaves free: Mainstay's own database may live on the same disk
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC


class LocalStore:
    """Objects as files of mode 0600 below one folder. Symbolic links below it are never followed."""

    def __init__(self, place: Place) -> None:
        """Take a place with config {"path"}."""
        self._path = str(place.config.get("path", ""))

    def check(self) -> Checkup:
        """Write, read back, list and delete a small object."""
        token = secrets.token_bytes(32)
        key = f"{PROBE}{secrets.token_hex(8)}"
        self.put(key, io.BytesIO(token), progress=lambda _sent: None)
        try:
            with self.open(key) as file:
                same = file.read() == token
            listed = [each.key for each in self.list(PROBE)]
        finally:
            self.delete(key)
        if not same or key not in listed:
            raise StoreTrouble(f"{self._path} did not give back what was written to it. Choose another folder.")
        with self._root() as root:
            free = _free(root)
            mode = stat.S_IMODE(os.fstat(root).st_mode)
        warnings = []
        if free < 1024**3:
            warnings.append(f"Only {in_words(free)} are free there.")
        if mode & 0o007:
            warnings.append("Every user of this machine can look into this folder. Consider mode 0700.")
        warnings.append("A folder on the same machine is lost with the machine. Add a store elsewhere.")
        return Checkup(
            f"The folder takes, lists, returns and deletes objects; {in_words(free)} are free.",
            warnings=tuple(warnings),
            facts={"free": free},
        )

    def put(self, key: str, stream: IO[bytes], *, progress: Progress, until: datetime | None = None) -> Stored:
        """Write a hidden partial file, flush it to the disk, then rename it into place. A folder has no locks."""
        del until
        *folders, name = checked(key)
        with self._root() as root, self._folder(root, folders, key, make=True) as folder:
            partial = f".{name}.{secrets.token_hex(6)}.partial"
            try:
                size, digest = self._write(folder, partial, stream, progress, key)
                with self._told(key):
                    held = os.stat(partial, dir_fd=folder, follow_symlinks=False).st_size
                    if held != size:
                        raise cut(key, held, size)
                    os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
        return Stored(key, size, digest)

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Open an object; a file that is shorter at its end than when it was opened raises."""
        *folders, name = checked(key)
        with self._root() as root, self._folder(root, folders, key) as folder, self._told(key):
            handle = os.open(name, os.O_RDONLY | _FILE | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(handle, "rb", buffering=0) as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise StoreTrouble(f"{key} in {self._path} is not a file. Somebody replaced it.", code="damaged")
            yield cast("IO[bytes]", Whole(cast("IO[bytes]", _Reading(file, self._told, key)), found.st_size, key))

    def stat(self, key: str) -> Stat | None:
        """Return size and time of an object, or None when there is no file of that name."""
        *folders, name = checked(key)
        with self._root() as root:
            try:
                with self._folder(root, folders, key) as folder, self._told(key):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except StoreTrouble as trouble:
                if trouble.code == "lost":
                    return None
                raise
        return _stat(key, found) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str) -> Iterator[Stat]:
        """Return every whole object whose name starts with the prefix, by name."""
        with self._root() as root, self._told(prefix):
            found = [
                _stat(path, entry)
                for path, _folder, name, entry in _files(root)
                if path.startswith(prefix) and not name.startswith(".")
            ]
        yield from sorted(found, key=lambda each: each.key)

    def delete(self, key: str) -> None:
        """Delete an object. Empty folders stay: removing one could take it from under a backup that begins."""
        *folders, name = checked(key)
        with self._root() as root:
            try:
                with self._folder(root, folders, key) as folder, self._told(key):
                    os.unlink(name, dir_fd=folder)
                    os.fsync(folder)
            except StoreTrouble as trouble:
                if trouble.code != "lost":
                    raise

    def abort_stale(self, prefix: str, *, before: datetime) -> int:
        """Remove partial files last written before a moment."""
        removed = 0
        with self._root() as root, self._told(prefix):
            for path, folder, name, entry in _files(root):
                meant = path.removesuffix(name) + name[1:]  # a partial file is called .NAME.….partial
                unfinished = name.startswith(".") and name.endswith(".partial") and meant.startswith(prefix)
                if unfinished and entry.st_mtime < before.timestamp():
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                        removed += 1
        return removed

    def _write(self, folder: int, partial: str, stream: IO[bytes], progress: Progress, key: str) -> tuple[int, str]:
        with self._told(key):
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=folder)
        digest, size, looked_at = hashlib.sha256(), 0, -SPARE
        with os.fdopen(handle, "wb", buffering=0) as file:
            while data := stream.read(CHUNK):
                with self._told(key):
                    if size - looked_at >= SPARE // 2:
                        looked_at = size
                        if _free(handle) < SPARE:
                            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                digest.update(data)
                size += len(data)
                progress(size)
            with self._told(key):
                os.fsync(handle)
        return size, digest.hexdigest()

    @contextmanager
    def _root(self) -> Iterator[int]:
        """Open the folder itself, and look again each time whether it may be used: a mount can vanish or change."""
        path = self._path
        if not Path(path).is_absolute() or "\x00" in path:
            raise StoreTrouble(
                "The folder must be an absolute path such as /srv/backups. Nothing was written.", code="bad-path"
            )
        real = Path(os.path.realpath(path))
        keys = Path(os.path.realpath(settings.MAINSTAY_KEYS))
        if real == keys or keys in real.parents:
            raise StoreTrouble(
                "This is the folder of Mainstay's own keys; a backup beside the key that opens it protects nothing. "
                "Nothing was written. Choose another folder.",
                code="keys",
            )
        data = Path(os.path.realpath(settings.MAINSTAY_DATA))
        if data in (real, *real.parents) and real.relative_to(data).parts[:1] != ("backups",):
            raise StoreTrouble(
                "This is Mainstay's own data folder, which holds what it serves, runs and reads. Nothing was written. "
                f"Choose a folder outside of it, or {data / 'backups'}.",
                code="own-folder",
            )
        if not real.exists():
            raise StoreTrouble(
                f"The folder {path} does not exist. Nothing was written. Make it, or check that its disk is mounted.",
                code="missing",
            )
        with self._told(""):
            root = os.open(real, _FOLDER)
        try:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=root):
                raise StoreTrouble(
                    f"Mainstay may not write to {path}. Nothing was written. Give its user the right, "
                    "or choose another folder.",
                    code="no-write",
                )
            yield root
        finally:
            os.close(root)

    @contextmanager
    def _folder(self, root: int, folders: Sequence[str], key: str, *, make: bool = False) -> Iterator[int]:
        """Go down from the root one folder at a time, through no link; yields the last one."""
        handle = os.dup(root)
        try:
            for name in folders:
                with self._told(key):
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(name, 0o700, dir_fd=handle)
                    below = os.open(name, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._trouble(error, key) from error

    def _trouble(self, error: OSError, key: str) -> StoreTrouble:
        code = error.errno
        if code in _FULL:
            return StoreTrouble(
                f"The disk of {self._path} is full. The unfinished backup was removed; earlier ones are untouched. "
                "Free space there, keep fewer backups, or choose another store.",
                code="full",
                permanent=False,
            )
        if code in {errno.ELOOP, errno.ENOTDIR}:
            return StoreTrouble(
                f"A symbolic link or file stands where a folder of {self._path} should be{f' ({key})' if key else ''}. "
                "Mainstay follows no links there. Nothing was written. Remove it, or choose another folder.",
                code="link",
            )
        if code == errno.ENOENT:
            return StoreTrouble(
                f"{key} is not in {self._path} any more. Other backups are untouched. Find out who removed it.",
                code="lost",
            )
        if code in {errno.EACCES, errno.EPERM}:
            return StoreTrouble(f"Mainstay may not use {self._path}/{key}. Give its user the right.", code="no-right")
        if code == errno.EROFS:
            return StoreTrouble(f"The disk of {self._path} is mounted read-only. Nothing was written.", code="no-write")
        return StoreTrouble(
            f"{self._path} could not be used: {error.strerror}. Earlier backups are untouched. Check the disk.",
            permanent=False,
        )


def _free(handle: int) -> int:
    space = os.fstatvfs(handle)
    return space.f_bavail * space.f_frsize


def _stat(key: str, found: os.stat_result) -> Stat:
    return Stat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _files(folder: int, path: str = "") -> Iterator[tuple[str, int, str, os.stat_result]]:
    """Return (path from the root, open folder, name, stat) of every regular file, through no link."""
    for name in sorted(os.listdir(folder)):  # by handle: a path could be swapped for a link
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield path + name, folder, name, found
            elif stat.S_ISDIR(found.st_mode):
                below = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _files(below, f"{path}{name}/")
                finally:
                    os.close(below)


class _Reading:
    """Reads a file and tells a failing disk as a sentence."""

    def __init__(self, file: IO[bytes], told: Callable[[str], AbstractContextManager[None]], key: str) -> None:
        self._file, self._told, self._key = file, told, key

    def read(self, size: int) -> bytes:
        with self._told(self._key):
            return self._file.read(size)
