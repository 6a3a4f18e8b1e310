"""What the page of one plan shows: its figures, its runs, what is under way, what is kept, how long restores took."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.db.models import Count, Min, Q, Sum
from django.utils.safestring import SafeString

from apps.backups.models import Backup, Inspection, Plan, Restore, RestoreTest
from apps.backups.pages import ladder
from apps.backups.retention import Keep, Point, kept
from apps.core import charts, words
from apps.core.runs import State

RUNS_SHOWN = 25
SHOWS = {"all": "All", "backups": "Backups", "tests": "Restore tests", "failed": "Failed"}
TREND = 30  # proven restores in the chart
_DOTS = 60  # more squares in a row say nothing
_BACK = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}

AnyRun = Backup | RestoreTest | Restore | Inspection


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table of runs."""

    at: datetime
    what: str
    kind: str
    said: str
    size: int | None
    took: float | None
    url_name: str
    id: str


@dataclass(frozen=True, slots=True)
class Under:
    """One run that is under way, as the progress box shows it."""

    id: str
    what: str
    stop_url: str
    page_url: str
    waiting: bool
    stage: str
    done: str
    share: float | None
    left: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """One line of the picture of what is kept."""

    name: str
    have: int
    dots: int
    holes: int
    back: str


def runs(plan: Plan, show: str, before: datetime | None) -> tuple[list[Line], datetime | None]:
    """Return the runs of a plan, newest first, and where the older ones begin; two queries whatever their number."""
    backups, tests = plan.backups.before(before), plan.restore_tests.before(before)
    if show == "failed":
        backups, tests = backups.failed_or_lost(), tests.failed()
    lines = []
    if show != "tests":
        columns = (
            "id",
            "slot",
            "state",
            "size",
            "started_at",
            "finished_at",
            "attempt",
            "lost_at",
            "pruned_at",
            "proven_at",
        )
        lines += [
            backup_line(backup) for backup in backups.only("plan", *columns, "stage", "trigger")[: RUNS_SHOWN + 1]
        ]
    if show != "backups":
        lines += [test_line(test) for test in tests.defer("compared", "log", "tools")[: RUNS_SHOWN + 1]]
    lines.sort(key=lambda line: line.at, reverse=True)
    older = lines[RUNS_SHOWN - 1].at if len(lines) > RUNS_SHOWN else None
    return lines[:RUNS_SHOWN], older


def backup_line(backup: Backup) -> Line:
    """Return a backup as a line."""
    kind, said = backup_result(backup)
    return Line(backup.slot, "Backup", kind, said, backup.size, seconds(backup), "backup", str(backup.pk))


def test_line(test: RestoreTest) -> Line:
    """Return a restore test as a line."""
    kind, said = ladder.result(test)
    kind = "run" if kind == "info" else kind
    return Line(test.created_at, "Restore test", kind, said, None, seconds(test), "restore-test", str(test.pk))


def backup_result(backup: Backup) -> tuple[str, str]:
    """Return the status of a backup: its kind and its words."""
    if backup.state == State.WAITING:
        return "run", "Waiting" if not backup.attempt else "Waiting for another try"
    if backup.state == State.RUNNING:
        return "run", backup.stage.capitalize() or "Under way"
    if backup.state == State.FAILED:
        return "bad", "Failed"
    if backup.lost_at:
        return "bad", "Lost in the store"
    if backup.pruned_at:
        return "idle", "Pruned"
    if backup.proven_at:
        return "ok", "Stored and proven"
    return ("warn", f"Stored, try {backup.attempt}") if backup.attempt > 1 else ("ok", "Stored")


def seconds(run: AnyRun) -> float | None:
    """Return how long a run took, once it has ended."""
    if run.started_at is None or run.finished_at is None:
        return None
    return float((run.finished_at - run.started_at).total_seconds())


def under_way(plan: Plan, now: datetime) -> list[Under]:
    """Return what is waiting or running for a plan, in three queries."""
    restores, into = Restore.objects.active().of_plan(plan), "Restoring into the place that was named"
    return [
        *(progress(run, f"Backing up {plan.name}", "backup-stop", "backup", now) for run in plan.backups.active()),
        *(
            progress(run, "Testing a restore", "restore-test-stop", "restore-test", now)
            for run in plan.restore_tests.active()
        ),
        *(progress(run, into, "restore-stop", "restore", now) for run in restores),
    ]


