"""What a good backup of a folder must tell a person: unreadable parts, much left out, databases copied while in use."""

from itertools import chain

from apps.backups.engines.folder_read import Walk, shown
from apps.core.words import plural, size

MUCH = 1024 * 1024  # bytes; below, what is excluded is no more than a cache of something small
LEFT_OUT = "backups.left_out"  # one of problems.py


def told(walk: Walk) -> list[tuple[str, str, str]]:
    """Return (code, what is so, what to do) of a walk that was written to its end (pure)."""
    found = []
    unreadable = [name for name, why in walk.skipped if why == "unreadable"]
    if unreadable:
        many = plural(len(unreadable), "entry", "entries")
        said = f"{many} may not be read, {shown(unreadable[0])} first: what is in there is in no backup."
        found.append((LEFT_OUT, said, "Give Mainstay's user the right to read it, or exclude it on purpose."))
    if walk.excluded_bytes > max(walk.bytes, MUCH):
        largest = max(walk.excluded, key=lambda one: one[1])
        said = (
            f"More is excluded ({size(walk.excluded_bytes)}) than kept ({size(walk.bytes)}), {shown(largest[0])} with "
            f"{size(largest[1])} first: it is in no backup of this plan."
        )
        found.append((LEFT_OUT, said, "Take the pattern out, or back it up with a plan of its own."))
    live = _live_databases(walk)
    if live:
        said = f"{shown(live[0])} is a database in use: a copy of its file misses what its log still holds."
        todo = "Back it up with a plan of its own, which takes one exact moment, and exclude it here."
        found.append((LEFT_OUT, said, todo))
    return found


def _live_databases(walk: Walk) -> list[str]:
    """Return databases that were not shut down when they were copied: SQLite with a log, a PostgreSQL that runs."""
    every = chain(((name, length) for name, length, _ in walk.members), walk.excluded)
    wanted = {name.removesuffix("-wal") for name, length in every if name.endswith("-wal") and length}
    running = {"postmaster.pid", "PG_VERSION"}
    seen: dict[str, set[str]] = {}
    found = []
    for name, length, _ in walk.members:
        folder, _, base = name.rpartition("/")
        if base in running:
            seen.setdefault(folder, set()).add(base)
        elif length and name in wanted:
            found.append(name)
    return sorted(found + [folder or "the folder itself" for folder, names in seen.items() if names == running])
