"""Incidents: opened once per cause, told when their patience is over, closed when mended."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce

from apps.alerts import outbox
from apps.alerts.models import Incident, Message
from apps.alerts.problem import Problem

log = logging.getLogger(__name__)

BACK_WITHIN = timedelta(hours=3)  # trouble that returns so soon after mending is the same incident, flapping
HOLD_FIRST = timedelta(minutes=10)  # how long the first return must stay healthy before it counts as mended; doubles
HOLD_MOST = timedelta(hours=6)
REMIND_EVERY = timedelta(days=1)


def report(
    *, problem: Problem, subject_key: str, subject: str, url: str, healthy: bool, said: str = "", now: datetime
) -> Incident | None:
    """Say how one subject stands with one problem; opens, refreshes or closes its one incident.

    `subject_key` names the subject for ever ("backups.plan:<id>"), `subject` is its name for people, `url` its page,
    `said` one sentence on what is wrong now. Safe from several workers at once. Returns the incident that is open
    after the call or was closed by it; None when all is well. Raises ValueError for trouble without a sentence.
    """
    if not healthy and not said:
        raise ValueError(f"{problem.code}: trouble needs a sentence that says what is wrong")
    mine = Incident.objects.of(problem.code, subject_key)
    if healthy and not mine.live().exists():
        return None
    with transaction.atomic():
        incident: Incident | None = mine.live().select_for_update().first()
        if healthy:
            return incident and _mended(incident, now)
        facts = {
            "severity": problem.severity.value,
            "subject": subject[:120],
            "url": url[:200],
            "title": problem.title.format(subject=subject[:120])[:200],
            "said": said,
            "advice": problem.advice,
            "quiet_while": list(problem.depends_on),
        }
        if incident is None:
            incident = _begin(problem, subject_key, facts, now)
        changed = {name: value for name, value in facts.items() if getattr(incident, name) != value}
        if incident.mended_at:
            changed["mended_at"] = None
        if changed:
            for name, value in changed.items():
                setattr(incident, name, value)
            incident.save(update_fields=list(changed))
        if incident.told_at is None and incident.tell_at <= now:
            _tell(incident, now)
        return incident


def watch(now: datetime) -> None:
    """Tell what waited out its patience, close what stayed mended, remind of what nobody took."""
    _each(Incident.objects.to_tell(now), _tell, now)
    _each(Incident.objects.to_close(), _mended_for_good, now)
    _each(Incident.objects.told_to_nobody(), _tell_late, now)
    _each(Incident.objects.to_remind(now, REMIND_EVERY), _remind, now)


def open_causes() -> set[tuple[str, str]]:
    """Return (code, subject key) of everything not closed, so that a caller need not report each healthy thing."""
    return set(Incident.objects.live().values_list("code", "subject_key"))


def forget(*, subject_key: str, now: datetime) -> None:
    """Close whatever is open on a subject that was removed; the channels that were told hear of it."""
    with transaction.atomic():
        for incident in Incident.objects.live().filter(subject_key=subject_key):
            _close(incident, now)


def _each(rows: Iterable[Incident], act: Callable[[Incident, datetime], object], now: datetime) -> None:
    for row in rows:
        try:
            with transaction.atomic():
                locked = Incident.objects.live().select_for_update().filter(pk=row.pk).first()
                if locked is not None:
                    act(locked, now)
        except Exception:  # noqa: BLE001 one bad row must not keep the others untold; it is tried again at the next tick
            log.exception("incident %s: %s failed", row.pk, act.__name__)


def _begin(problem: Problem, subject_key: str, facts: dict[str, object], now: datetime) -> Incident:
    """Open the incident or the next spell of one just closed; a worker that lost the race gets the winner's."""
    mine = Incident.objects.of(problem.code, subject_key)
    last = mine.visible().filter(closed_at__gte=now - BACK_WITHIN).order_by("-closed_at").first()
    try:
        with transaction.atomic():
            if last is None:
                return Incident.objects.create(
                    code=problem.code, subject_key=subject_key, seen_at=now, tell_at=now + problem.patience, **facts
                )
            mine.filter(pk=last.pk, closed_at=last.closed_at).update(
                closed_at=None,
                closed_by=None,
                mended_at=None,
                told_at=None,
                reminded_at=None,
                acknowledged_at=None,
                acknowledged_by=None,
                tell_at=now + problem.patience,
                spell=last.spell + 1,
            )
    except IntegrityError:
        log.debug("%s %s: opened by another worker", problem.code, subject_key)
    winner: Incident = mine.live().select_for_update().get()
    return winner


def _tell(incident: Incident, now: datetime) -> None:
    """Tell every channel of this spell, once, unless an open cause of the same subject explains it."""
    if incident.quiet_while:
        causes = Incident.objects.live().filter(subject_key=incident.subject_key, code__in=incident.quiet_while)
        if causes.exists():
            return
    untold = Incident.objects.live().filter(pk=incident.pk, spell=incident.spell, told_at=None)
    if untold.update(told_at=now, opened_at=Coalesce("opened_at", now)):
        incident.refresh_from_db()
        outbox.write(incident, kind=Message.Kind.OPENED, now=now)


def _tell_late(incident: Incident, now: datetime) -> None:
    """Tell channels that were added after an incident opened with nobody to tell."""
    outbox.write(incident, kind=Message.Kind.OPENED, now=now)


def _remind(incident: Incident, now: datetime) -> None:
    same = Incident.objects.to_remind(now, REMIND_EVERY).filter(pk=incident.pk)
    if same.update(reminded_at=now):
        outbox.write(incident, kind=Message.Kind.REMINDER, now=now)


def _hold(spell: int) -> timedelta:
    """Return how long the trouble must stay away before its incident closes: nothing the first time, then longer."""
    return min(HOLD_FIRST * 2 ** min(spell - 1, 10), HOLD_MOST) if spell else timedelta(0)


def _mended(incident: Incident, now: datetime) -> Incident | None:
    """Close what is healthy, at once the first time, after a calm while when it flaps."""
    if incident.opened_at is None:
        incident.delete()  # gone before its patience was over: nobody was told and nothing happened
        return None
    if incident.told_at is not None and now - (incident.mended_at or now) < _hold(incident.spell):
        if incident.mended_at is None:
            incident.mended_at = now
            incident.save(update_fields=["mended_at"])
        return incident
    return _close(incident, now)


def _mended_for_good(incident: Incident, now: datetime) -> None:
    if incident.mended_at is not None:  # it may have come back since the list was read
        _mended(incident, now)


def _close(incident: Incident, now: datetime) -> Incident:
    told = incident.told_at is not None
    if Incident.objects.live().filter(pk=incident.pk).update(closed_at=now, mended_at=None):
        incident.closed_at, incident.mended_at = now, None
        if told:
            outbox.write(incident, kind=Message.Kind.CLOSED, now=now)
    return incident
