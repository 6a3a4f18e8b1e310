"""The form of a plan: when, how long to keep, how often to prove, the goals, and who owns it."""

import datetime as dt
import re
from datetime import timedelta
from typing import Any, ClassVar

from django import forms

from apps.backups import retention
from apps.backups.forms.base import Form, choice, text, whole
from apps.backups.forms.source import as_uuid
from apps.backups.models import Plan, Source, Store
from apps.backups.retention import Keep
from apps.backups.schedule import KINDS, LAST_DAY, Schedule, ScheduleError, check_zone
from apps.backups.services import PlanSpec
from apps.people.models import Person

PROVE_DAYS = {1: "every day", 7: "every week", 14: "every two weeks", 30: "every month", 90: "every three months"}
PROVE_DEFAULT = 1  # a daily plan proven weekly would know of nothing younger than eight days that it comes back
UNITS = {"minutes": timedelta(minutes=1), "hours": timedelta(hours=1), "days": timedelta(days=1)}
_TIME = re.compile(r"^([01]?[0-9]|2[0-3])[:.]([0-5][0-9])$")
_FIELDS = {
    "time": "time",
    "weekdays": "weekdays",
    "minute": "minute",
    "day": "day",
    "expression": "cron",
    "kind": "freq",
}


class PlanForm(Form):
    """All of a plan but its source and store. `person` gives the time zone and the owner to begin with."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    name = text(80)
    freq = choice(*KINDS, initial="days")
    minute = whole(0, 59, 5)
    time = text(5)
    weekdays = forms.TypedMultipleChoiceField(
        required=False,
        coerce=int,
        choices=[(str(day), str(day)) for day in range(7)],
        error_messages={"invalid_choice": "Choose days from Monday to Sunday."},
    )
    day = text(4)
    cron = text(200)
    time_zone = text(64)
    keep_daily = whole(0, retention.MOST["daily"], 7)
    keep_weekly = whole(0, retention.MOST["weekly"], 4)
    keep_monthly = whole(0, retention.MOST["monthly"], 12)
    keep_yearly = whole(0, retention.MOST["yearly"], 0)
    lock_days = whole(0, 3650, 0)
    prove_days = forms.TypedChoiceField(
        required=False,
        coerce=int,
        empty_value=None,
        initial=PROVE_DEFAULT,
        choices=[(str(days), said) for days, said in PROVE_DAYS.items()],
        error_messages={"invalid_choice": "Choose how often to test a restore."},
    )
    loss = whole(1, 10_000)
    loss_unit = choice(*UNITS, initial="hours")
    back = whole(1, 10_000)
    back_unit = choice(*UNITS, initial="hours")
    owner = text(40)

    def __init__(self, *args: Any, person: Person, known: Plan | None = None, **kwargs: Any) -> None:
        """Start from the plan that is being changed, or from what suits most."""
        self.known = known
        self._schedule: Schedule | None = None
        kwargs["initial"] = _initial(known) if known else {
            "time": "02:05", "weekdays": list(range(7)), "day": "1", "cron": "5 2 * * *",
            "time_zone": person.time_zone, "owner": str(person.pk),
        }  # fmt: skip
        kwargs["prefix"] = "plan"
        super().__init__(*args, **kwargs)
        self.prove_choices = dict(PROVE_DAYS)
        if known and known.prove_every.days not in PROVE_DAYS:
            days = max(known.prove_every.days, 1)
            self.prove_choices[days] = f"every {days} days"
            self.fields["prove_days"].choices = [(str(days), said) for days, said in self.prove_choices.items()]  # type: ignore[attr-defined]  # it is a choice field

    def check(self) -> None:
        """Look at the schedule, the owner and the goals."""
        self._take_schedule()
        try:
            check_zone(self.got("time_zone"))
        except ScheduleError as error:
            self.put("time_zone", str(error))
        for name in ("keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "lock_days"):
            if self.cleaned_data.get(name) is None:
                self.cleaned_data[name] = 0
        if not self.errors and not any(self.keep().count(name) for name in retention.MOST):
            self.put("keep_daily", f"{retention.NONE_KEPT} Write at least one number.")
        if self.got("owner") and self.chosen_owner() is None:
            self.put("owner", "This person has left. Choose an owner who is still here.")

    def _take_schedule(self) -> None:
        kind = self.got("freq") or "days"
        try:
            if kind == "hourly":
                if "minute" in self.errors:
                    return
                minute = self.cleaned_data.get("minute")
                self._schedule = Schedule.hourly(minute or 0)
            elif kind == "cron":
                self._schedule = Schedule.cron(self.got("cron"))
            else:
                at = self._time()
                if at is None:
                    return
                if kind == "days":
                    if "weekdays" in self.errors:
                        return
                    self._schedule = Schedule.days(at, tuple(sorted(self.cleaned_data.get("weekdays") or ())))
                else:
                    day = self.got("day")
                    self._schedule = Schedule.monthly(LAST_DAY if day == "last" else int(day or 0), at)
        except ScheduleError as error:
            self.put(_FIELDS.get(error.field, "freq"), str(error))
        except ValueError:
            self.put("day", "Choose a day from 1 to 31, or the last day.")

    def _time(self) -> dt.time | None:
        found = _TIME.match(self.got("time"))
        if not found:
            self.put("time", "Write the time as hours and minutes of a 24-hour clock, for example 02:05.")
            return None
        return dt.time(int(found[1]), int(found[2]))

    @property
    def schedule(self) -> Schedule | None:
        """Return the schedule, when it can run."""
        return self._schedule

    def keep(self) -> Keep:
        """Return the retention; what was not understood counts as nought."""
        data = self.cleaned_data
        return Keep(*(data.get(f"keep_{name}") or 0 for name in retention.MOST))

    def goal(self, name: str) -> timedelta | None:
        """Return a goal, "loss" or "back"; None when there is none."""
        amount = self.cleaned_data.get(name)
        return amount * UNITS[self.got(f"{name}_unit") or "hours"] if amount else None

    def chosen_owner(self) -> Person | None:
        """Return who owns the plan: an active person, or nobody."""
        id_ = as_uuid(self.got("owner"))
        found: Person | None = Person.objects.active().filter(pk=id_).first() if id_ else None
        return found

    def title(self, source: Source | str) -> str:
        """Return the name that was given, or the source's."""
        return self.got("name") or str(source)[:80]

    def spec(self, *, source: Source, store: Store) -> PlanSpec:
        """Return what the service takes. Call it only when the form is valid."""
        if self._schedule is None:
            raise ValueError("the form is not valid")
        keep = self.keep()
        return PlanSpec(
            name=self.title(source),
            source=source,
            store=store,
            owner=self.chosen_owner(),
            schedule=self._schedule,
            time_zone=self.got("time_zone"),
            keep_daily=keep.daily,
            keep_weekly=keep.weekly,
            keep_monthly=keep.monthly,
            keep_yearly=keep.yearly,
            lock_days=self.cleaned_data["lock_days"],
            prove_every=timedelta(days=self.cleaned_data.get("prove_days") or PROVE_DEFAULT),
            goal_loss=self.goal("loss"),
            goal_back=self.goal("back"),
        )


