"""What a good backup of a folder must tell a person: unreadable parts, much left out, databases copied while in use."""

from apps.backups.engines.folder_read import Walk, shown
from apps.core.words import plural, size

MUCH = 1024 * 1024  # bytes; below, what is excluded is no more than a cache of something small
LEFT_OUT, SOURCE = "backups.left_out", "backups.source"


def told(walk: Walk) -> list[tuple[str, str, str]]:
    """Return (code, what is so, what to do) of a walk that was written to its end (pure)."""
    found = []
    unreadable = [name for name, why in walk.skipped if why == "unreadable"]
    if unreadable:
        found.append((
            LEFT_OUT,
            f"{plural(len(unreadable), 'entry', 'entries')} of the folder may not be read, {shown(unreadable[0])} first: "
            "what is in there is in no backup.",
            "Give Mainstay's user the right to read it, or exclude it on purpose.",
        ))  # fmt: skip
    if walk.excluded_bytes > max(walk.bytes, MUCH):
        largest = max(walk.excluded, key=lambda one: one[1])
        found.append((
            LEFT_OUT,
            f"More is excluded ({size(walk.excluded_bytes)}) than kept ({size(walk.bytes)}), {shown(largest[0])} with "
            f"{size(largest[1])} first: it is in no backup of this plan.",
            "Take the pattern out, or back it up with a plan of its own.",
        ))  # fmt: skip
    live = _live_databases(walk)
    if live:
        found.append((
            LEFT_OUT,
            f"{shown(live[0])} is a database in use: a copy of its file misses what its log still holds.",
            "Back it up with a plan of its own, which takes one exact moment, and exclude it here.",
        ))  # fmt: skip
    return found


def _live_databases(walk: Walk) -> list[str]:
    """Return databases that were not shut down when they were copied: SQLite with a log, a PostgreSQL that runs."""
    kept = {name: length for name, length, _ in walk.members}
    there = {**kept, **dict(walk.excluded)}
    sqlite = [name.removesuffix("-wal") for name, length in there.items() if name.endswith("-wal") and length]
    found = [name for name in sqlite if kept.get(name)]
    for name in kept:
        folder, _, base = name.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        if base == "postmaster.pid" and f"{prefix}PG_VERSION" in kept:
            found.append(f"{prefix}PG_VERSION"[: -len("/PG_VERSION")] or "the folder itself")
    return sorted(found)