def progress(run: AnyRun, what: str, stop: str, page: str, now: datetime) -> Under:
    """Return where a run is: stage, bytes, rate and time left as far as they are known."""
    waiting = run.state == State.WAITING
    done, total = run.bytes_done or 0, run.bytes_total
    spent = (now - run.stage_at).total_seconds() if run.stage_at else 0.0
    rate = done / spent if done and spent > 1 else None
    parts = [words.size(done) + (f" of {words.size(total)}" if total else "")] if done else []
    if rate:
        parts.append(words.rate(rate))
    left = ""
    if rate and total and total > done:
        left = f"about {words.took(max((total - done) / rate, 1))} left"
    stage = "Waiting for a worker" if waiting else (run.stage.capitalize() or "Starting")
    share = min(done / total * 100, 100.0) if total else None
    return Under(str(run.pk), what, stop, page, waiting, stage, ", ".join(parts), share, left)


def totals(plan: Plan) -> dict[str, Any]:
    """Return how many backups are kept, how large they are together, and how old the oldest is."""
    found = plan.backups.good().order_by().aggregate(number=Count("pk"), size=Sum("size"), oldest=Min("taken_at"))
    return dict(found)


def tally(plan: Plan, now: datetime) -> str:
    """Return what became of the runs of the last thirty days, in one sentence."""
    since = now - timedelta(days=30)
    failed = Count("pk", filter=Q(state=State.FAILED))
    backups = plan.backups.since(since).order_by().aggregate(number=Count("pk"), failed=failed)
    bad = Count("pk", filter=Q(state=State.FAILED) | Q(verdict="failed"))
    tests = plan.restore_tests.since(since).order_by().aggregate(number=Count("pk"), failed=bad)
    number, broke = backups["number"] + tests["number"], backups["failed"] + tests["failed"]
    if not number:
        return "No runs in the last 30 days."
    start = f"{words.plural(number, 'run')} in 30 days."
    return f"{start} None failed." if not broke else f"{start} {broke:,} failed."


def keep_of(plan: Plan) -> Keep:
    """Return the retention of a plan."""
    return Keep(plan.keep_daily, plan.keep_weekly, plan.keep_monthly, plan.keep_yearly)


def shelves(plan: Plan, now: datetime) -> list[Shelf]:
    """Return what is kept now: for each period how many of how many places are filled."""
    keep = keep_of(plan)
    points = [
        Point(str(pk), taken_at, proven_at is not None)
        for pk, taken_at, proven_at in plan.backups.good().values_list("pk", "taken_at", "proven_at")[:2000]
        if taken_at is not None
    ]
    marks = kept(points, keep, plan.time_zone, now)
    found = []
    for name, unit in _BACK.items():
        most = keep.count(name)
        if most:
            have = sum(name in reasons for reasons in marks.values())
            back = words.plural(most, unit)
            found.append(Shelf(name.capitalize(), have, min(have, _DOTS), max(min(most, _DOTS) - have, 0), back))
    return found


def trend(plan: Plan, zone: tzinfo) -> SafeString | str:
    """Return the chart of how long the proven restores took, or nothing below two."""
    rows = list(
        plan.restore_tests.measured().values_list("created_at", "restore_seconds")[:TREND]
    )[::-1]
    if len(rows) < 2:
        return ""
    values = [float(took) for _, took in rows]
    goal = plan.goal_back.total_seconds() if plan.goal_back else None
    high = max([*values, *([goal] if goal else [])])
    said = f"Restore time of {len(rows)} proven tests: first {words.took(values[0])}, now {words.took(values[-1])}"
    if goal:
        said += f", goal {words.took(goal)}"
    return charts.line(
        "Each proven test",
        values,
        said=said,
        now=words.took(values[-1]),
        words=[f"{words.day(at, zone)}: {words.took(took)}" for at, took in rows],
        marks=[(0, "0"), (high / 2, words.took(high / 2))] + ([] if goal else [(high, words.took(high))]),
        limit=(goal, "goal") if goal else None,
        below=[words.day(rows[0][0], zone), words.day(rows[-1][0], zone)],
    )


def latest_proof(plan: Plan) -> RestoreTest | None:
    """Return the newest test that came to a verdict, for the ladder."""
    found = list(plan.restore_tests.settled().defer("compared", "log")[:1])
    return found[0] if found else None


def would_lose(plan: Plan, now: datetime) -> timedelta | None:
    """Return what would be lost at most if the source were gone now: the age of the newest proven data."""
    return now - plan.proven_taken_at if plan.proven_taken_at else None
