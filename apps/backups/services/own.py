"""Mainstay backs up and proves its own database before anybody configured anything."""

from datetime import datetime, time, timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.backups.itself import own_domain, own_target
from apps.backups.models import Backup, Plan, Source, Store
from apps.backups.schedule import Schedule, following
from apps.core.runs import ring
from apps.people.models import Person, Role
from apps.people.services import record

PLAN, SOURCE, STORE = "Mainstay itself", "Mainstay's database", "Data folder"
DAILY = Schedule.days(time(2, 5))


def protect_self(now: datetime) -> None:
    """Make the plan for Mainstay's own database at the first tick, with a first backup at once; afterwards do nothing.

    The sealed rows are in that backup, the keys that open them are not. A plan that a person removed is not made again.
    """
    if Source.everything.filter(is_self=True).exists():
        _give_owner(now)
        return
    try:
        with transaction.atomic():
            _make(now)
    except IntegrityError:
        return  # another tick made it


def own_plan() -> Plan | None:
    """Return the plan of Mainstay's own database, unless a person removed it."""
    plan: Plan | None = Plan.objects.filter(source__is_self=True).select_related("source", "store", "owner").first()
    return plan


def _make(now: datetime) -> None:
    target = own_target()
    shown = {key: value for key, value in target.config.items() if key != "user"}
    source = Source(kind=target.kind, config=shown, domain=own_domain(), created_at=now, is_self=True)
    source.name = _free(Source, SOURCE)
    source.save(force_insert=True)
    folder = Path(settings.MAINSTAY_DATA) / "backups"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(kind=Store.Kind.LOCAL, config={"path": str(folder)}, domain=own_domain(), created_at=now)
    store.name = _free(Store, STORE)
    store.save(force_insert=True)
    plan = Plan(
        name=_free(Plan, PLAN),
        source=source,
        store=store,
        owner=_first_owner(),
        schedule=DAILY.to_json(),
        time_zone=settings.MAINSTAY_TIME_ZONE,
        prove_every=timedelta(days=1),
        created_at=now,
        expected_from=now,
        next_due_at=following(DAILY, settings.MAINSTAY_TIME_ZONE, now),
        verdict_since=now,
    )
    plan.save(force_insert=True)
    first = Backup(plan=plan, slot=now, due_at=now, created_at=now)
    first.save(force_insert=True)
    record(actor=None, verb="backups.planned", subject=plan.name, subject_id=plan.pk, detail={"itself": True})
    ring(first)


def _give_owner(now: datetime) -> None:
    plan = Plan.objects.filter(source__is_self=True, owner=None).first()
    owner = _first_owner() if plan else None
    if plan is None or owner is None:
        return
    with transaction.atomic():
        if Plan.objects.filter(pk=plan.pk, owner=None).update(owner=owner, judge_at=now):
            record(
                actor=None,
                verb="backups.owner_given",
                subject=plan.name,
                subject_id=plan.pk,
                detail={"owner": str(owner)},
            )


def _first_owner() -> Person | None:
    owner: Person | None = Person.objects.active().filter(role=Role.OWNER).order_by("joined_at").first()
    return owner


def _free(kind: type[Source] | type[Store] | type[Plan], name: str) -> str:
    taken = set(kind.objects.filter(name__startswith=name).values_list("name", flat=True))
    return next(one for one in (name, *(f"{name} ({n})" for n in range(2, len(taken) + 3))) if one not in taken)
