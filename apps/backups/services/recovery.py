"""The two papers: the steps that restore one backup without Mainstay, and the recovery key that opens every backup."""

import hashlib
import hmac
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.backups import cipher
from apps.backups.facts import Trouble
from apps.backups.models import Backup, RecoveryKey, Source
from apps.core import words
from apps.core.keys import KeyRing, KeyRingError, ring_path, the_ring
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record

GROUP = 6  # letters of a word on the paper


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does, the exact commands, and what tells that it went well."""

    title: str
    commands: tuple[str, ...]
    expect: str = ""


@dataclass(frozen=True, slots=True)
class Steps:
    """How one backup is brought back without Mainstay. Holds no key and no password: it may be printed and shared."""

    title: str
    facts: tuple[tuple[str, str], ...]  # what, value
    tools: tuple[str, ...]  # Debian packages
    steps: tuple[Step, ...]

    def text(self) -> str:
        """Return the paper as plain text."""
        lines = [self.title, ""]
        lines += [f"{what}: {value}" for what, value in self.facts]
        lines += ["", f"You need: the recovery key paper, and the programs {', '.join(self.tools)}.", ""]
        for number, step in enumerate(self.steps, 1):
            lines += [f"{number}. {step.title}", *(f"   {command}" for command in step.commands)]
            lines += [f"   {step.expect}"] if step.expect else []
            lines += [""]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class KeyPaper:
    """Everything that opens backups and sealed fields. Owner only, audited, never cached, never logged."""

    identity: str  # the secret age identity
    recipient: str  # its public half
    groups: tuple[str, ...]  # the identity in words of GROUP letters, numbered on the paper from 1
    ring: str  # the key ring's file, as it lies in the keys folder
    ring_ids: tuple[str, ...]
    fingerprint: str

    def __repr__(self) -> str:
        """Show nothing secret."""
        return f"<KeyPaper {self.fingerprint[:12]}>"


def recovery_steps(backup: Backup) -> Steps:
    """Return the steps for one backup: pure text from its row. Raises Refused for one that was not finished."""
    if not backup.object_key or not backup.manifest or not backup.taken_at:
        raise Refused("This backup was not finished, so there are no steps for it. Choose another one.")
    source, store = backup.plan.source, backup.store or backup.plan.store
    file = backup.object_key.rsplit("/", 1)[-1]
    plain = file.removesuffix(".zst.age")
    kind = str(backup.manifest["engine"])  # what it was then, whatever the plan backs up today
    facts = (
        ("Plan", backup.plan.name),
        ("Source", f"{source.name} ({Source.Kind(kind).label}, version {backup.manifest['version']})"),
        ("Data of", words.moment(backup.taken_at)),
        ("Object", backup.object_key),
        ("Store", f"{store.name} ({store.get_kind_display()})"),
        ("Bytes", f"{backup.size}"),
        ("SHA-256", backup.sha256),
        ("Encrypted to", ", ".join(backup.recipients)),
    )
    opened = (
        Step("Fetch the object", _fetch(store.kind, store.config, backup, file), "It is the only file you need."),
        Step(
            "Check that it is whole",
            (f"echo {shlex.quote(f'{backup.sha256}  {file}')} | sha256sum -c",),
            f"It says “{file}: OK”.",
        ),
        Step(
            "Make a file of the age key: the line AGE-SECRET-KEY-1… of your recovery key",
            ("umask 077 && cat > key.txt",),
            "Type or paste the line, press Enter, then Ctrl-D.",
        ),
        Step("Open it", (f"age -d -i key.txt {shlex.quote(file)} | zstd -d -o {shlex.quote(plain)}",)),
    )
    tools, into = _into(kind, plain, backup.manifest)
    fetch = ("awscli",) if store.kind == "s3" else ()
    return Steps(
        title=f"Recovery steps: {backup.plan.name}, data of {words.moment(backup.taken_at)}",
        facts=facts,
        tools=(*fetch, "age", "zstd", *tools),
        steps=(*opened, *into, Step("Throw the key file away", ("shred -u key.txt",))),
    )


def _fetch(kind: str, config: dict[str, Any], backup: Backup, file: str) -> tuple[str, ...]:
    if kind == "local":
        path = f"{str(config['path']).rstrip('/')}/{backup.object_key}"
        return (f"cp {shlex.quote(path)} {shlex.quote(file)}",)
    prefix = str(config.get("prefix") or "").strip("/")
    key = f"{prefix}/{backup.object_key}" if prefix else backup.object_key
    endpoint = f" --endpoint-url {shlex.quote(str(config['endpoint']))}" if config.get("endpoint") else ""
    region = f" --region {shlex.quote(str(config['region']))}" if config.get("region") else ""
    address = shlex.quote(f"s3://{config.get('bucket', '')}/{key}")
    return (f"aws s3 cp {address} {shlex.quote(file)}{endpoint}{region}",)


def _into(kind: str, plain: str, manifest: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    name = shlex.quote(plain)
    if kind == "sqlite":
        return ("sqlite3",), (
            Step("Check the database", (f"sqlite3 {name} 'PRAGMA integrity_check'",), "It says “ok”."),
            Step(
                "Put it where the application looks for it, while the application is stopped",
                (f"cp {name} restored.sqlite3",),
            ),
        )
    if kind == "directory":
        return ("tar",), (
            Step("Unpack it into a new folder", ("mkdir restored", f"tar -xpf {name} -C restored"), "It says nothing."),
        )
    return _into_postgresql(name, manifest)


def _into_postgresql(name: str, manifest: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """Return tools and steps. An archive opens only with a pg_restore at least as new as the pg_dump that wrote it."""
    facts: dict[str, Any] = manifest.get("facts", {})
    client = str(manifest.get("tools", {}).get("pg_dump") or facts.get("dumped_by") or manifest["version"])
    server, major = (str(version).split(".", 1)[0] for version in (manifest["version"], client))
    # made only where they are missing: the paper must not stop at a role that the new server has already
    roles = tuple(
        _sql(f"DO $$BEGIN CREATE ROLE {_quoted(role)}; EXCEPTION WHEN duplicate_object THEN NULL; END$$", "postgres")
        for role in facts.get("roles", [])
        if isinstance(role, str) and not role.startswith("pg_") and role not in {"postgres", "public"}
    )
    encoding = str(facts.get("locale", {}).get("encoding") or "UTF8")
    other = "" if encoding == "UTF8" else " --locale=C"
    extensions = ", ".join(str(entry[0]) for entry in facts.get("extensions", []) if entry[0] != "plpgsql")
    settings = tuple(
        _sql(f"ALTER DATABASE restored SET {setting}", "postgres")
        for line in facts.get("settings", [])
        if (setting := _setting(str(line)))
    )
    told = f"Use a PostgreSQL {server} or newer, as its superuser (PGHOST, PGUSER and PGPASSWORD say where and who)."
    needs = f" It must have these extensions: {extensions}." if extensions else ""
    return (f"postgresql-client-{major} or newer",), (
        *((Step("Make the roles that own its objects", roles, told + needs),) if roles else ()),
        Step(
            "Make an empty database",
            (f"createdb --template=template0 --encoding={encoding}{other} restored",),
            "" if roles else told + needs,
        ),
        Step(
            "Restore it",
            (f"pg_restore -j2 -d restored {name}",),
            "It says nothing. On a server older than 17 one line names transaction_timeout: that line is harmless.",
        ),
        *((Step("Set what the database itself sets", settings),) if settings else ()),
    )


def _sql(statement: str, database: str) -> str:
    return f"psql -X -q -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(statement)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _setting(line: str) -> str:
    """Return `name = value` of a stored setting as SQL, or "" for one without a value."""
    name, found, value = line.partition("=")
    if not found or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
        return ""
    # a list such as a search_path is stored as it is typed; anything else is one literal
    listed = name in {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}
    return f"{name} = {value}" if listed else f"{name} = '{value.replace(chr(39), chr(39) * 2)}'"


def recovery_key() -> KeyPaper:
    """Return the recovery key. The caller guards it (owner, recent sign-in) and calls `showed_recovery_key` first."""
    identity, recipient = cipher.identity(), cipher.recipient()
    ring = the_ring()
    letters = identity.removeprefix("AGE-SECRET-KEY-1")
    return KeyPaper(
        identity=identity,
        recipient=recipient,
        groups=tuple(letters[at : at + GROUP] for at in range(0, len(letters), GROUP)),
        ring=ring_path().read_text(encoding="ascii"),
        ring_ids=tuple(key.id for key in ring.keys),
        fingerprint=_fingerprint(recipient, ring),
    )


def showed_recovery_key(*, actor: Person) -> None:
    """Write down that the recovery key was shown, before it is."""
    record(actor=actor, verb="backups.recovery_key_shown", subject="Recovery key")


def asked_word(actor: Person) -> int:
    """Return the number of the word (from 1) that a person is asked to type: the same until it was proven."""
    paper = recovery_key()
    proofs = RecoveryKey.objects.filter(person=actor).count()
    seed = hmac.new(settings.SECRET_KEY.encode(), f"{actor.pk}|{proofs}|{paper.fingerprint}".encode(), hashlib.sha256)
    return int.from_bytes(seed.digest()[:4], "big") % (len(paper.groups) - 1) + 1  # not the last, which may be short


def prove_recovery_key(*, actor: Person, word: str, now: datetime) -> None:
    """Take the asked word of the paper as proof that it is kept elsewhere. Raises Refused for another word."""
    paper, number = recovery_key(), asked_word(actor)
    typed = re.sub(r"[^A-Za-z0-9]", "", word).upper()
    if not hmac.compare_digest(typed.encode(), paper.groups[number - 1].upper().encode()):
        raise Refused(f"That is not word {number} of the recovery key. Look at the paper again.", field="word")
    with transaction.atomic():
        RecoveryKey.objects.create(person=actor, fingerprint=paper.fingerprint, proven_at=now)
        record(actor=actor, verb="backups.recovery_key_proven", subject="Recovery key")


def key_is_proven() -> bool:
    """Return whether the recovery key of today's keys was proven; a rotation of the ring asks again."""
    try:
        fingerprint = _fingerprint(cipher.recipient(), the_ring())
    except (Trouble, KeyRingError):
        return False
    return RecoveryKey.objects.filter(fingerprint=fingerprint).exists()


def _fingerprint(recipient: str, ring: KeyRing) -> str:
    names = [recipient, *sorted(key.id for key in ring.keys)]
    return hashlib.sha256("|".join(names).encode()).hexdigest()
