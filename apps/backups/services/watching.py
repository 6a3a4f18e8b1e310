"""Looking: what each plan stands at, told to alerts; and when each store is to be looked at."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.urls import reverse

from apps.alerts import services as alerts
from apps.backups import cipher, judge, problems
from apps.backups.facts import Trouble
from apps.backups.judge import Ended, PlanFacts, Taken
from apps.backups.models import Backup, Inspection, Leftover, Plan, RestoreTest, Store
from apps.backups.notices import merged
from apps.backups.schedule import Schedule, following
from apps.backups.services.recovery import key_is_proven
from apps.core.claims import Verdict
from apps.core.runs import State, ring

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=1)  # how often a plan is judged when nothing happens to it
AT_ONCE = 200
LEFT_TOO_LONG = timedelta(hours=1)


def watch(now: datetime) -> None:
    """Judge the plans that are due for it, tell alerts what changed, and ask for the looks at stores that are due."""
    due = list(Plan.objects.to_judge(now)[:AT_ONCE])
    open_causes = alerts.open_causes()
    held = _held_keys()
    for plan in due:
        try:
            judge_plan(plan, now=now, held=held, open_causes=open_causes)
        except Exception:  # one plan that cannot be judged must not leave the others unjudged
            log.exception("plan %s could not be judged", plan.pk)
    ask_inspections(now)
    _tell_house(now, open_causes)


def judge_plan(
    plan: Plan, *, now: datetime, held: frozenset[str] | None = None, open_causes: set[tuple[str, str]] | None = None
) -> Verdict:
    """Judge one plan, write its standing when it changed, and tell alerts what is wrong and what was mended."""
    _mend_next(plan, now)
    facts = facts_of(plan, held=held)
    found = judge.faults(facts, now)
    verdict, said = judge.verdict(facts, found, now)
    troubles = [fault.to_json() for fault in found]
    fields: dict[str, Any] = {"judge_at": now + EVERY}
    if plan.verdict != verdict.value:
        fields |= {"verdict": verdict.value, "verdict_since": now}
    if plan.verdict_said != said:
        fields["verdict_said"] = said
    if plan.troubles != troubles:
        fields["troubles"] = troubles
    # A judgement made from what was there before a run settled must not push back the one that the run asked for.
    Plan.objects.filter(pk=plan.pk, judge_at=plan.judge_at).update(**fields)
    for name, value in fields.items():
        setattr(plan, name, value)
    alerts.report_each(
        problems=problems.PROBLEMS,
        said={fault.code: f"{fault.said} {fault.todo}".strip() for fault in found},
        subject_key=subject_key(plan),
        subject=plan.name,
        url=plan.url,
        open_causes=alerts.open_causes() if open_causes is None else open_causes,
        now=now,
    )
    return verdict


def judge_now(plan_id: object, *, now: datetime) -> None:
    """Judge a plan inside the transaction that settles its run, so that its page and its incident agree at once.

    A plan that cannot be judged does not undo what was settled: the next tick tries again, because `judge_at` is due.
    """
    plan = Plan.objects.for_judge().filter(pk=plan_id).first()
    if plan is None:
        return  # removed meanwhile: nothing is claimed of it
    try:
        with transaction.atomic():
            judge_plan(plan, now=now)
    except Exception:
        log.exception("plan %s could not be judged when its run settled", plan_id)


def _mend_next(plan: Plan, now: datetime) -> None:
    """Set the next moment right when it was lost, or set while the clock was wrong: a plan never stops by itself."""
    if plan.paused_at is not None or plan.removed_at is not None:
        return
    right = following(Schedule.from_json(plan.schedule), plan.time_zone, now)
    if plan.next_due_at is None or plan.next_due_at > right:
        seen = Plan.objects.filter(pk=plan.pk, paused_at=None, next_due_at=plan.next_due_at)
        if seen.update(next_due_at=right):
            log.warning("plan %s had lost its next moment; it is due at %s", plan.pk, right)
            plan.next_due_at = right


def subject_key(plan: Plan) -> str:
    """Return what names the plan to alerts for ever."""
    return f"backups.plan:{plan.pk}"


def _held_keys() -> frozenset[str]:
    try:
        return frozenset({cipher.recipient()})
    except Trouble:
        return frozenset()


def facts_of(plan: Plan, *, held: frozenset[str] | None = None) -> PlanFacts:
    """Fetch what the judgement of one plan needs: a handful of small queries, each by an index."""
    held = _held_keys() if held is None else held
    recent = list(plan.backups.good().defer("manifest", "log", "timings")[: judge.HISTORY + 1])
    last = plan.backups.ended().defer("manifest", "log", "timings").first()
    active = plan.backups.active().only("created_at", "state").first()
    test = (
        plan.restore_tests.settled()
        .select_related("backup")
        .defer("compared", "rungs", "log", "backup__manifest")
        .first()
    )
    lost = list(plan.backups.lost_since(plan.proven_taken_at).values_list("lost_at", "lost_why", "taken_at"))
    why = {row[1] for row in lost}
    return PlanFacts(
        name=plan.name,
        schedule=Schedule.from_json(plan.schedule),
        time_zone=plan.time_zone,
        expected_from=plan.expected_from,
        prove_every=plan.prove_every,
        source=plan.source.name,
        store=plan.store.name,
        source_domain=plan.source.domain,
        store_domain=plan.store.domain,
        owner=str(plan.owner) if plan.owner else "",
        owner_active=bool(plan.owner and plan.owner.is_active),
        paused_at=plan.paused_at,
        goal_loss=plan.goal_loss,
        goal_back=plan.goal_back,
        good=tuple(_taken(backup, backup.taken_at, held) for backup in recent if backup.taken_at),
        last=Ended(last.slot, last.error, "failed" if last.state == State.FAILED else "done") if last else None,
        active_since=active.created_at if active else None,
        active_waits=bool(active and active.state == State.WAITING),
        lost=len(lost),
        lost_at=min((row[0] for row in lost), default=None),
        lost_said=_lost_said(why),
        test=_ended(test) if test else None,
        proven_at=plan.proven_at,
        proven_taken_at=plan.proven_taken_at,
        proven_seconds=plan.proven_seconds,
        store_trouble=plan.store.trouble,
        unreadable=sum(1 for backup in recent if not _opens(backup, held)),
        noticed=_noticed(recent),
    )


def _noticed(recent: list[Backup]) -> tuple[tuple[str, str, str], ...]:
    told = merged(recent[0].notices) if recent else []
    return tuple((one["code"], one["said"], one["todo"]) for one in told)


def _opens(backup: Backup, held: frozenset[str]) -> bool:
    return bool(held & set(backup.recipients))


def _taken(backup: Backup, taken_at: datetime, held: frozenset[str]) -> Taken:
    ran = (backup.finished_at - backup.started_at).total_seconds() if backup.finished_at and backup.started_at else 0.0
    return Taken(
        taken_at=taken_at,
        slot=backup.slot,
        size=backup.size or 0,
        members=backup.members or 0,
        rows=backup.rows or 0,
        seconds=max(ran, 0.0),
        proven=backup.proven_at is not None,
        readable=_opens(backup, held),
    )


def _ended(test: RestoreTest) -> Ended:
    return Ended(
        test.finished_at or test.created_at,
        test.said,
        test.verdict,
        test.plan.failed_rung if test.verdict == "failed" else None,
    )


def _lost_said(why: set[str]) -> str:
    said = {
        "missing": "the store does not list it any more.",
        "size": "the store lists another size than was sent.",
        "version": "it was written over.",
        "digest": "its bytes differ from what was sent.",
    }
    return " And ".join(said[reason] for reason in sorted(why) if reason in said)


def ask_inspections(now: datetime) -> None:
    """Make the look at each store due again an hour after the last: one row a store, used again and again."""
    used = Store.objects.filter(
        Q(plans__removed_at=None, plans__isnull=False) | Q(backups__pruned_at=None, backups__state="done")
    )
    for store in used.filter(inspection=None).distinct()[:AT_ONCE]:
        try:
            with transaction.atomic():
                ring(Inspection.objects.create(store=store, due_at=now, created_at=now))
        except IntegrityError:
            continue  # another tick made it
    due = Q(finished_at__lte=now - Inspection.every) | Q(
        finished_at__gt=now + Inspection.every
    )  # or the clock was wrong
    ended = Inspection.objects.ended().filter(due, store__removed_at=None)
    for inspection in ended[:AT_ONCE]:
        with transaction.atomic():
            again = ended.filter(pk=inspection.pk)
            if again.update(state=State.WAITING, due_at=now, attempt=0, lease_until=None):
                ring(inspection)


def _tell_house(now: datetime, open_causes: set[tuple[str, str]]) -> None:
    """Tell what concerns no plan: the recovery key, and what could not be removed."""
    key = "backups.recovery_key:"
    proven = key_is_proven()
    if not proven or (problems.RECOVERY_KEY.code, key) in open_causes:
        alerts.report(
            problem=problems.RECOVERY_KEY,
            subject_key=key,
            subject="Recovery key",
            url=reverse("recovery-key"),
            healthy=proven,
            said="Nobody has shown that the recovery key is kept outside this machine; without it no backup opens.",
            now=now,
        )
    left = list(Leftover.objects.filter(removed_at=None, deadline__lte=now - LEFT_TOO_LONG)[:20])
    if left or (problems.LEFTOVER.code, "backups.leftover:") in open_causes:
        many = f", and {len(left) - 1} more" if len(left) > 1 else ""
        alerts.report(
            problem=problems.LEFTOVER,
            subject_key="backups.leftover:",
            subject="Mainstay",
            url=reverse("backups"),
            healthy=not left,
            said=f"{left[0].kind} {left[0].where} should have been removed by now{many}." if left else "",
            now=now,
        )
