"""Which paths on this machine may be backed up or restored to, never Mainstay's keys; and how to be let into all."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from apps.backups.facts import EngineTrouble

KEYS = EngineTrouble(
    "Mainstay's own keys lie there. A backup must never hold the key that opens it. Nothing was read. "
    "Choose another path; the keys are kept by the recovery key page.",
    code="keys",
)


def whole(path: object) -> Path:
    """Return an absolute path as given. Raises EngineTrouble for anything else."""
    text = str(path or "")
    if not text.startswith("/") or "\x00" in text:
        raise EngineTrouble(
            "The path must be a whole one, such as /srv/app/data. Nothing was read. Correct it.", code="bad-path"
        )
    return Path(text)


def real(path: Path) -> Path:
    """Return where a path leads to, through every link."""
    return Path(os.path.realpath(path))


def refuse_keys(path: Path) -> None:
    """Raise EngineTrouble when a path is Mainstay's key folder, in it or around it, through links and mounts too."""
    keys = real(Path(settings.MAINSTAY_KEYS))
    where = real(path)
    inside = where == keys or keys in where.parents or where in keys.parents
    if inside or _same_folder(where, keys):
        raise KEYS


def refuse_own_folder(path: Path) -> None:
    """Raise EngineTrouble for a target inside Mainstay's data folder: what lies there is served, run or read by it."""
    own = real(Path(settings.MAINSTAY_DATA))
    where = real(path)
    if where == own or own in where.parents or _same_folder(where, own):
        raise EngineTrouble(
            "That is inside Mainstay's own data folder, where a restored file could be taken for Mainstay's own. "
            "Nothing was restored. Name a place outside of it.",
            code="own-folder",
        )


def _same_folder(where: Path, keys: Path) -> bool:
    """Return whether a folder on one path is the key folder under another name (a bind mount)."""
    try:
        wanted = keys.stat()
    except OSError:
        return False
    for each in (where, *where.parents):
        try:
            found = each.stat()
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def open_up(top: Path) -> None:
    """Let us into every folder from `top` down, so that all can be removed: a restored one may be closed to its owner.

    Each is opened before the walk looks into it; links are not followed, and what cannot be opened is passed over.
    """
    with suppress(OSError):
        top.chmod(stat.S_IRWXU)
    for folder, names, _files in os.walk(top):
        for inner in (Path(folder, name) for name in names):
            if not inner.is_symlink():
                with suppress(OSError):
                    inner.chmod(stat.S_IRWXU)
