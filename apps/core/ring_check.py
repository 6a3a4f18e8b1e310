"""At start: makes the keys of a new installation, and refuses a database whose keys are missing or wrong.

Marks in the database remember which keys were ever used here. Nothing is made, moved or overwritten once there is a
mark: whoever moved the data folder without its keys must hear it, not get fresh keys that open nothing.
"""

import hashlib
from pathlib import Path

from apps.core.identity import IdentityError, identity_path, load_identity, make_identity
from apps.core.keys import KeyRing, KeyRingError, load_ring, new_key, ring_path, save_ring
from apps.core.models import RingMark

WAY_OUT = "Nothing was changed. Put this installation's keys folder back, or write {path} from your recovery key."


class KeysRefusedError(Exception):
    """The keys do not belong to this database; the message is a sentence that names the key id and the way out."""


def check_keys() -> bool:
    """Make the keys of a new installation or compare them with the marks; return whether keys were made.

    Raises KeysRefusedError, and then has written nothing.
    """
    marks = {mark.key_id: mark.check_value for mark in RingMark.objects.all()}
    ring, recipient = (_ring(marks), _recipient(marks)) if marks else (None, None)
    made = False
    if ring is None:
        ring, made = _ring_or_new(ring_path())
    if recipient is None:
        recipient = _recipient_or_new(identity_path())
    known = {**{key.id: key.check for key in ring.keys}, recipient: _print_of(recipient)}
    RingMark.objects.bulk_create(
        [RingMark(key_id=key_id, check_value=check) for key_id, check in known.items() if key_id not in marks]
    )
    return made


def _ring(marks: dict[str, str]) -> KeyRing:
    """Return the ring when it holds every marked master key, each the right one."""
    path = ring_path()
    wanted = {key_id: check for key_id, check in marks.items() if not key_id.startswith("age1")}
    try:
        ring = load_ring(path)
    except KeyRingError as error:
        names = ", ".join(wanted)
        raise KeysRefusedError(
            f"This database was sealed with master key {names}, and {error}. {WAY_OUT.format(path=path)}"
        ) from error
    held = {key.id: key.check for key in ring.keys}
    for key_id, check in wanted.items():
        if key_id not in held:
            raise KeysRefusedError(
                f"Master key {key_id} sealed this database and is not in {path}. {WAY_OUT.format(path=path)}"
            )
        if held[key_id] != check:
            raise KeysRefusedError(
                f"Master key {key_id} in {path} is not the one that sealed this database. {WAY_OUT.format(path=path)}"
            )
    return ring


def _recipient(marks: dict[str, str]) -> str | None:
    """Return the recipient of the identity when it is a marked one."""
    path = identity_path()
    wanted = [key_id for key_id in marks if key_id.startswith("age1")]
    if not wanted:
        return None
    try:
        recipient = str(load_identity(path).to_public())
    except IdentityError as error:
        raise KeysRefusedError(
            f"Backups here are encrypted to {', '.join(wanted)}, and {error}. {WAY_OUT.format(path=path)}"
        ) from error
    if recipient not in wanted:
        raise KeysRefusedError(
            f"The age identity in {path} opens {recipient}, but backups here are encrypted to {', '.join(wanted)}. "
            + WAY_OUT.format(path=path)
        )
    return recipient


def _ring_or_new(path: Path) -> tuple[KeyRing, bool]:
    """Return the ring that lies there, or make one when there is no file at all."""
    if not path.exists():
        save_ring(KeyRing((new_key(),)), path)
        return load_ring(path), True
    try:
        return load_ring(path), False
    except KeyRingError as error:
        raise KeysRefusedError(f"Mainstay cannot start: {error}. {WAY_OUT.format(path=path)}") from error


def _recipient_or_new(path: Path) -> str:
    if not path.exists():
        return make_identity(path)
    try:
        return str(load_identity(path).to_public())
    except IdentityError as error:
        raise KeysRefusedError(f"Mainstay cannot start: {error}. {WAY_OUT.format(path=path)}") from error


def _print_of(recipient: str) -> str:
    return hashlib.sha256(recipient.encode("ascii")).hexdigest()
