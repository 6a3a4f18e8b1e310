"""What the first page reads from the rooms below, each in a fixed number of queries."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from django.db.models import Case, Count, F, IntegerField, Max, Min, Q, Subquery, Value, When, Window
from django.db.models.functions import RowNumber
from django.urls import reverse

from apps.alerts.models import Channel, Incident
from apps.backups.models import Plan, Store
from apps.backups.schedule import Schedule, upcoming
from apps.backups.services.standing import TITLES, faulty, marks, stands_of
from apps.core import words
from apps.core.charts import Job
from apps.core.claims import Standing
from apps.overview.standing import Plans, Tally, Trouble
from apps.people.models import Person
from apps.servers.models import Server

EVENING, MORNING = time(21), time(6)
TONIGHT_ROWS, HOURLY_ROWS = 8, 3
TONIGHT_PLANS, CRON_RUNS = 80, 12
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Look:
    """Every plan as one look found it."""

    plans: Plans  # those that are not paused
    tallies: list[Tally]  # the verdicts of `backups.claims`, without a sentence for each
    faults: list[Mapping[str, Any]]  # what `backups.services.standing.faulty` returns


def machines() -> list[Server]:
    """Return every server as its list reads it, for its claims and its needs."""
    return list(Server.objects.for_list())


def look(now: datetime) -> Look:
    """Count the plans and their claims in four queries.

    Plans without a fault are counted by the database; only those with faults are looked at one by one.
    """
    marked = marks(now)
    faults = faulty(marked)
    alike = ("live", "clean", "files", "fresh", "ever")
    groups = list(
        Plan.objects.order_by()
        .annotate(live=_mark(Q(paused_at=None)), clean=_mark(Q(troubles=[])), **marked)
        .values(*alike)
        .annotate(
            number=Count("pk"),
            unrefuted=Count("pk", filter=Q(failed_rung=None)),
            bad=Count("pk", filter=Q(verdict="bad")),
            warn=Count("pk", filter=Q(verdict="warn")),
            tried=Count("last_backup_at"),
            restored=Count("proven_taken_at"),
            newest=Max("proven_at"),
            oldest=Min("proven_taken_at"),
            slowest=Max("proven_seconds"),
        )
    )
    live = [group for group in groups if group["live"]]
    risky = (row for row in faults if row["paused_at"] is None and row["verdict"] in {"bad", "warn"})
    worst = next(risky, None)
    oldest_of, slowest_of = _extremes()
    plans = Plans(
        total=sum(group["number"] for group in live),
        proven=sum(group["unrefuted"] for group in live if group["fresh"]),
        bad=sum(group["bad"] for group in live),
        warn=sum(group["warn"] for group in live),
        tried=sum(group["tried"] for group in live),
        restored=sum(group["restored"] for group in live),
        newest_proof=max((group["newest"] for group in live if group["newest"]), default=None),
        oldest_data=min((group["oldest"] for group in live if group["oldest"]), default=None),
        slowest=max((group["slowest"] for group in live if group["slowest"] is not None), default=None),
        oldest_of=oldest_of,
        slowest_of=slowest_of,
        worst=worst["name"] if worst else "",
        worst_since=worst["verdict_since"] if worst else None,
    )
    counts: dict[str, Counter[Standing]] = {claim: Counter() for claim in TITLES}
    for row, number in [
        *((group, group["number"]) for group in groups if group["clean"]),
        *((row, 1) for row in faults if row["troubles"]),
    ]:
        for claim, standing, _ in stands_of(row):
            counts[claim][standing] += number
    return Look(plans, [Tally(claim, TITLES[claim], dict(found)) for claim, found in counts.items() if found], faults)


def _mark(found: Q) -> Case:
    return Case(When(found, then=Value(1)), default=Value(0), output_field=IntegerField())


def _extremes() -> tuple[str, str]:
    """Return the names of the live plans with the oldest proven data and with the slowest restore; "" without one."""
    live = Plan.objects.live()
    oldest = live.exclude(proven_taken_at=None).order_by("proven_taken_at", "pk").values("name")[:1]
    slowest = live.exclude(proven_seconds=None).order_by("-proven_seconds", "pk").values("name")[:1]
    names = live.order_by().values_list(Subquery(oldest), Subquery(slowest)).first()
    return (names[0] or "", names[1] or "") if names else ("", "")


def trouble() -> Trouble:
    """Count the open incidents; without one, say when the last was closed."""
    found = (
        Incident.objects.open()
        .order_by()
        .aggregate(number=Count("pk"), bad=Count("pk", filter=Q(severity="bad")), oldest=Min("opened_at"))
    )
    if found["number"]:
        return Trouble(**found)
    closed = Incident.objects.visible().exclude(closed_at=None).aggregate(at=Max("closed_at"))["at"]
    return Trouble(**found, last_closed=closed)


def channels() -> list[Channel]:
    """Return the channels, without their secrets."""
    return list(Channel.objects.kept().defer("secret"))


def by_proof() -> list[Plan]:
    """Return the plans whose proof needs eyes first: failing, then warned, then never proven, then the oldest proof."""
    order = Case(When(verdict="bad", then=0), When(verdict="warn", then=1), default=2)
    found = Plan.objects.live().order_by(order, F("proven_at").asc(nulls_first=True), "name")
    return list(
        found.only("name", "verdict", "proven_at", "proven_taken_at", "proven_seconds", "proven_rungs", "failed_rung")[
            :SHOWN
        ]
    )


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
    """Return what runs tonight by the plans' own schedules: all are counted, eighty drawn, hourly ones in turn."""
    start, end = window(now, tz)
    after, length = max(start, now), (end - start).total_seconds()
    live = Plan.objects.live()
    each_hour = Q(schedule__kind="hourly", next_due_at__lt=end)
    once = Q(next_due_at__gte=after, next_due_at__lt=end) & ~Q(schedule__kind="hourly")
    tested = Q(proof_due_at__gte=after, proof_due_at__lt=end, last_backup_at__isnull=False)
    fields = ("pk", "name", "schedule", "time_zone", "next_due_at", "often", "number")
    backing = (
        live.filter(each_hour | once)
        .annotate(often=_mark(Q(schedule__kind="hourly")), number=Window(Count("pk")))
        .annotate(turn=Window(RowNumber(), partition_by="often", order_by="next_due_at"))
    )
    backups = tests = 0
    due: list[Due] = []
    jobs: list[Job] = []
    for row in backing.order_by("turn", "-often").values(*fields)[:TONIGHT_PLANS]:
        backups = row["number"]
        moments = _hours(row["next_due_at"], after, end) if row["often"] else _moments(row, after, end)
        kind, width = ("often", 0.006) if row["often"] else ("", 0.012)
        jobs.extend(Job((at - start).total_seconds() / length, width, kind) for at in moments)
        shown = moments[:1] if row["often"] else moments
        due.extend(Due(at, f"Back up {row['name']}", False, row["pk"], bool(row["often"])) for at in shown)
    testing = live.filter(tested).order_by("proof_due_at").annotate(number=Window(Count("pk")))
    for pk, name, at, tests in testing.values_list("pk", "name", "proof_due_at", "number")[:TONIGHT_PLANS]:  # noqa: B007
        jobs.append(Job((at - start).total_seconds() / length, 0.016, "test"))
        due.append(Due(at, f"Restore {name} and compare it", True, pk))
    due.sort(key=lambda one: (not one.hourly, one.at))
    rows = [*[one for one in due if one.hourly][:HOURLY_ROWS], *[one for one in due if not one.hourly]][:TONIGHT_ROWS]
    said = f"{words.plural(backups, 'plan')}, {words.plural(tests, 'restore test')}"
    listed = ", ".join(f"{words.clock(one.at, tz)} {one.said}" for one in rows)
    label = f"Between 21:00 and 06:00: {listed}" if due else "Nothing runs between 21:00 and 06:00"
    return Tonight(rows, jobs, backups, tests, said, label)


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
