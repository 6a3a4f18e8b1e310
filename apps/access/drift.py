"""What on a server is not as agreed: every way in that sshd would accept and that nobody of the team was granted.

Pure: from what the server told, what is wanted there and who owns which key, to findings. Each has a key that stays the
same while the thing does (not its line number, which moves), so that a decision about it holds; a change asks again.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from apps.access.found import PANEL_FILE, Account, Found, Line, Source
from apps.access.wanted import Wanted
from apps.core import words

OWN = "/etc/ssh/mainstay/"
PANEL = "mainstay"


class Answer(StrEnum):
    """What may be decided."""

    ADOPT = "adopt"  # it is known and meant
    ASK = "ask"  # somebody is asked
    REMOVE = "remove"  # the gate takes it away


ALL = (Answer.ADOPT, Answer.ASK, Answer.REMOVE)
TALK = (Answer.ADOPT, Answer.ASK)  # the gate does not edit what is not Mainstay's


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose key a fingerprint is. `state`: active, removed, revoked; `user`: the account of that person."""

    person: str
    name: str
    user: str
    active: bool
    state: str = "active"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to decide. `bad`: it opens the server to somebody who should not be there, or to whom is not known."""

    kind: str
    key: str
    bad: bool
    said: str
    answers: tuple[Answer, ...]
    user: str = ""
    path: str = ""
    line: int = 0
    fingerprint: str = ""
    comment: str = ""
    person: str = ""  # whom to ask
    mtime: float | None = None
    options: str = ""  # a digest of the line's options

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only, for Drift.detail."""
        return {
            "bad": self.bad, "said": self.said, "answers": list(self.answers), "user": self.user, "path": self.path,
            "line": self.line, "fingerprint": self.fingerprint, "comment": self.comment, "person": self.person,
            "mtime": self.mtime, "options": self.options,
        }  # fmt: skip


def find(
    found: Found, *, wanted: Wanted, owners: Mapping[str, Owner], panel: str, adopted: Collection[str] = (),
    foreign: Collection[str] = (), known: Mapping[str, str] | None = None,
) -> list[Finding]:  # fmt: skip
    """Return what is not as agreed, the worst first.

    `owners`: fingerprint → whose key it is or was; `panel`: the fingerprint of the panel's own key; `adopted`: keys of
    findings that were adopted before; `foreign`: names of people's accounts that were there before Mainstay.
    `known`: path → SHA-256 of the programs that this Mainstay would install on a server.
    """
    out = [
        *(finding for account in found.accounts for finding in _account(account, wanted, owners, panel)),
        *(finding for source in found.everywhere for finding in _elsewhere(source, owners)),
        *_twice(found, owners),
        *_rest(found, known or {}),
        *(_foreign(user) for user in sorted(foreign)),
    ]
    kept: dict[str, Finding] = {}
    for finding in out:
        if finding.key not in adopted:
            kept.setdefault(finding.key, finding)
    return sorted(kept.values(), key=lambda f: (not f.bad, f.kind, f.user, f.path, f.line))


def stable(kind: str, *parts: str) -> str:
    """Return the key of a finding: readable while it is short, a digest of the parts when it is not."""
    text = ":".join((kind, *parts))
    return text if len(text) <= 160 else f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"


# --- keys --------------------------------------------------------------------------------------------


def _account(account: Account, wanted: Wanted, owners: Mapping[str, Owner], panel: str) -> Iterable[Finding]:
    asked = {
        f"{key.type} {key.blob}": key for each in wanted.accounts if each.user == account.user for key in each.keys
    }
    for source in account.sources:
        if source.kind == "command":
            yield Finding(
                "command", stable("command", source.path), True,
                f"sshd asks a program for the keys of {account.user}: {source.path}. Whom it lets in is not seen here.",
                TALK, account.user, source.path,
            )  # fmt: skip
        elif source.kind in {"rhosts", "shosts"} and source.exists:
            yield _trust(source, account.user)
        elif source.kind == "principals" and source.lines:
            names = ", ".join(line.comment for line in source.lines[:5])
            yield Finding(
                "authority", stable("principals", account.user, source.path, _digest(source)), True,
                f"Certificates for these names open {account.user} too: {names}.", TALK, account.user, source.path,
            )  # fmt: skip
        else:
            for line in source.lines:
                if source.path.startswith(OWN) or source.path == PANEL_FILE:
                    lent = asked.get(f"{line.type} {line.blob}")
                    ours = lent or (account.user == PANEL and line.fingerprint == panel)
                    if ours:
                        needs = {"expiry-time"} if lent and lent.until else set() if lent else {"restrict", "command"}
                        if lacking := needs - _names(line.options):
                            yield _loosened(line, source, account.user, min(lacking))
                        continue
                yield from _line(line, source, account.user, account.uid, owners)


