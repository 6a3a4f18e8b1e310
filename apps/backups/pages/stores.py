"""What the page of stores shows: where each is, what it holds, what its last look found, and a look under way."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.backups.models import Backup, Inspection, Store
from apps.backups.pages.plan import Under, progress


@dataclass(frozen=True, slots=True)
class Row:
    """One store."""

    store: Store
    where: str
    held: dict[str, Any] | None  # number, size and newest of its good backups
    lost: int  # backups that are missing or changed there
    look: Under | None  # the look under way


def stores(now: datetime) -> list[Row]:
    """Return every store, in four queries whatever their number."""
    held, lost, looks = Backup.objects.by_store(), Backup.objects.lost_by_store(), Inspection.objects.under_way()
    return [
        Row(
            store,
            where(store),
            held.get(store.pk),
            lost.get(store.pk, 0),
            progress(looks[store.pk], f"Looking at {store}", "", "", now) if store.pk in looks else None,
        )
        for store in Store.objects.for_list()
    ]


def where(store: Store) -> str:
    """Return where a store is, in words without secrets."""
    config = store.config
    if store.kind == Store.Kind.LOCAL:
        return str(config.get("path", ""))
    parts = [config.get("bucket", ""), config.get("endpoint") or "Amazon S3", config.get("region", "")]
    return ", ".join(str(part) for part in parts if part)
