"""What the pages of incidents and channels show: sentences, targets in words, and the timeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Max, Min, Q

from apps.alerts.models import Channel, Incident, Message
from apps.alerts.services import is_proven
from apps.core.runs import State
from apps.core.words import ago, plural, took

MOST_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline."""

    at: datetime
    glyph: str
    kind: str  # ok, warn, bad, idle, info
    who: str
    text: str
    quote: str = ""
    message: Message | None = None


def incidents_sentence(now: datetime) -> str:
    """Return the one sentence above the list."""
    found = (
        Incident.objects.open()
        .order_by()
        .aggregate(number=Count("pk"), oldest=Min("opened_at"), free=Count("pk", filter=Q(acknowledged_at=None)))
    )
    if found["number"]:
        free, number = found["free"], found["number"]
        which = (
            ("it" if number == 1 else "any") if free == number else "one of them" if free == 1 else f"{free} of them"
        )
        taken = f"Nobody took {which} yet." if free else "Somebody is on it."
        age = took(now - found["oldest"])
        return f"{plural(number, 'incident')} open, {'for' if number == 1 else 'the oldest for'} {age}. {taken}"
    last = Incident.objects.visible().aggregate(last=Max("closed_at"))["last"]
    return f"Nothing is open. The last one was mended {ago(last, now)}." if last else "Nothing has happened yet."


def timeline(incident: Incident) -> list[Entry]:
    """Return what happened, the newest first."""
    messages = incident.messages.select_related("channel").order_by("-created_at")[:MOST_MESSAGES]
    entries = [told(message) for message in messages]
    if incident.closed_at:
        who = str(incident.closed_by or "")
        entries.append(Entry(incident.closed_at, "ok", "ok", who, "said that it is fixed" if who else "Mended"))
    entries += [
        Entry(note.at, "dot", "idle", str(note.person or "Somebody"), "wrote", note.text)
        for note in incident.notes.select_related("person")
    ]
    if incident.acknowledged_at:
        taker = str(incident.acknowledged_by or "Somebody")
        entries.append(Entry(incident.acknowledged_at, "check", "ok", taker, "took it"))
    if incident.spell and incident.told_at:
        times = plural(incident.spell, "time")
        entries.append(Entry(incident.told_at, "warn", "warn", "", f"Back again; it had been mended {times}"))
    if incident.opened_at:
        kind = "bad" if incident.severity == "bad" else "warn"
        entries.append(Entry(incident.opened_at, kind, kind, "", "Opened"))
    entries.append(Entry(incident.seen_at, "dot", "idle", "", "First seen"))
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def told(message: Message) -> Entry:
    """Return one message as a line: delivered with its receipt, failed with its reason, or on its way."""
    channel, verb = message.channel, _VERBS[message.kind]
    at = message.finished_at or message.created_at
    if message.state == State.DONE:
        return Entry(at, "check", "ok", "", f"{verb} {channel}", f"Receipt: {message.receipt}")
    if message.state == State.FAILED:
        dismissed = message.dismissed_at is not None
        said = f"{channel} was not reached{'; dismissed' if dismissed else ''}"
        return Entry(at, "bad", "bad", "", said, message.error, None if dismissed else message)
    if message.error:
        said = f"{channel} did not take it at try {message.attempt} of {message.attempts}; it is tried again"
        return Entry(at, "warn", "warn", "", said, message.error)
    return Entry(at, "dot", "idle", "", f"On its way to {channel}")


_VERBS = {"opened": "Told", "closed": "Told the mending to", "reminder": "Reminded", "test": "Sent a test to"}


@dataclass(frozen=True, slots=True)
class Row:
    """One channel in the list."""

    channel: Channel
    kind: str  # ok, warn, bad, none, pause
    word: str
    said: str
    target: str


def row(channel: Channel, now: datetime) -> Row:
    """Return how a channel stands, as a mark, a word and a sentence."""
    where = target(channel)
    if channel.paused_at:
        return Row(channel, "pause", "Paused", f"Since {ago(channel.paused_at, now)}", where)
    if channel.trouble:
        return Row(channel, "bad", "Does not deliver", channel.trouble, where)
    if is_proven(channel, now):
        by = f" by {channel.proven_by}" if channel.proven_by else ""
        return Row(channel, "ok", "Proven", f"A test was confirmed {ago(channel.proven_at, now)}{by}", where)
    if channel.proven_at:
        return Row(channel, "warn", "Proof too old", f"Last confirmed {ago(channel.proven_at, now)}", where)
    return Row(channel, "none", "Not tested", "No person has confirmed a test", where)


def follows_environment(channel: Channel) -> bool:
    """Return whether the channel is what EMAIL_URL says now, so that only the setting changes it."""
    return channel.from_environment and settings.MAIL_SERVER is not None


def target(channel: Channel) -> str:
    """Return where a channel leads, without its secret."""
    if channel.kind == Channel.Kind.EMAIL:
        return f"{', '.join(channel.config.get('to', []))} by {channel.config.get('host', '')}"
    return str(channel.config.get("host", ""))


def channels_sentence(rows: Sequence[Row]) -> str:
    """Return the one sentence above the list of channels."""
    used = [entry for entry in rows if entry.kind != "pause"]
    if not used:
        return (
            "Nobody would be told. Add a way to reach you."
            if not rows
            else "Every channel is paused: nobody would be told."
        )
    bad = sum(entry.kind == "bad" for entry in used)
    proven = sum(entry.kind == "ok" for entry in used)
    if bad:
        verb = "does" if bad == 1 else "do"
        return f"{plural(bad, 'channel')} of {len(used)} {verb} not deliver. Correct it and send a test."
    if proven == len(used):
        return "Every channel was confirmed by a person within 90 days."
    return f"{proven} of {plural(len(used), 'channel')} proven. Send a test to the others and click its link."