def _initial(plan: Plan) -> dict[str, Any]:
    try:
        schedule = Schedule.from_json(plan.schedule)
    except ScheduleError:  # written by another hand: the form offers the usual one instead
        schedule = Schedule.days(dt.time(2, 5))
    initial: dict[str, Any] = {
        "name": plan.name,
        "freq": schedule.kind,
        "minute": schedule.minute,
        "time": f"{schedule.at:%H:%M}",
        "weekdays": list(schedule.weekdays),
        "day": "last" if schedule.day == LAST_DAY else str(schedule.day),
        "cron": schedule.expression or "5 2 * * *",
        "time_zone": plan.time_zone,
        "keep_daily": plan.keep_daily,
        "keep_weekly": plan.keep_weekly,
        "keep_monthly": plan.keep_monthly,
        "keep_yearly": plan.keep_yearly,
        "lock_days": plan.lock_days,
        "prove_days": plan.prove_every.days or 1,
        "owner": str(plan.owner_id or ""),
    }
    for name, goal in (("loss", plan.goal_loss), ("back", plan.goal_back)):
        if goal:
            unit = next(unit for unit in ("days", "hours", "minutes") if goal % UNITS[unit] == timedelta())
            initial |= {name: goal // UNITS[unit], f"{name}_unit": unit}
    return initial
