"""Rotation of the master key over every sealed field of every model: in batches, resumable, without downtime.

A walk needs no notes of where it was: a value that was sealed with the current key is done. Killed halfway, the next
walk goes on with what is left. A row that somebody writes meanwhile is left alone: its writer sealed it anew.
"""

from collections.abc import Callable, Iterator

from django.apps import apps
from django.db import models

from apps.core.fields import EncryptedTextField, Sealed
from apps.core.keys import seal, sealed_with, the_ring, unseal

BATCH = 200


def sealed_fields() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """Return every sealed field of every model, in a fixed order."""
    for model in sorted(apps.get_models(), key=lambda one: one._meta.label):  # noqa: SLF001 Django's documented name
        for field in model._meta.local_concrete_fields:  # noqa: SLF001
            if isinstance(field, EncryptedTextField):
                yield model, field


def rewrap_fields(*, batch: int = BATCH, told: Callable[[str, int], None] | None = None) -> int:
    """Seal every field anew that is not sealed with the current key; return how many. `told` hears after each batch.

    Raises KeyRingError for a value that does not open; what was sealed anew before it stays so.
    """
    total = 0
    for model, field in sealed_fields():
        last: object = None
        while True:
            last, done = _batch(model, field, last, batch)
            total += done
            if told:
                told(f"{model._meta.label}.{field.name}", done)  # noqa: SLF001
            if last is None:
                break
    return total


def still_sealed_with(key_id: str) -> int:
    """Return how many field values a master key still seals; it may be taken out of the ring only at 0."""
    count = 0
    for model, field in sealed_fields():
        values = model._base_manager.filter(**{f"{field.name}__isnull": False}).values_list(field.name, flat=True)  # noqa: SLF001
        count += sum(1 for value in values.iterator() if sealed_with(bytes(value)) == key_id)
    return count


def _batch(model: type[models.Model], field: EncryptedTextField, after: object, size: int) -> tuple[object, int]:
    rows = model._base_manager.filter(**{f"{field.name}__isnull": False}).order_by("pk")  # noqa: SLF001
    if after is not None:
        rows = rows.filter(pk__gt=after)
    found = list(rows.only("pk", field.name)[:size])
    current = the_ring().current.id
    done = 0
    for row in found:
        closed: Sealed = row.__dict__[field.attname]
        if sealed_with(bytes(closed)) == current:
            continue
        context = field.context(row)
        anew = Sealed(seal(unseal(bytes(closed), context=context), context=context))
        # Only while the row still holds what was read: somebody may have written a new value meanwhile.
        done += model._base_manager.filter(pk=row.pk, **{field.name: closed}).update(**{field.name: anew})  # noqa: SLF001
    return (found[-1].pk if len(found) == size else None), done
