"""What a good backup tells beside its success: what it leaves out, what is odd at its source, what it was refused."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from apps.backups.facts import Manifest
from apps.core import words

LEFT_OUT, SOURCE, UNLOCKED = "backups.left_out", "backups.source", "backups.unlocked"
FILLED = 100  # rows; a table that held fewer may well be empty next time
NAMED = 3


class Notice(TypedDict):
    """One thing to tell: the problem's code, what is so, and what to do."""

    code: str
    said: str
    todo: str


def notices(manifest: Manifest, before: Manifest | None, *, lock_days: int = 0, locked: bool = True) -> list[Notice]:
    """Return what is to be told of a backup (pure).

    `before` is the backup that was last proven, or the one before; what the engine itself has to say stands in its
    facts as "told".
    """
    found: list[Notice] = [_notice(*one) for one in manifest.facts.get("told", [])]
    if before is not None and before.engine == manifest.engine:
        found += _another_source(before.facts, manifest.facts)
        found += _emptied(before, manifest)
    if lock_days and not locked:
        found.append(
            _notice(
                UNLOCKED,
                f"The plan asks to lock a backup for {words.plural(lock_days, 'day')}, but the store locked nothing.",
                "Use a bucket made with object lock, or set the lock to 0 days.",
            )
        )
    return found


def merged(found: Iterable[Mapping[str, Any]]) -> list[Notice]:
    """Return one notice a code: one problem of one plan is one incident."""
    by_code: dict[str, Notice] = {}
    for one in found:
        old = by_code.get(one["code"])
        if old is None:
            by_code[one["code"]] = _notice(one["code"], one["said"], one["todo"])
        else:
            old["said"] += f" {one['said']}"
            old["todo"] += f" {one['todo']}" if one["todo"] not in old["todo"] else ""
    return list(by_code.values())


def _notice(code: str, said: str, todo: str) -> Notice:
    return {"code": code, "said": said, "todo": todo}


def _another_source(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Notice]:
    old, new = before.get("system_identifier"), after.get("system_identifier")
    if not old or not new or old == new:
        return []
    return [
        _notice(
            SOURCE,
            "The backup is of another database server than the one that was proven before: its system identifier is "
            f"{new} instead of {old}.",
            "Check that the address leads to the right server. If it was moved or upgraded, test a restore now.",
        )
    ]


def _emptied(before: Manifest, after: Manifest) -> list[Notice]:
    if after.engine == "directory":
        return []  # files come and go; the bands of the judge watch them
    now = {member.name: member.count for member in after.members}
    empty = [one.name for one in before.members if one.count >= FILLED and now.get(one.name) == 0]
    gone = [one.name for one in before.members if one.count >= FILLED and one.name not in now]
    found = []
    if empty:
        found.append(
            _notice(
                SOURCE,
                f"{_named(empty)} {'is' if len(empty) == 1 else 'are'} empty, and held rows in the backup before.",
                "Check that this is meant. If not, restore the last proven backup beside it; if it is, test a restore.",
            )
        )
    if gone:
        found.append(
            _notice(
                SOURCE,
                f"{_named(gone)} {'is' if len(gone) == 1 else 'are'} not there any more, and held rows before.",
                "Check that this is meant. If not, restore the last proven backup beside it; if it is, test a restore.",
            )
        )
    return found


def _named(tables: Sequence[str]) -> str:
    more = f" and {len(tables) - NAMED} more" if len(tables) > NAMED else ""
    kind = "The table" if len(tables) == 1 else "The tables"
    return f"{kind} {', '.join(tables[:NAMED])}{more}"
