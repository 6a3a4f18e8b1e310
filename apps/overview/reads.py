"""What the first page reads from the rooms below, each in a fixed number of queries."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from django.db.models import Case, Count, F, IntegerField, Max, Min, Q, Value, When
from django.urls import reverse

from apps.alerts.models import Incident
from apps.backups.models import Plan, RestoreTest, Store
from apps.backups.schedule import Schedule, upcoming
from apps.backups.services.standing import LOSING, PROOF
from apps.core import words
from apps.core.charts import Job
from apps.core.claims import Standing
from apps.overview.standing import Plans, Tally, Trouble
from apps.people.models import Person

EVENING, MORNING = time(21), time(6)
TONIGHT_ROWS, HOURLY_ROWS = 8, 3
TONIGHT_PLANS, HOURLY_PLANS, CRON_RUNS = 60, 20, 12
TITLES = {"S1": "No data is lost", "S4": "Databases are dumped", "S5": "Files are kept", "S6": "Restores are tested"}
SHOWN = 8


def plans(now: datetime) -> Plans:
    """Count the live plans and name the worst, the oldest and the slowest, in five queries."""
    live = Plan.objects.live()
    found = live.aggregate(
        total=Count("pk"),
        proven=Count("pk", filter=live.proven(now)),
        bad=Count("pk", filter=Q(verdict="bad")),
        warn=Count("pk", filter=Q(verdict="warn")),
        tried=Count("pk", filter=Q(last_backup_at__isnull=False)),
        restored=Count("pk", filter=Q(proven_taken_at__isnull=False)),
        newest_proof=Max("proven_at"),
        oldest_data=Min("proven_taken_at"),
        slowest=Max("proven_seconds"),
    )
    worst = live.at_risk().values_list("name", "verdict_since").first()
    oldest = live.filter(proven_taken_at=found["oldest_data"]).values_list("name", flat=True).first()
    slowest = live.filter(proven_seconds=found["slowest"]).values_list("name", flat=True).first()
    return Plans(
        **found,
        worst=worst[0] if worst else "",
        worst_since=worst[1] if worst else None,
        oldest_of=oldest or "",
        slowest_of=slowest or "",
    )


def tallies(now: datetime) -> list[Tally]:
    """Count the claims of every plan without a sentence for each: the verdicts of `backups.claims`, in three queries.

    Plans without a fault are counted by the database; only those with faults are looked at one by one.
    """
    files = Case(When(source__kind="directory", then=Value(1)), default=Value(0), output_field=IntegerField())
    counts: dict[str, Counter[Standing]] = {"S1": Counter(), "S4": Counter(), "S5": Counter(), "S6": Counter()}
    is_fresh = Plan.objects.all().fresh_proof(now)
    fresh = Case(When(is_fresh, then=Value(1)), default=Value(0), output_field=IntegerField())
    ever = Case(When(proven_at=None, then=Value(0)), default=Value(1), output_field=IntegerField())
    clean = Plan.objects.filter(troubles=[]).order_by().annotate(files=files, fresh=fresh, ever=ever)
    for is_file, is_new, was_proven, number in clean.values_list("files", "fresh", "ever").annotate(n=Count("pk")):
        standing = Standing.PROVEN if is_new else Standing.AT_RISK if was_proven else Standing.UNPROVEN
        for claim in ("S1", "S5" if is_file else "S4", "S6"):
            counts[claim][standing] += number
    faulty = Plan.objects.exclude(troubles=[]).order_by().annotate(files=files, fresh=fresh, ever=ever)
    for is_file, is_new, was_proven, troubles in faulty.values_list("files", "fresh", "ever", "troubles"):
        for claim, codes in (("S1", None), ("S5" if is_file else "S4", LOSING | PROOF), ("S6", PROOF)):
            against = [one for one in troubles if codes is None or one["code"] in codes]
            if not against and is_new:
                standing = Standing.PROVEN
            elif not was_proven and not any(one["bad"] for one in against):
                standing = Standing.UNPROVEN
            else:
                standing = Standing.AT_RISK
            counts[claim][standing] += 1
    return [Tally(claim, TITLES[claim], dict(found)) for claim, found in counts.items() if found]


def trouble() -> Trouble:
    """Count the open incidents, and say when the last one was closed."""
    found = (
        Incident.objects.open()
        .order_by()
        .aggregate(number=Count("pk"), bad=Count("pk", filter=Q(severity="bad")), oldest=Min("opened_at"))
    )
    closed = Incident.objects.visible().exclude(closed_at=None).aggregate(at=Max("closed_at"))["at"]
    return Trouble(**found, last_closed=closed)


def by_proof() -> list[Plan]:
    """Return the plans whose proof needs eyes first: failing, then warned, then never proven, then the oldest proof."""
    order = Case(When(verdict="bad", then=0), When(verdict="warn", then=1), default=2)
    return list(Plan.objects.live().order_by(order, F("proven_at").asc(nulls_first=True), "name")[:SHOWN])


def evidence() -> list[RestoreTest]:
    """Return the newest restore tests with a verdict (ids are in order of time, so that nothing is sorted)."""
    newest = RestoreTest.objects.exclude(verdict="").order_by("-pk").prefetch_related("plan")
    return list(newest.only("plan_id", "verdict", "error", "restore_seconds", "finished_at", "created_at")[:5])


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that runs tonight."""

    at: datetime
    said: str
    test: bool
    plan_id: Any
    hourly: bool = False

    @property
    def url(self) -> str:
        """Return the plan's page; worked out only for what is shown."""
        return _url(self.plan_id)


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
    after, length = max(start, now), (end - start).total_seconds()
    live = Plan.objects.live()
    each_hour = Q(schedule__kind="hourly", next_due_at__lt=end)
    once = Q(next_due_at__gte=after, next_due_at__lt=end) & ~Q(schedule__kind="hourly")
    tested = Q(proof_due_at__gte=after, proof_due_at__lt=end, last_backup_at__isnull=False)
    counts = live.aggregate(
        hourly=Count("pk", filter=each_hour), once=Count("pk", filter=once), tests=Count("pk", filter=tested)
    )
    fields = ("pk", "name", "schedule", "time_zone", "next_due_at")
    due: list[Due] = []
    jobs: list[Job] = []
    for row in live.filter(each_hour).order_by("next_due_at").values(*fields)[:HOURLY_PLANS]:
        moments = _hours(row["next_due_at"], after, end)
        jobs.extend(Job((at - start).total_seconds() / length, 0.006, "often") for at in moments)
        due.extend(Due(at, f"Back up {row['name']}", False, row["pk"], True) for at in moments[:1])
    for row in live.filter(once).order_by("next_due_at").values(*fields)[:TONIGHT_PLANS]:
        for at in _moments(row, after, end):
            jobs.append(Job((at - start).total_seconds() / length, 0.012))
            due.append(Due(at, f"Back up {row['name']}", False, row["pk"]))
    for pk, name, at in (
        live.filter(tested).order_by("proof_due_at").values_list("pk", "name", "proof_due_at")[:TONIGHT_PLANS]
    ):
        jobs.append(Job((at - start).total_seconds() / length, 0.016, "test"))
        due.append(Due(at, f"Restore {name} and compare it", True, pk))
    due.sort(key=lambda one: (not one.hourly, one.at))
    shown = [*[one for one in due if one.hourly][:HOURLY_ROWS], *[one for one in due if not one.hourly]][:TONIGHT_ROWS]
    backing = counts["hourly"] + counts["once"]
    said = f"{words.plural(backing, 'plan')}, {words.plural(counts['tests'], 'restore test')}"
    listed = ", ".join(f"{words.clock(one.at, tz)} {one.said}" for one in shown)
    label = f"Between 21:00 and 06:00: {listed}" if due else "Nothing runs between 21:00 and 06:00"
    return Tonight(shown, jobs, backing, counts["tests"], said, label)


