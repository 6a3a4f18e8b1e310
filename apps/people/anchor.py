"""The head of the audit chain, kept outside the database: whoever can rewrite the one cannot rewrite the other.

A chain alone does not show that its end was cut off together with its head. So the clock appends the head to a file in
the data folder now and then, and `auditverify` looks whether every head that was ever kept is still in the chain.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings

from apps.people.models import AuditEntry, AuditHead

EVERY = timedelta(minutes=10)


def anchors_path() -> Path:
    """Return the file: one line a head, "seq hash time"."""
    return Path(settings.MAINSTAY_DATA) / "audit.heads"


def keep_head(now: datetime) -> None:
    """Append the head when it moved on since the last line, at most every ten minutes."""
    path, last = anchors_path(), _last()
    if last is not None and now - last[2] < EVERY:
        return
    head = AuditHead.objects.order_by("pk").first()
    if head is None or head.seq == 0 or (last is not None and last[:2] == (head.seq, head.hash)):
        return
    line = f"{head.seq} {head.hash} {now.astimezone(UTC).isoformat(timespec='seconds')}\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "a", encoding="ascii") as file:
        file.write(line)


def lost_anchor() -> int | None:
    """Return the number of the first kept head that the chain does not hold any more, or None."""
    kept = dict(each[:2] for each in _lines())
    for start in range(0, len(kept), 500):
        part = dict(list(kept.items())[start : start + 500])
        there = dict(AuditEntry.objects.filter(seq__in=part).values_list("seq", "hash"))
        for seq, digest in part.items():
            if there.get(seq) != digest:
                return seq
    return None


def _last() -> tuple[int, str, datetime] | None:
    lines = _lines()
    return lines[-1] if lines else None


def _lines() -> list[tuple[int, str, datetime]]:
    try:
        text = anchors_path().read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        words = line.split()
        with suppress(ValueError):  # a line that a crash cut off counts as not written
            seq, digest, at = words
            found.append((int(seq), digest, datetime.fromisoformat(at).astimezone(UTC)))
    return found
