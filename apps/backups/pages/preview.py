"""What the form says while it is typed: the plan in plain words, the next five runs, and what would be kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from apps.backups import retention
from apps.backups.forms import PlanForm, SourceForm, StoreForm
from apps.backups.forms.plan import PROVE_DEFAULT
from apps.backups.models import Source
from apps.backups.retention import Keep
from apps.backups.schedule import ScheduleError, check_zone, clock_note, upcoming, widest_gap, zone_words
from apps.backups.schedule import words as schedule_words
from apps.core import words

NEXT = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the picture: where it stands (per cent from the left, today at the right) and what keeps it."""

    left: float
    height: int  # pixels: the longer the period, the higher


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview beside the form."""

    said: str
    runs: list[tuple[str, str, str]]  # day, time, and what a change of the clock does to it, in the plan's zone
    zone: str
    trouble: str
    bars: list[Bar]
    kept: int
    kept_said: str  # a whole sentence
    picture_said: str  # of the picture, for who cannot see it
    reach: str
    lose: str  # until the next proof
    newest: str  # of it, what only an unproven backup holds
    goal_missed: str


def preview(plan: PlanForm, source: SourceForm, store: StoreForm, now: datetime) -> Preview:
    """Return what the plan would do. The forms were validated, and need not be valid."""
    tz = plan.got("time_zone") if "time_zone" not in plan.errors else ""
    days = plan.cleaned_data.get("prove_days") or PROVE_DEFAULT
    schedule, keep = plan.schedule, plan.keep()
    trouble, runs, lose, newest, missed = "", [], "", "", ""
    try:
        check_zone(tz)
    except ScheduleError as error:
        trouble = str(error)
    if schedule is None:
        names = ("freq", "minute", "time", "weekdays", "day", "cron")
        trouble = next((plan.error(name) for name in names if plan.error(name)), "Choose when to back up.")
    if schedule is not None and not trouble:
        zone = ZoneInfo(tz)
        for moment in upcoming(schedule, tz, now, NEXT):
            local = moment.astimezone(zone)
            day = f"{local:%a} {local.day} {local:%b}"
            runs.append((day, f"{local:%H:%M}", clock_note(schedule, tz, moment)))
        gap = widest_gap(schedule, tz, now)
        most = gap + timedelta(days=days)
        lose, newest = words.took(most), words.took(gap)
        goal = plan.goal("loss")
        if goal and most > goal:
            more = "Back up" if gap > goal else "Prove"
            missed = f"More than your goal of {words.took(goal)}. {more} more often, or change the goal."
    when = (
        schedule_words(schedule, tz) if schedule is not None and not trouble else "On a schedule that is not complete"
    )
    said = (
        f"{when}, {_does(source)}, encrypt it, and store it {_where(store)}. "
        f"{plan.prove_choices[days].capitalize()}, restore it and compare it with what was backed up."
    )
    marks = retention.picture(keep)
    return Preview(
        said=said,
        runs=runs,
        zone=zone_words(tz) if tz and not trouble else "",
        trouble=trouble,
        bars=_bars(marks),
        kept=len(marks),
        kept_said=_kept_said(keep, len(marks)),
        picture_said=f"{retention.words(keep)}, spaced wider the further back they go",
        reach=_reach(retention.reach(keep)),
        lose=lose,
        newest=newest,
        goal_missed=missed,
    )


def _does(source: SourceForm) -> str:
    kind = source.chosen.kind if source.chosen else source.got("kind") or Source.Kind.POSTGRESQL
    field = "database" if kind == Source.Kind.POSTGRESQL else "path"
    name = str(source.chosen) if source.chosen else source.got(field)
    what = {Source.Kind.POSTGRESQL: "dump", Source.Kind.SQLITE: "copy", Source.Kind.DIRECTORY: "pack"}.get(
        Source.Kind(kind), "dump"
    )
    thing = {Source.Kind.POSTGRESQL: "the database", Source.Kind.SQLITE: "the file"}.get(
        Source.Kind(kind), "the folder"
    )
    return f"{what} {name or thing}"


def _where(store: StoreForm) -> str:
    if store.chosen:
        return f"in {store.chosen}"
    if store.got("kind") == "local":
        return f"in {store.got('path') or 'a local folder'}"
    return f"in the bucket {store.got('bucket')}" if store.got("bucket") else "in your bucket"


def _kept_said(keep: Keep, most: int) -> str:
    if not any(keep.count(name) for name in retention.MOST):
        return f"{retention.NONE_KEPT} Write at least one number."
    return (
        f"Up to {words.plural(most, 'backup')}: {retention.words(keep)}. One backup can be several of these. "
        "The newest and the last proven one always stay."
    )


def _bars(marks: tuple[retention.Mark, ...]) -> list[Bar]:
    """Return the picture: today on the right, the further back the closer together, so that a year fits."""
    oldest = max(marks[-1].age_days, 1)
    heights = {"newest": 18, "daily": 18, "weekly": 24, "monthly": 31, "yearly": 36}
    step = 2.2  # per cent: bars never touch
    bars: list[Bar] = []
    for mark in marks[:60]:
        left = 97 - 92 * (mark.age_days / oldest) ** 0.42
        if bars:
            left = min(left, bars[-1].left - min(step, 92 / len(marks)))
        bars.append(Bar(round(max(left, 1), 2), heights[mark.period]))
    return bars


def _reach(span: timedelta) -> str:
    days = span.days
    if days >= 730:
        return words.plural(days // 365, "year")
    if days >= 60:
        return words.plural(round(days / 30.4), "month")
    if days >= 14:
        return words.plural(days // 7, "week")
    return words.plural(days, "day") if days else "only the newest"
