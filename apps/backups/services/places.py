"""Adding, changing and removing what is backed up (sources) and where it is kept (stores)."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from apps.backups.models import Plan, Source, Store
from apps.backups.services.forgetting import moved, no_proof
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers.models import Server

_Placed = TypeVar("_Placed", Source, Store)


def add_source(
    *,
    actor: Person | None,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    secret: Mapping[str, str],
    domain: Mapping[str, str],
    now: datetime,
    through: Server | None = None,
) -> Source:
    """Remember a source. `config` may be shown, `secret` is sealed; `domain` is provider, account, region, site.

    `through` is the server whose gate leads to it.
    """
    source = Source(name=name, kind=kind, config=dict(config), domain=_known(domain), created_at=now)
    source.through = through
    source.secret = json.dumps(dict(secret)) if secret else None
    _insert(source, actor=actor, verb="backups.source_added", taken=f"A source called {name} exists.")
    return source


def change_source(
    *,
    actor: Person | None,
    source: Source,
    name: str,
    config: Mapping[str, Any],
    secret: Mapping[str, str] | None,
    domain: Mapping[str, str],
    now: datetime,
    through: Server | None = None,
) -> Source:
    """Change a source; `secret` None keeps the sealed one. Another place is other data: its plans start unproven."""
    elsewhere = moved(source.config, dict(config)) or source.through != through
    rerouted = ["through"] if source.through != through else []
    with transaction.atomic():
        source.through = through
        Source.objects.filter(pk=source.pk).update(through=through)
        changed = _change(source, actor, "backups.source_changed", name, config, secret, domain, also=rerouted)
        if elsewhere:
            Plan.objects.filter(source=source).update(**no_proof(now))
    return changed


def remove_source(*, actor: Person | None, source: Source, typed: str, now: datetime) -> None:
    """Forget a source that no plan uses, with its secret. Raises Refused."""
    plans = source.plans.names(3)
    _remove(source, actor, "backups.source_removed", typed, plans, now)


def add_store(
    *,
    actor: Person | None,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    secret: Mapping[str, str],
    domain: Mapping[str, str],
    now: datetime,
) -> Store:
    """Remember a store; see `add_source`."""
    store = Store(name=name, kind=kind, config=dict(config), domain=_known(domain), created_at=now)
    store.secret = json.dumps(dict(secret)) if secret else None
    _insert(store, actor=actor, verb="backups.store_added", taken=f"A store called {name} exists.")
    return store


def change_store(
    *,
    actor: Person | None,
    store: Store,
    name: str,
    config: Mapping[str, Any],
    secret: Mapping[str, str] | None,
    domain: Mapping[str, str],
    now: datetime,
) -> Store:
    """Change a store; `secret` None keeps the sealed one. Where backups are must not change under them."""
    moved = {key for key in ("path", "endpoint", "bucket", "prefix") if store.config.get(key) != config.get(key)}
    if moved and store.backups.catalogued().exists():
        raise Refused(
            "There are backups in this store, and they would no longer be found at the new address. "
            "Add the new place as another store and choose it in the plan; the old backups stay readable.",
            field=min(moved),
        )
    with transaction.atomic():
        Store.objects.filter(pk=store.pk).update(checked_at=now, trouble="")
        return _change(store, actor, "backups.store_changed", name, config, secret, domain)


def remove_store(*, actor: Person | None, store: Store, typed: str, now: datetime) -> str:
    """Forget a store that no plan uses, with its secret; no object is touched. Returns the sentence that says so."""
    plans = store.plans.names(3)
    left = store.backups.catalogued().aggregate(all=Count("pk"), lost=Count("pk", filter=Q(lost_at__isnull=False)))
    _remove(store, actor, "backups.store_removed", typed, plans, now)
    there = left["all"] - left["lost"]
    return f"{store.name} was removed. Nothing was deleted in it: {there:,} backups are still there." if there else ""


def _known(domain: Mapping[str, str]) -> dict[str, str]:
    return {key: value.strip() for key, value in domain.items() if value and value.strip()}


def _insert(row: Source | Store, *, actor: Person | None, verb: str, taken: str) -> None:
    if not row.name.strip():
        raise Refused("Give it a name.", field="name")
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            record(
                actor=actor,
                verb=verb,
                subject=row.name,
                subject_id=str(row.pk),
                detail={"kind": row.kind, **row.domain},
            )
    except IntegrityError as error:
        raise Refused(f"{taken} Choose another name.", field="name") from error


def _change(
    row: _Placed,
    actor: Person | None,
    verb: str,
    name: str,
    config: Mapping[str, Any],
    secret: Mapping[str, str] | None,
    domain: Mapping[str, str],
    also: Sequence[str] = (),
) -> _Placed:
    changed = [
        what
        for what, differs in (
            ("name", row.name != name),
            ("config", row.config != dict(config)),
            ("secret", secret is not None),
            ("domain", row.domain != _known(domain)),
        )
        if differs
    ] + list(also)
    row.name, row.config, row.domain = name, dict(config), _known(domain)
    if secret is not None:
        row.secret = json.dumps(dict(secret)) if secret else None
    try:
        with transaction.atomic():
            row.save(update_fields=["name", "config", "domain", "secret"])
            record(actor=actor, verb=verb, subject=row.name, subject_id=str(row.pk), detail={"changed": changed})
    except IntegrityError as error:
        raise Refused(f"The name {name} is taken. Choose another name.", field="name") from error
    return row


def _remove(row: Source | Store, actor: Person | None, verb: str, typed: str, plans: list[str], now: datetime) -> None:
    if typed.strip() != row.name:
        raise Refused(f"Type {row.name} to remove it. Nothing was changed.", field="typed")
    if plans:
        raise Refused(f"{row.name} is still used by {', '.join(plans)}. Change or remove the plan first.")
    with transaction.atomic():
        row.removed_at, row.secret = now, None
        row.save(update_fields=["removed_at", "secret"])
        record(actor=actor, verb=verb, subject=row.name, subject_id=str(row.pk))
