"""What may be the name of an object: the same rule for every store, so that a copy moves between them unchanged."""

import re

from apps.backups.facts import StoreTrouble

_PART = re.compile(r"[A-Za-z0-9_=+,@][A-Za-z0-9._=+,@-]*\Z")
MOST = 300  # the catalogue's column
PROBE = "mainstay-check-"  # how the small object begins that a connection test writes and deletes


def checked(key: str) -> tuple[str, ...]:
    """Return the parts of an object's name. Raises StoreTrouble for one that could leave the store or hide in it.

    A part never starts with a dot: `..` leaves the folder, and dot files are unfinished uploads.
    """
    parts = tuple(key.split("/"))
    if len(key) > MOST or not all(_PART.match(part) and len(part) <= 200 for part in parts):
        raise StoreTrouble(f"“{key[:80]}” cannot be the name of an object. Nothing was changed.", code="bad-key")
    return parts