def found(text: str, may_people: bool) -> list[tuple[str, str, str, str]]:  # noqa: FBT001 one caller, a named fact
    """Return plans, stores and people whose name holds the text: (icon, name, what it is, address)."""
    hits: list[tuple[str, str, str, str]] = [
        ("database-backup", name, "Plan" if verdict != "bad" else "Plan, at risk", _url(pk))
        for pk, name, verdict in Plan.objects.filter(name__icontains=text)
        .order_by("name")
        .values_list("pk", "name", "verdict")[:SHOWN]
    ]
    hits += [
        ("hard-drive", name, "Store", reverse("store-edit", args=[pk]))
        for pk, name in Store.objects.filter(name__icontains=text).order_by("name").values_list("pk", "name")[:SHOWN]
    ]
    if may_people:
        people = Person.objects.active().filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by("name")
        hits += [
            ("circle-user-round", name or email, "Person", f"/people/#{pk}")
            for pk, name, email in people.values_list("pk", "name", "email")[:SHOWN]
        ]
    return hits


def _hours(first: datetime, after: datetime, end: datetime) -> list[datetime]:
    """Return every hour from the first due moment that lies in the night; what is hourly runs each hour that passes."""
    skip = max(-(-(after - first).total_seconds() // 3600), 0)
    at = first + timedelta(hours=skip)
    moments = []
    while at < end:
        moments.append(at)
        at += timedelta(hours=1)
    return moments


def _moments(row: dict[str, Any], after: datetime, end: datetime) -> list[datetime]:
    """Return when a plan runs in the night: only a cron line can do so more than once."""
    if row["schedule"].get("kind") != "cron":
        return [row["next_due_at"]]
    try:
        slots = upcoming(Schedule.from_json(row["schedule"]), row["time_zone"], after - timedelta(seconds=1), CRON_RUNS)
    except (ValueError, KeyError):
        slots = [row["next_due_at"]]
    return [at for at in slots if at < end]


def _url(pk: Any) -> str:
    return reverse("plan", args=[pk])
