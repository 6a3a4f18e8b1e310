"""Making, changing, pausing, resuming and removing plans."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from apps.alerts import services as alerts
from apps.backups.models import Plan, Source, Store
from apps.backups.retention import NONE_KEPT
from apps.backups.schedule import Schedule, ScheduleError, check_zone, following
from apps.backups.services.forgetting import no_proof
from apps.core.refused import Refused
from apps.core.runs import State
from apps.people.models import Person
from apps.people.services import record


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """What a person decides about a plan. Times are in the plan's own time zone; nothing here is secret."""

    name: str
    source: Source
    store: Store
    owner: Person | None
    schedule: Schedule
    time_zone: str = "UTC"
    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 12
    keep_yearly: int = 0
    prove_every: timedelta = timedelta(days=1)
    lock_days: int = 0
    goal_loss: timedelta | None = None  # the most data that may be lost (RPO)
    goal_back: timedelta | None = None  # back within (RTO)

    def fields(self) -> dict[str, Any]:
        """Return the columns of a plan."""
        return {
            "name": self.name,
            "source": self.source,
            "store": self.store,
            "owner": self.owner,
            "schedule": self.schedule.to_json(),
            "time_zone": self.time_zone,
            "keep_daily": self.keep_daily,
            "keep_weekly": self.keep_weekly,
            "keep_monthly": self.keep_monthly,
            "keep_yearly": self.keep_yearly,
            "prove_every": self.prove_every,
            "lock_days": self.lock_days,
            "goal_loss": self.goal_loss,
            "goal_back": self.goal_back,
        }


def _check(spec: PlanSpec) -> None:
    if not spec.name.strip():
        raise Refused("Give the plan a name.", field="name")
    if not (spec.keep_daily or spec.keep_weekly or spec.keep_monthly or spec.keep_yearly):
        raise Refused(f"{NONE_KEPT} Write at least one number.", field="keep_daily")
    if not timedelta(hours=1) <= spec.prove_every <= timedelta(days=366):
        raise Refused("Test a restore at least once a year and at most once an hour.", field="prove_every")
    try:
        spec.schedule.validate()
        check_zone(spec.time_zone)
    except ScheduleError as error:
        raise Refused(str(error), field=error.field) from error
    if spec.owner is not None and not spec.owner.is_active:
        raise Refused(f"{spec.owner} has left. Choose an owner who is still here.", field="owner")


def plan(*, actor: Person | None, spec: PlanSpec, now: datetime) -> Plan:
    """Make a plan; its first backup is due at the schedule's next moment. Raises Refused."""
    _check(spec)
    new = Plan(
        **spec.fields(),
        created_at=now,
        expected_from=now,
        next_due_at=following(spec.schedule, spec.time_zone, now),
        verdict_since=now,
    )
    try:
        with transaction.atomic():
            new.save(force_insert=True)
            record(actor=actor, verb="backups.planned", subject=new.name, subject_id=str(new.pk), detail=_shown(spec))
    except IntegrityError as error:
        raise Refused(f"A plan called {spec.name} exists. Choose another name.", field="name") from error
    return new


def change_plan(*, actor: Person | None, plan: Plan, spec: PlanSpec, now: datetime) -> Plan:
    """Change a plan. Backups already taken stay where they are; a new schedule counts from now. Raises Refused."""
    _check(spec)
    before = {name: getattr(plan, name) for name in spec.fields()}
    after = spec.fields()
    changed = sorted(name for name in after if before[name] != after[name])
    for name, value in after.items():
        setattr(plan, name, value)
    touched = [*after]
    if {"schedule", "time_zone"} & set(changed):
        plan.expected_from = now
        plan.next_due_at = None if plan.paused_at else following(spec.schedule, spec.time_zone, now)
        touched += ["expected_from", "next_due_at"]
    if "source" in changed:
        # Proofs of another source say nothing about this one.
        for name, value in no_proof(now).items():
            setattr(plan, name, value)
        touched += no_proof(now)
    elif "store" in changed:
        # What the new store will hold was never restored: the first backup there is proven at once.
        plan.proof_due_at = now
        touched += ["proof_due_at"]
    elif "prove_every" in changed and plan.proven_at:
        plan.proof_due_at = plan.proven_at + plan.prove_every
        touched += ["proof_due_at"]
    try:
        with transaction.atomic():
            plan.save(update_fields=sorted(set(touched)))
            record(
                actor=actor,
                verb="backups.plan_changed",
                subject=plan.name,
                subject_id=str(plan.pk),
                detail={"changed": changed, **_shown(spec)},
            )
    except IntegrityError as error:
        raise Refused(f"A plan called {spec.name} exists. Choose another name.", field="name") from error
    return plan


def pause(*, actor: Person | None, plan: Plan, now: datetime) -> None:
    """Take no more backups until somebody resumes; what is there stays, and nothing is pruned meanwhile."""
    with transaction.atomic():
        if Plan.objects.filter(pk=plan.pk, paused_at=None).update(paused_at=now, next_due_at=None):
            record(actor=actor, verb="backups.paused", subject=plan.name, subject_id=str(plan.pk))
    plan.refresh_from_db(fields=["paused_at", "next_due_at"])


def resume(*, actor: Person | None, plan: Plan, now: datetime) -> None:
    """Take backups again, from the schedule's next moment on."""
    upcoming = following(Schedule.from_json(plan.schedule), plan.time_zone, now)
    with transaction.atomic():
        resumed = Plan.objects.filter(pk=plan.pk, paused_at__isnull=False)
        if resumed.update(paused_at=None, next_due_at=upcoming, expected_from=now):
            record(actor=actor, verb="backups.resumed", subject=plan.name, subject_id=str(plan.pk))
    plan.refresh_from_db(fields=["paused_at", "next_due_at", "expected_from"])


def remove_plan(*, actor: Person | None, plan: Plan, typed: str, now: datetime) -> str:
    """Remove a plan whose name was typed back; its backups stay in the store. Returns the sentence that says so."""
    if typed.strip() != plan.name:
        raise Refused(f"Type {plan.name} to remove this plan. Nothing was changed.", field="typed")
    kept = plan.backups.good().count()
    with transaction.atomic():
        removed = Plan.objects.filter(pk=plan.pk)
        if not removed.update(removed_at=now, next_due_at=None, proof_due_at=None):
            raise Refused(f"{plan.name} was already removed.")
        for kind in (plan.backups, plan.restore_tests):
            kind.active().update(state=State.FAILED, error="The plan was removed.", finished_at=now, lease_until=None)
        plan.backups.filter(error="The plan was removed.").update(trouble_code="stopped")
        alerts.forget(subject_key=f"backups.plan:{plan.pk}", now=now)
        record(actor=actor, verb="backups.plan_removed", subject=plan.name, subject_id=plan.pk, detail={"kept": kept})
    plan.removed_at = now
    if not kept:
        return f"{plan.name} was removed. It had no backups."
    count = "Its one backup stays" if kept == 1 else f"Its {kept:,} backups stay"
    return f"{plan.name} was removed. {count} in {plan.store} and can still be restored; nobody prunes them any more."


def _shown(spec: PlanSpec) -> dict[str, Any]:
    return {
        "source": spec.source.name,
        "store": spec.store.name,
        "owner": str(spec.owner or ""),
        "keep": [spec.keep_daily, spec.keep_weekly, spec.keep_monthly, spec.keep_yearly],
        "prove_every_s": int(spec.prove_every.total_seconds()),
    }
