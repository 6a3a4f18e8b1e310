"""People's accounts and public keys: pasted, judged, kept as type and blob, removed or revoked."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.access import keys
from apps.access.models import Account, PublicKey
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record

MOST_KEYS = 10  # in use, of one person
TAKEN = frozenset({  # names that servers have, or that would be taken for one
    "root", "mainstay", "admin", "administrator", "adm", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail",
    "news", "uucp", "proxy", "www-data", "backup", "list", "irc", "gnats", "nobody", "sshd", "systemd", "messagebus",
    "postgres", "mysql", "redis", "nginx", "apache", "docker", "git", "deploy", "ubuntu", "debian", "ec2-user",
    "centos", "fedora", "rocky", "almalinux", "alpine", "azureuser", "vagrant", "sudo", "wheel", "staff", "users",
    "operator", "toor", "ftp", "dbus", "nogroup",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pasted:
    """One piece of a paste: as it was understood or why not, and the row when it was kept."""

    verdict: keys.Accepted | keys.Refused
    problem: str = ""  # understood, but not taken: why
    kept: PublicKey | None = None


def account_of(person: Person) -> Account:
    """Return the account of a person, made from the name before the @ where there is none; no name is used twice."""
    known = Account.objects.filter(person=person).first()
    if known is not None:
        return known
    stem = _stem(person)
    for number in range(1, 1000):
        user = stem if number == 1 else f"{stem[: 31 - len(str(number))]}{number}"
        if user in TAKEN:
            continue
        try:
            with transaction.atomic():
                return Account.objects.create(person=person, user=user)
        except IntegrityError:
            if (made := Account.objects.filter(person=person).first()) is not None:
                return made
    raise Refused(f"No account name is free for {person}.")


def _stem(person: Person) -> str:
    text = unicodedata.normalize("NFKD", person.email.partition("@")[0].partition("+")[0]).lower()
    plain = re.sub(r"[^a-z0-9_-]+", "-", text.encode("ascii", "ignore").decode()).strip("-_")
    return plain[:28] if re.match(r"[a-z]", plain) else f"u-{plain}"[:28].rstrip("-") or "user"


def look_at(*, person: Person, text: str) -> list[Pasted]:
    """Say what was understood of a paste, without keeping anything."""
    found = []
    for verdict in keys.read(text):
        problem = "" if isinstance(verdict, keys.Refused) else _problem(person, verdict)
        found.append(Pasted(verdict, problem))
    return found


def add_keys(*, actor: Person, text: str, now: datetime) -> list[Pasted]:
    """Keep every good key of a paste as one's own; the rest is told, and nothing of it is kept."""
    found = []
    for verdict in keys.read(text):
        if isinstance(verdict, keys.Refused):
            found.append(Pasted(verdict))
            continue
        try:
            found.append(Pasted(verdict, kept=keep_key(actor=actor, person=actor, good=verdict, now=now)))
        except Refused as refused:
            found.append(Pasted(verdict, refused.sentence))
    return found


def keep_key(*, actor: Person, person: Person, good: keys.Accepted, now: datetime) -> PublicKey:
    """Keep one understood key as a person's. Raises Refused: one key is one person's, for ever."""
    if problem := _problem(person, good):
        raise Refused(problem)
    try:
        with transaction.atomic():
            account_of(person)
            key = PublicKey(
                person=person,
                type=good.type,
                blob=good.blob,
                fingerprint=good.fingerprint,
                bits=good.bits,
                comment=good.comment,
                added_at=now,
            )
            key.save(force_insert=True)
            record(
                actor=actor,
                verb="access.key_added",
                subject=str(person),
                subject_id=person.pk,
                detail={"fingerprint": good.fingerprint, "type": good.type},
            )
    except IntegrityError:
        raise Refused(
            _problem(person, good) or "Somebody added this key at this moment. Nothing was changed."
        ) from None
    return key


def remove_key(*, actor: Person, key: PublicKey, lost: bool, now: datetime) -> None:
    """Take a key out of use. A lost one is revoked: no server accepts it any more, wherever it is written.

    One's own keys only, or anybody's for who manages access; the caller has checked which.
    """
    with transaction.atomic():
        state = PublicKey.State.REVOKED if lost else PublicKey.State.REMOVED
        if not PublicKey.objects.to_end(key, state).update(state=state, ended_at=now):
            raise Refused("This key was taken out of use already. Nothing was changed.")
        record(
            actor=actor,
            verb="access.key_revoked" if lost else "access.key_removed",
            subject=str(key.person),
            subject_id=key.person_id,
            detail={"fingerprint": key.fingerprint},
        )


def _problem(person: Person, good: keys.Accepted) -> str:
    known = PublicKey.objects.known(good.fingerprint)
    if known is not None and known.person_id != person.pk:
        return "This key is somebody else's here. One key is one person's: make one of your own."
    if known is not None and known.state == PublicKey.State.ACTIVE:
        return "You have added this key already."
    if known is not None:
        return "This key was taken out of use before, and stays out. Make a new one."
    if PublicKey.objects.of(person).count() >= MOST_KEYS:
        return f"You have {MOST_KEYS} keys in use. Remove one first."
    return ""