def _loosened(line: Line, source: Source, user: str, lacking: str) -> Finding:
    return Finding(
        "own_file", stable("own_file", source.path, line.fingerprint, lacking), True,
        f"{source.path}, line {line.number}, opens {user} without {lacking}, which Mainstay wrote there.",
        (Answer.ASK, Answer.REMOVE), user, source.path, line.number, line.fingerprint,
    )  # fmt: skip


def _elsewhere(source: Source, owners: Mapping[str, Owner]) -> Iterable[Finding]:
    """Return findings of what is bound to no account, or is not read by sshd now."""
    if source.kind in {"rhosts", "shosts"}:
        if source.exists:
            yield _trust(source, "")
        return
    for line in source.lines:
        yield from _line(line, source, source.user, None, owners)


def _line(line: Line, source: Source, user: str, uid: int | None, owners: Mapping[str, Owner]) -> Iterable[Finding]:
    """Return what one line of keys means; it is known that Mainstay did not write it for this account."""
    options = _names(line.options)
    owner = owners.get(line.fingerprint)
    dead = source.kind == "unread" or bool(source.refused)
    where = f"{source.path}, line {line.number}"
    if not line.blob:
        return  # sshd skips what is no key, and so do we
    if source.kind == "authority" or "cert-authority" in options:
        kind, said = "authority", f"Every certificate of this authority opens {user or 'accounts'} ({where})."
    elif owner and not owner.active:
        kind, said = "left_key", f"{owner.name} has left, and their key still opens {user} ({where})."
    elif owner and owner.state != "active":
        kind, said = "ended_key", f"{owner.name} no longer uses this key, and it still opens {user} ({where})."
    elif uid == 0 or source.user == "root":
        whose = f"{owner.name}'s key" if owner else "A key of nobody known here"
        kind, said = "root_key", f"{whose} opens root itself ({where}). Nobody shares root."
    elif owner is None:
        kind, said = "unknown_key", f"A key of nobody known here opens {user} ({where})."
    elif owner.user != user:
        kind, said = "shared_key", f"{owner.name}'s key opens {user}, which is not their account ({where})."
    else:
        kind, said = (
            "copy",
            f"A copy of {owner.name}'s key outside of Mainstay's files works without a lease ({where}).",
        )
    if dead:
        why = source.refused or "no setting names the file"
        said = f"{said.removesuffix('.')}, but sshd does not read it now: {why.removesuffix('.')}."
    answers = {"left_key": (Answer.REMOVE,), "ended_key": (Answer.ASK, Answer.REMOVE)}.get(kind, ALL)
    if source.kind == "authority":
        answers = TALK
    bad = kind != "copy" and not dead
    # the options belong to the key: what was adopted with command="…" is another thing without it
    digest = hashlib.sha256(line.options.encode()).hexdigest()[:12]
    name = stable(kind, user, source.path, line.fingerprint, digest)
    yield Finding(
        kind, name, bad, said, answers, user, source.path, line.number, line.fingerprint, line.comment,
        owner.person if owner else "", source.mtime, digest,
    )  # fmt: skip


def owned(user: str, path: str, fingerprint: str, options: str) -> tuple[tuple[str, str], ...]:
    """Return (kind, key) of what the finding of an unknown key becomes once somebody owns the key.

    `options` is Finding.options: who adopted the key with these options adopted it with no others.
    """
    return tuple((kind, stable(kind, user, path, fingerprint, options)) for kind in ("copy", "shared_key"))


def _foreign(user: str) -> Finding:
    return Finding(
        "account", stable("account", user), False,
        f"The account {user} was there before Mainstay, so nothing is done to it. Adopt it if it is this person's: "
        "then it gets their keys, and is closed when they leave.", TALK, user,
    )  # fmt: skip


def _twice(found: Found, owners: Mapping[str, Owner]) -> Iterable[Finding]:
    """Return unknown keys that open several accounts: one key, two people."""
    users: dict[str, dict[str, tuple[Source, Line]]] = {}
    for account in found.accounts:
        for source in account.sources:
            for line in source.lines if source.kind == "file" and not source.refused else ():
                if line.fingerprint and line.fingerprint not in owners:
                    users.setdefault(line.fingerprint, {}).setdefault(account.user, (source, line))
    for fingerprint, places in users.items():
        if len(places) > 1 and PANEL not in places:
            source, line = next(iter(places.values()))
            names = " and ".join(_few(sorted(places)))
            yield Finding(
                "shared_key", stable("shared_key", fingerprint, *sorted(places)), True,
                f"One key opens {names}: who of them signed in cannot be told.", (Answer.ADOPT, Answer.ASK), "",
                source.path, line.number, fingerprint, line.comment,
            )  # fmt: skip


