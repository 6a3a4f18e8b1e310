"""Drift: kept as rows, decided by people (adopt, ask, remove), never removed silently."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.access import drift as judge
from apps.access import keys
from apps.access.drift import Finding
from apps.access.found import Found, Line, Source
from apps.access.models import AccessState, Drift
from apps.access.services.keys import keep_key
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers.models import Server

DECISIONS = {"adopt": Drift.State.ADOPTED, "ask": Drift.State.ASKED, "remove": Drift.State.REMOVING}
NOTHING = "Nothing was changed."


def lines_of(seen: Found) -> list[tuple[Source, Line]]:
    """Return every key that was found, with where."""
    sources = [*seen.everywhere, *(source for account in seen.accounts for source in account.sources)]
    return [(source, line) for source in sources for line in source.lines if line.blob and line.fingerprint]


def keep_drift(*, server: Server, findings: Sequence[Finding], seen: Found, revoked: set[str], now: datetime) -> None:
    """Write down what was found; what is no longer there, or no longer opens anything, is gone."""
    texts = {line.fingerprint: f"{line.type} {line.blob}" for _source, line in lines_of(seen)}
    with transaction.atomic():
        known = {row.key: row for row in Drift.objects.on(server)}
        there = set()
        for finding in findings:
            text = texts.get(finding.fingerprint, "") if finding.kind != "own_file" else ""
            if text and text in revoked and finding.path:
                continue  # the line is still there, but the list of revoked keys stops it everywhere
            there.add(finding.key)
            detail = {**finding.to_json(), "text": text}
            row = known.get(finding.key)
            if row is None:
                row = Drift(server=server, key=finding.key, first_seen=now)
            elif row.state == Drift.State.GONE:
                row.state, row.first_seen, row.decision, row.reply = Drift.State.OPEN, now, "", ""
                row.decided_by = row.decided_at = row.asked = None
            row.detail, row.last_seen, row.kind = detail, now, finding.kind
            row.save()
        gone = [row.pk for row in known.values() if row.key not in there]
        Drift.objects.open().filter(pk__in=gone).update(state=Drift.State.GONE, last_seen=now)


def decide(*, actor: Person, drift: Drift, answer: str, person: Person | None = None, now: datetime) -> None:
    """Decide on one finding. Raises Refused.

    Adopting a key as a person's makes it that person's key. Asking shows the finding to that person. Removing a key
    revokes it on that server by the next push; its line stays in its file. Removing what was changed in a file of
    Mainstay's writes that file anew.
    """
    if answer not in drift.detail.get("answers", []) or answer not in DECISIONS:
        raise Refused(f"That cannot be decided for this finding. {NOTHING}")
    if answer == "remove" and not can_remove(drift):
        raise Refused(f"There is no key to revoke in this finding: remove it by hand on the server. {NOTHING}")
    if person is not None and not person.is_active:
        raise Refused(f"{person} has left. {NOTHING}", "person")
    if answer == "ask" and person is None and (person := _owner(drift)) is None:
        raise Refused(f"Choose whom to ask. {NOTHING}", "person")
    with transaction.atomic():
        if answer == "adopt" and person is not None:
            _adopt_as(actor, drift, person, now)
        changed = Drift.objects.to_decide(drift).update(
            state=DECISIONS[answer], decision=answer, decided_by=actor, decided_at=now, reply="",
            asked=person if answer == "ask" else None,
        )  # fmt: skip
        if not changed:
            raise Refused(f"This was decided, or is gone, already. {NOTHING}")
        if drift.kind == "account" and answer == "adopt":
            _take_over(drift)
        if drift.kind == "own_file" and answer == "remove":
            AccessState.objects.filter(server=drift.server).update(pushed="")  # everything is written anew
        record(
            actor=actor,
            verb=f"access.drift_{answer}",
            subject=drift.server.name,
            subject_id=drift.server_id,
            detail={
                "kind": drift.kind,
                "fingerprint": drift.detail.get("fingerprint", ""),
                **({"person": str(person)} if person else {}),
            },
        )


def can_remove(drift: Drift) -> bool:
    """Return whether Mainstay can take a finding away itself: a key it can revoke, or a file of its own."""
    return "remove" in drift.detail.get("answers", []) and bool(drift.detail.get("text") or drift.kind == "own_file")


def reply(*, actor: Person, drift: Drift, mine: bool) -> None:
    """Answer, as the person who was asked, whether a finding is one's own; an admin decides. Raises Refused."""
    with transaction.atomic():
        said = "mine" if mine else "not_mine"
        if not Drift.objects.asked_of(actor).order_by().filter(pk=drift.pk).update(reply=said):
            raise Refused(f"This was answered, decided, or is gone, already. {NOTHING}")
        record(
            actor=actor,
            verb="access.drift_answered",
            subject=drift.server.name,
            subject_id=drift.server_id,
            detail={"fingerprint": drift.detail.get("fingerprint", ""), "said": said},
        )


def _owner(drift: Drift) -> Person | None:
    known = drift.detail.get("person")
    return Person.objects.active().filter(pk=known).first() if known else None


def _adopt_as(actor: Person, drift: Drift, person: Person, now: datetime) -> None:
    """Make a found key a person's own, and adopt it where it was found, too."""
    if drift.kind not in {"unknown_key", "root_key"}:
        raise Refused(f"Only a key that nobody owns yet can become somebody's. {NOTHING}", "person")
    verdict = keys.read(f"{drift.detail.get('text', '')} {drift.detail.get('comment', '')}")[0]
    if isinstance(verdict, keys.Refused):
        raise Refused(f"{verdict.said} {NOTHING}", "person")
    keep_key(actor=actor, person=person, good=verdict, now=now)
    detail = drift.detail
    for kind, key in judge.owned(detail["user"], detail["path"], detail["fingerprint"], detail["options"]):
        if drift.kind == "unknown_key":
            Drift.objects.update_or_create(
                server=drift.server,
                key=key,
                defaults={
                    "kind": kind,
                    "detail": detail,
                    "state": Drift.State.ADOPTED,
                    "decision": "adopt",
                    "decided_by": actor,
                    "decided_at": now,
                },
            )


def _take_over(drift: Drift) -> None:
    """From now on the account is wanted there, so that the next look pushes it."""
    state = AccessState.objects.select_for_update().get(server=drift.server)
    state.foreign = [user for user in state.foreign if user != drift.detail.get("user")]
    state.save(update_fields=["foreign"])
