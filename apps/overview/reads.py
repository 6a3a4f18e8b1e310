"""What the first page reads from the rooms below, each in a fixed number of queries."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from django.db.models import Case, Count, F, Max, Min, Q, Value, When
from django.urls import reverse

from apps.alerts.models import Incident
from apps.backups.models import Plan, RestoreTest, Store
from apps.backups.schedule import Schedule, upcoming
from apps.core import words
from apps.core.charts import Job
from apps.overview.standing import Plans, Trouble
from apps.people.models import Person

GRACE = timedelta(hours=3)  # after its policy a proof is stale; the judge's most grace
EVENING, MORNING = time(21), time(6)
TONIGHT_ROWS, TONIGHT_PLANS = 8, 60
SHOWN = 8


def plans(now: datetime) -> Plans:
    """Count the live plans and name the worst, the oldest and the slowest, in four queries."""
    fresh = Q(proven_at__gte=Value(now) - F("prove_every") - Value(GRACE), failed_rung=None)
    live = Plan.objects.live()
    found = live.aggregate(
        total=Count("pk"),
        proven=Count("pk", filter=fresh),
        bad=Count("pk", filter=Q(verdict="bad")),
        warn=Count("pk", filter=Q(verdict="warn")),
        tried=Count("pk", filter=Q(last_backup_at__isnull=False)),
        newest_proof=Max("proven_at"),
        oldest_backup=Min("last_backup_at"),
        slowest=Max("proven_seconds"),
    )
    worst = live.at_risk().values_list("name", "verdict_since").first()
    oldest = live.filter(last_backup_at=found["oldest_backup"]).values_list("name", flat=True).first()
    slowest = live.filter(proven_seconds=found["slowest"]).values_list("name", flat=True).first()
    return Plans(
        **found,
        worst=worst[0] if worst else "",
        worst_since=worst[1] if worst else None,
        oldest_of=oldest or "",
        slowest_of=slowest or "",
    )


def trouble() -> Trouble:
    """Count the open incidents, and say when the last one was closed."""
    found = Incident.objects.open().order_by().aggregate(
        number=Count("pk"), bad=Count("pk", filter=Q(severity="bad")), oldest=Min("opened_at")
    )
    closed = Incident.objects.visible().exclude(closed_at=None).aggregate(at=Max("closed_at"))["at"]
    return Trouble(**found, last_closed=closed)


def by_proof() -> list[Plan]:
    """Return the plans whose proof needs eyes first: failing, then warned, then never proven, then the oldest proof."""
    order = Case(When(verdict="bad", then=0), When(verdict="warn", then=1), default=2)
    return list(Plan.objects.live().order_by(order, F("proven_at").asc(nulls_first=True), "name")[:SHOWN])


def evidence() -> list[RestoreTest]:
    """Return the newest restore tests with a verdict (ids are in order of time, so that no sort is needed)."""
    return list(
        RestoreTest.objects.exclude(verdict="").select_related("plan").defer("compared", "log", "tools", "rungs").order_by("-pk")[:5]
    )


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that runs tonight."""

    at: datetime
    said: str
    test: bool
    url: str
    hourly: bool = False


@dataclass(frozen=True, slots=True)
class Tonight:
    """What runs between 21:00 and 06:00."""

    rows: list[Due]
    jobs: list[Job]
    backups: int  # plans that back up tonight
    tests: int  # plans whose restore is tested tonight
    said: str
    label: str


def window(now: datetime, tz: tzinfo) -> tuple[datetime, datetime]:
    """Return tonight, 21:00 to 06:00 in a zone: the night that is on, or the next one."""
    local = now.astimezone(tz)
    first = local.date() - timedelta(days=1) if local.time() < MORNING else local.date()
    return datetime.combine(first, EVENING, tz), datetime.combine(first + timedelta(days=1), MORNING, tz)


def tonight(now: datetime, tz: tzinfo) -> Tonight:
    """Return what runs tonight from the plans' own schedules; the first sixty plans are drawn, all are counted."""
    start, end = window(now, tz)
    after = max(start, now)
    live = Plan.objects.live()
    fields = ("pk", "name", "schedule", "time_zone", "next_due_at", "proof_due_at", "last_backup_at")
    soon = list(live.filter(next_due_at__lt=end).order_by("next_due_at").values(*fields)[:TONIGHT_PLANS])
    tests = live.filter(proof_due_at__gte=after, proof_due_at__lt=end, last_backup_at__isnull=False)
    testing = list(tests.order_by("proof_due_at").values(*fields)[:TONIGHT_PLANS])
    due: list[Due] = []
    jobs: list[Job] = []
    length = (end - start).total_seconds()
    backing = 0
    for row in soon:
        moments = _moments(row, after, end)
        backing += bool(moments)
        often = len(moments) > 2
        jobs.extend(Job((at - start).total_seconds() / length, 0.006 if often else 0.012, "often" if often else "") for at in moments)
        for at in moments[:1] if often else moments:
            due.append(Due(at, f"Back up {row['name']}", False, _url(row["pk"]), often))
    for row in testing:
        at = row["proof_due_at"]
        jobs.append(Job((at - start).total_seconds() / length, 0.016, "test"))
        due.append(Due(at, f"Restore {row['name']} and compare it", True, _url(row["pk"])))
    due.sort(key=lambda one: (not one.hourly, one.at))
    if len(soon) == TONIGHT_PLANS:
        backing = live.filter(next_due_at__lt=end).count()
    many = tests.count() if len(testing) == TONIGHT_PLANS else len(testing)
    said = f"{words.plural(backing, 'plan')}, {words.plural(many, 'restore test')}"
    listed = ", ".join(f"{words.clock(one.at, tz)} {one.said}" for one in due[:TONIGHT_ROWS])
    label = f"Between 21:00 and 06:00: {listed}" if due else "Nothing runs between 21:00 and 06:00"
    return Tonight(due[:TONIGHT_ROWS], jobs, backing, many, said, label)


def found(text: str, may_people: bool) -> list[tuple[str, str, str, str]]:  # noqa: FBT001 one caller, a named fact
    """Return plans, stores and people whose name holds the text: (icon, name, what it is, address)."""
    hits: list[tuple[str, str, str, str]] = [
        ("database-backup", name, "Plan" if verdict != "bad" else "Plan, at risk", _url(pk))
        for pk, name, verdict in Plan.objects.filter(name__icontains=text).order_by("name").values_list("pk", "name", "verdict")[:SHOWN]
    ]
    hits += [
        ("hard-drive", name, "Store", reverse("store-edit", args=[pk]))
        for pk, name in Store.objects.filter(name__icontains=text).order_by("name").values_list("pk", "name")[:SHOWN]
    ]
    if may_people:
        people = Person.objects.active().filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by("name")
        hits += [("circle-user-round", name or email, "Person", f"/people/#{pk}") for pk, name, email in people.values_list("pk", "name", "email")[:SHOWN]]
    return hits


def _moments(row: dict[str, Any], after: datetime, end: datetime) -> list[datetime]:
    try:
        schedule = Schedule.from_json(row["schedule"])
        slots = upcoming(schedule, row["time_zone"], after - timedelta(seconds=1), 12)
    except (ValueError, KeyError):
        slots = [row["next_due_at"]]
    return [at for at in slots if at < end]


def _url(pk: Any) -> str:
    return reverse("plan", args=[pk])