def _few(names: list[str]) -> list[str]:
    """Return at most four names and how many more."""
    return names if len(names) < 5 else [", ".join(names[:4]), f"{len(names) - 4} more"]


def _trust(source: Source, user: str) -> Finding:
    hosts = words.plural(len(source.lines), "line")
    whom = user or "every account"
    return Finding(
        "trust", stable("trust", user, source.path, _digest(source)), True,
        f"{source.path} ({hosts}) lets other machines in to {whom} without any key, where sshd allows it.",
        (Answer.ADOPT, Answer.REMOVE), user, source.path,
    )  # fmt: skip


# --- what is no key ------------------------------------------------------------------------------------


# What the pasted script installs: the gate keeps no record of it, so it is compared with what Mainstay would install.
INSTALLED = (
    "/etc/mainstay/", "/etc/sudoers.d/mainstay", "/usr/local/lib/mainstay/", "/usr/local/sbin/mainstay-gate",
    "/var/lib/mainstay/",
)  # fmt: skip
STOCK = ("Defaults", "@include", "#include", "root ALL=", "%sudo ALL=", "%admin ALL=", "%wheel ALL=")


def _rest(found: Found, known: Mapping[str, str]) -> Iterable[Finding]:
    for user, uid in found.twins:
        if uid == 0 and user != "root":
            yield Finding(
                "twin", stable("twin", user), True, f"{user} is root by another name: its number is 0, too.", TALK, user
            )
    yield from _sudoers(found)
    yield from _files(found, known)
    errors = {account.effective.error for account in found.accounts if account.effective and account.effective.error}
    for error in sorted(errors):
        yield Finding(
            "unseen",
            stable("unseen", "sshd"),
            True,
            f"sshd cannot say whom it lets in: {error.removesuffix('.')}.",
            (Answer.ASK,),
        )
    for said in (*found.lacks, *found.cut):
        yield Finding(
            "unseen", stable("unseen", said), False, f"Not all could be seen: {said.removesuffix('.')}.", TALK
        )


def _sudoers(found: Found) -> Iterable[Finding]:
    for rules in found.sudoers:
        if rules.path.startswith("/etc/sudoers.d/mainstay") and any(f.path == rules.path for f in found.files):
            continue
        writable = rules.uid != 0 or rules.mode & 0o022
        given = [line for line in rules.lines if not re.sub(r"\\x09|\\t", " ", line).startswith(STOCK)]
        if not given and not writable:
            continue  # nothing but what every system comes with
        first = f" It says: {given[0]}" if given else ""
        said = f"{rules.path} gives rights by sudo that Mainstay did not give ({words.plural(len(given), 'rule')})."
        if writable:
            said = f"{rules.path} rules sudo, and others than root may change it."
        key = stable("sudoers", rules.path, rules.sha256[:32], "writable" if writable else "")
        yield Finding("sudoers", key, bool(writable), said + first, TALK, "", rules.path)


def _files(found: Found, known: Mapping[str, str]) -> Iterable[Finding]:
    for file in found.files:
        if file.sha256 == file.wanted and file.sha256 and file.uid == 0 and not file.mode & 0o022:
            continue
        if not file.sha256:
            said = f"{file.path}, a file of Mainstay's, is gone."
        elif file.uid != 0 or file.mode & 0o022:
            said = f"{file.path}, a file of Mainstay's, may be changed by others than root."
        elif not file.wanted and file.path.startswith(INSTALLED):
            if known.get(file.path, file.sha256) == file.sha256:
                continue
            said = f"{file.path} is not what this Mainstay installs: paste the server's script again, or find out why."
        elif not file.wanted:
            said = f"It is not known whether {file.path} is as Mainstay wrote it: the record of it is gone."
        else:
            said = f"{file.path} is not as Mainstay wrote it."
        key = stable("own_file", file.path, file.sha256[:32], f"{file.uid}.{file.mode:o}")
        yield Finding("own_file", key, True, said, (Answer.ASK, Answer.REMOVE), "", file.path)


def _digest(source: Source) -> str:
    text = "\n".join(f"{line.type} {line.blob} {line.comment}" for line in source.lines)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(options: str) -> set[str]:
    """Return the names of a line's options, in lower case, as sshd compares them."""
    return {option.partition("=")[0].strip().lower() for option in _split(options)}


def _split(options: str) -> list[str]:
    """Return the options of a line, split at commas that are in no quotes (man sshd, AUTHORIZED_KEYS FILE FORMAT)."""
    out, quoted, current, escaped = [], False, "", False
    for c in options:
        if c == '"' and not escaped:
            quoted = not quoted
        if c == "," and not quoted:
            out.append(current)
            current = ""
        else:
            current += c
        escaped = c == "\\" and not escaped
    return [*out, current]
