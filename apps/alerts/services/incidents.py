"""Incidents: opened once per cause, told when their patience is over, closed when mended."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce

from apps.alerts.models import Channel, Incident, Message, Note
from apps.alerts.problem import Problem
from apps.alerts.problems import CANNOT_DELIVER, UNPROVEN
from apps.alerts.services import outbox
from apps.alerts.services.environment import follow_environment
from apps.core.claims import Claim, Need, Standing
from apps.core.words import ago, plural
from apps.people.models import Person
from apps.people.services import record

log = logging.getLogger(__name__)

BACK_WITHIN = timedelta(hours=3)  # trouble that returns so soon after mending is the same incident, flapping
HOLD_FIRST = timedelta(minutes=10)  # how long the first return must stay healthy before it counts as mended; doubles
HOLD_MOST = timedelta(hours=6)
REMIND_EVERY = timedelta(days=1)
PROOF_LASTS = timedelta(days=90)  # how long a click on a test message proves a channel
CHANNELS_URL = "/channels/"


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
        facts: dict[str, Any] = {
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
        changed: dict[str, Any] = {name: value for name, value in facts.items() if getattr(incident, name) != value}
        if incident.mended_at:
            changed["mended_at"] = None
        if changed:
            for name, value in changed.items():
                setattr(incident, name, value)
            incident.save(update_fields=list(changed))
        if incident.told_at is None and incident.tell_at <= now:
            _tell(incident, now)
        return incident


def report_each(
    *,
    problems: Iterable[Problem],
    said: Mapping[str, str],
    subject_key: str,
    subject: str,
    url: str,
    open_causes: Collection[tuple[str, str]],
    now: datetime,
) -> None:
    """Say how one subject stands with several problems: `said` has a sentence for the code of each that is wrong.

    `open_causes` is what was open when the caller began, so that what is healthy and was healthy asks nothing.
    """
    for problem in problems:
        sentence = said.get(problem.code, "")
        if sentence or (problem.code, subject_key) in open_causes:
            report(
                problem=problem,
                subject_key=subject_key,
                subject=subject,
                url=url,
                healthy=not sentence,
                said=sentence,
                now=now,
            )


def watch(now: datetime) -> None:
    """Tell what waited out its patience, close what stayed mended, remind of what nobody took."""
    follow_environment(now)
    _look_for_proofs(now)
    _each(Incident.objects.to_tell(now), _tell, now)
    _each(Incident.objects.to_close(), _mended_for_good, now)
    for channel in Channel.objects.active():
        tell_channel(channel, now)
    _each(Incident.objects.to_remind(now, REMIND_EVERY), _remind, now)


def acknowledge(*, actor: Person, incident: Incident, note: str = "", now: datetime) -> bool:
    """Take an incident: reminders stop. False when somebody took it already or it is closed."""
    with transaction.atomic():
        free = Incident.objects.live().filter(pk=incident.pk, acknowledged_at=None)
        taken = bool(free.update(acknowledged_at=now, acknowledged_by=actor))
        if note:
            _write_note(actor, incident, note, now)
        if taken:
            record(actor=actor, verb="alerts.acknowledged", subject=incident.title, subject_id=incident.pk)
    return taken


def add_note(*, actor: Person, incident: Incident, text: str, now: datetime) -> None:
    """Write down what a person saw or did."""
    with transaction.atomic():
        _write_note(actor, incident, text, now)
        record(actor=actor, verb="alerts.noted", subject=incident.title, subject_id=incident.pk)


def close(*, actor: Person, incident: Incident, now: datetime) -> bool:
    """Close by a person's word. If it is still so, the next look opens it again; False when it was closed already."""
    with transaction.atomic():
        locked = Incident.objects.live().select_for_update().filter(pk=incident.pk).first()
        if locked is None:
            return False
        locked.closed_by = actor
        locked.save(update_fields=["closed_by"])
        _close(locked, now)
        record(actor=actor, verb="alerts.closed", subject=incident.title, subject_id=incident.pk)
    return True


def claims(now: datetime, kept: Sequence[Channel] | None = None) -> list[Claim]:
    """Return S10, "somebody is told": one line a channel, proven by a click that is young enough.

    `kept`, here and in `needs`, is every kept channel, for a caller that has asked already.
    """
    title = "Somebody is told"
    kept = list(Channel.objects.kept()) if kept is None else kept
    channels = [channel for channel in kept if channel.paused_at is None]
    if not channels:
        said = "Every channel is paused." if kept else "There is no channel."
        todo = "Add a channel, send a test and click its link."
        return [Claim("S10", title, "Mainstay", Standing.UNPROVEN, f"{said} Nobody would be told.", CHANNELS_URL, todo)]
    return [_claim(title, channel, now) for channel in channels]


def needs(now: datetime, kept: Sequence[Channel] | None = None) -> list[Need]:
    """Return what only a person can do about telling people."""
    kept = list(Channel.objects.kept()) if kept is None else kept
    channels = [channel for channel in kept if channel.paused_at is None]
    if not channels:
        said = "There is no channel in use. Mainstay sees trouble and can tell nobody."
        return [Need(1, "bad", "Nobody would be told", said, "Add a channel", CHANNELS_URL, action="alerts.channels")]
    found = []
    for channel in channels:
        url = channel_url(channel)
        if channel.trouble:
            title = f"{channel.name} does not deliver"
            found.append(Need(1, "bad", title, channel.trouble, "Correct the channel", url, channel.trouble_at))
        elif not is_proven(channel, now):
            said = f"Last proven {ago(channel.proven_at, now)}." if channel.proven_at else "No test was ever confirmed."
            title = f"Nobody has shown that {channel.name} reaches a person"
            found.append(Need(4, "warn", title, said, "Send a test", url, channel.proven_at or channel.created_at))
    return found


def is_proven(channel: Channel, now: datetime) -> bool:
    """Return whether a person's click on a test is young enough."""
    return channel.proven_at is not None and channel.proven_at > now - PROOF_LASTS


def open_causes() -> set[tuple[str, str]]:
    """Return (code, subject key) of everything not closed, so that a caller need not report each healthy thing."""
    return set(Incident.objects.live().values_list("code", "subject_key"))


def forget(*, subject_key: str, now: datetime) -> None:
    """Close whatever is open on a subject that was removed; the channels that were told hear of it."""
    with transaction.atomic():
        for incident in Incident.objects.live().filter(subject_key=subject_key):
            _close(incident, now)


def _claim(title: str, channel: Channel, now: datetime) -> Claim:
    url = channel_url(channel)
    proven = is_proven(channel, now)
    age = ago(channel.proven_at, now) if channel.proven_at else ""
    if channel.trouble:
        standing, said, todo = Standing.AT_RISK, channel.trouble, "Correct the channel and send a test."
    elif proven:
        standing, said, todo = Standing.PROVEN, f"A person clicked the link of a test {age}.", ""
    elif age:
        lasts = plural(PROOF_LASTS.days, "day")
        standing, said = Standing.AT_RISK, f"The last confirmed test is older than {lasts}: {age}."
        todo = "Send a test and click its link."
    else:
        standing, said = Standing.UNPROVEN, "No test was ever confirmed by a person."
        todo = "Send a test and click its link."
    since = channel.trouble_at or channel.proven_at
    return Claim("S10", title, channel.name, standing, said, url, todo, proven_at=channel.proven_at, since=since)


def _look_for_proofs(now: datetime) -> None:
    """Report each channel whose proof is missing or too old; healthy ones only where something is open."""
    told = {key for code, key in open_causes() if code == UNPROVEN.code}
    unproven = {channel.pk for channel in Channel.objects.unproven(now, PROOF_LASTS)}
    for channel in Channel.objects.kept():
        key = channel_key(channel)
        if channel.pk in unproven or key in told:
            report(
                problem=UNPROVEN,
                subject_key=key,
                subject=channel.name,
                url=channel_url(channel),
                healthy=channel.pk not in unproven,
                said="No person has confirmed a test message within 90 days.",
                now=now,
            )


def channels_link() -> str:
    """Return the whole address of the channels' page."""
    return f"{settings.MAINSTAY_URL}{CHANNELS_URL}"


def channel_url(channel: Channel) -> str:
    """Return the page of a channel."""
    return f"{CHANNELS_URL}{channel.pk}/"


def channel_key(channel: Channel) -> str:
    """Return the subject key of a channel."""
    return f"{CANNOT_DELIVER.code}:{channel.pk}"


def _write_note(actor: Person, incident: Incident, text: str, now: datetime) -> None:
    Note.objects.create(incident=incident, person=actor, text=text, at=now)


def _each(rows: Iterable[Incident], act: Callable[[Incident, datetime], object], now: datetime) -> None:
    for row in rows:
        try:
            with transaction.atomic():
                locked = Incident.objects.live().select_for_update().filter(pk=row.pk).first()
                if locked is not None:
                    act(locked, now)
        except Exception:
            log.exception("incident %s: %s failed", row.pk, act.__name__)


def _begin(problem: Problem, subject_key: str, facts: dict[str, Any], now: datetime) -> Incident:
    """Open the incident or the next spell of one just closed; a worker that lost the race gets the winner's."""
    mine = Incident.objects.of(problem.code, subject_key)
    last = mine.visible().filter(closed_at__gte=now - BACK_WITHIN).order_by("-closed_at").first()
    try:
        with transaction.atomic():
            if last is None:
                made: Incident = Incident.objects.create(
                    code=problem.code, subject_key=subject_key, seen_at=now, tell_at=now + problem.patience, **facts
                )
                return made
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


def tell_channel(channel: Channel, now: datetime) -> None:
    """Tell a channel of everything open that it never heard of: one message each, as if it had been there before."""

    def tell(incident: Incident, at: datetime) -> None:
        outbox.write(incident, kind=Message.Kind.OPENED, now=at, channel=channel)

    unknown = Incident.objects.unknown_to(channel)
    _each(unknown.exclude(code=CANNOT_DELIVER.code, subject_key=channel_key(channel)), tell, now)


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
