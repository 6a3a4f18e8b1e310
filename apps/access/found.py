"""What a server says of who can sign in: the gate's answer to `keys`, read strictly; everything in it may be a lie.

A missing or wrongly typed field, or more than the caps allow, refuses the whole answer: nothing is judged by half. Text
keeps only printable characters; the rest is written as escapes.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from apps.access import blob

T = TypeVar("T")

PANEL_FILE = "/var/lib/mainstay/.ssh/authorized_keys"  # the line of the panel's own account: gate.PANEL_KEYS
MOST_LINES = 20_000
OPTIONS = frozenset({
    "allowusers", "denyusers", "allowgroups", "denygroups", "authorizedkeysfile", "authorizedkeyscommand",
    "authorizedkeyscommanduser", "trustedusercakeys", "authorizedprincipalsfile", "authorizedprincipalscommand",
    "revokedkeys", "pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication",
    "permitemptypasswords", "permitrootlogin", "hostbasedauthentication", "ignorerhosts", "strictmodes", "usepam",
    "forcecommand", "chrootdirectory", "authenticationmethods", "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes",
    "requiredrsasize", "casignaturealgorithms", "permituserenvironment",
})  # fmt: skip
KINDS = frozenset({"file", "command", "authority", "principals", "rhosts", "shosts", "unread"})
PASSWORDS = frozenset({"set", "empty", "locked", "star", "unknown"})
SUDO = frozenset({"all", "some", "none", "unknown"})


class FoundError(Exception):
    """The answer is not one that a gate gives; the sentence says which field, never its value."""


@dataclass(frozen=True)
class Line:
    """One line of a file of keys. What could not be parsed has no type and no blob, and its text as comment."""

    number: int
    options: str
    type: str
    blob: str
    comment: str

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 fingerprint, "" for a line without a key."""
        try:
            return blob.fingerprint(base64.b64decode(self.blob, validate=True)) if self.blob else ""
        except (binascii.Error, ValueError):
            return ""


@dataclass(frozen=True, slots=True)
class Source:
    """One place that sshd reads, or would read, for an account. `refused`: why sshd does not take it, "" if it does."""

    kind: str
    path: str
    exists: bool
    refused: str
    lines: tuple[Line, ...] = ()
    mtime: float | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class Effective:
    """What `sshd -T -C` decided for an account: option → the rests of its lines; `error` when it could not say."""

    error: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def one(self, name: str, default: str = "") -> str:
        """Return an option that has one value."""
        return self.options.get(name, (default,))[0]

    def words(self, name: str) -> list[str]:
        """Return all words of an option that is a list; none and "none" are the empty one."""
        found = [word for value in self.options.get(name, ()) for word in value.split()]
        return [] if found == ["none"] else found


@dataclass(frozen=True, slots=True)
class Account:
    """One account of a server."""

    user: str
    uid: int
    shell: str
    shell_ok: bool
    home: str
    password: str
    expires: float | None
    groups: tuple[str, ...]
    sudo: str
    effective: Effective | None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Sudoers:
    """One file of sudo's rules."""

    path: str
    sha256: str
    uid: int
    mode: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """One file that Mainstay installed: its digest ("" missing), and the one that the gate wrote ("" unknown)."""

    path: str
    sha256: str
    uid: int
    mode: int
    wanted: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that a server told about who can sign in."""

    taken: float
    address: str
    accounts: tuple[Account, ...]
    everywhere: tuple[Source, ...]
    sudoers: tuple[Sudoers, ...]
    twins: tuple[tuple[str, int], ...]
    files: tuple[File, ...]
    lacks: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()

    def account(self, user: str) -> Account | None:
        """Return the account of a name."""
        return next((account for account in self.accounts if account.user == user), None)


def printable(text: str) -> str:
    """Return the text with everything that a screen would act on, or not show, written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


# --- reading -----------------------------------------------------------------------------------------


def read(answer: object) -> Found:
    """Return what a gate answered, or raise FoundError."""
    doc = _Doc(answer, "the answer")
    shared = doc.many("effective", 64, _effective)
    found = Found(
        taken=doc.number("taken"),
        address=doc.text("from", 64),
        accounts=doc.many("accounts", 2000, lambda each: _account(each, shared)),
        everywhere=doc.many("everywhere", 4000, _source),
        sudoers=doc.many("sudoers", 200, _sudoers),
        twins=doc.many("twins", 200, lambda each: (each.text("user", 64), each.whole("uid", 0, 2**32))),
        files=doc.many("files", 500, _file),
        lacks=doc.texts("lacks", 50, 400),
        cut=doc.texts("cut", 100, 400),
    )
    sources = [*found.everywhere, *(source for account in found.accounts for source in account.sources)]
    if sum(len(source.lines) for source in sources) > MOST_LINES:
        raise FoundError(f"The server named more than {MOST_LINES:,} keys.")
    if len({account.user for account in found.accounts}) != len(found.accounts):
        raise FoundError("The server named one account twice.")
    return found


class _Doc:
    """One JSON object of the answer, asked for its fields."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise FoundError(f"The server's answer is not understood: {where} is no object.")
        self.fields: dict[str, Any] = value
        self.where = where

    def wrong(self, name: str) -> FoundError:
        return FoundError(f"The server's answer is not understood: {name} of {self.where} is missing or wrong.")

    def text(self, name: str, most: int, *, cut: bool = False) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or (len(value) > most and not cut):
            raise self.wrong(name)
        return printable(value[:most])

    def maybe(self, name: str, most: int) -> str:
        return "" if name in self.fields and self.fields[name] is None else self.text(name, most, cut=True)

    def word(self, name: str, allowed: frozenset[str]) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(name)
        return value

    def yes(self, name: str) -> bool:
        value = self.fields.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name)
        return value

    def number(self, name: str) -> float:
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e11 < value < 1e11:
            raise self.wrong(name)
        return float(value)

    def maybe_number(self, name: str) -> float | None:
        return None if name in self.fields and self.fields[name] is None else self.number(name)

    def whole(self, name: str, least: int, most: int) -> int:
        value = self.number(name)
        if not math.isfinite(value) or value != int(value) or not least <= value <= most:
            raise self.wrong(name)
        return int(value)

    def digest(self, name: str, *, may_lack: bool = False) -> str:
        value = self.fields.get(name)
        if value is None and may_lack and name in self.fields:
            return ""
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise self.wrong(name)
        return value

    def rows(self, name: str, most: int) -> list[Any]:
        value = self.fields.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(name)
        return value

    def many(self, name: str, most: int, make: "Callable[[_Doc], T]") -> tuple[T, ...]:
        return tuple(make(_Doc(row, f"{name}[{i}]")) for i, row in enumerate(self.rows(name, most)))

    def texts(self, name: str, most: int, long: int) -> tuple[str, ...]:
        rows = self.rows(name, most)
        if not all(isinstance(row, str) for row in rows):
            raise self.wrong(name)
        return tuple(printable(row[:long]) for row in rows)


def _effective(doc: _Doc) -> Effective:
    options = _Doc(doc.fields.get("options"), f"options of {doc.where}")
    known = [name for name in options.fields if name in OPTIONS]
    return Effective(doc.maybe("error", 400), {name: options.texts(name, 2000, 4000) for name in known})


def _account(doc: _Doc, shared: tuple[Effective, ...]) -> Account:
    which = doc.maybe_number("effective")
    if which is not None and not (which == int(which) and 0 <= which < len(shared)):
        raise doc.wrong("effective")
    return Account(
        user=doc.text("user", 64),
        uid=doc.whole("uid", 0, 2**32),
        shell=doc.text("shell", 256),
        shell_ok=doc.yes("shell_ok"),
        home=doc.text("home", 1024),
        password=doc.word("password", PASSWORDS),
        expires=doc.maybe_number("expires"),
        groups=doc.texts("groups", 500, 64),
        sudo=doc.word("sudo", SUDO),
        effective=None if which is None else shared[int(which)],
        sources=doc.many("sources", 32, _source),
    )


def _source(doc: _Doc) -> Source:
    return Source(
        kind=doc.word("kind", KINDS),
        path=doc.text("path", 1024),
        exists=doc.yes("exists"),
        refused=doc.maybe("refused", 400),
        lines=doc.many("lines", 500, _line),
        mtime=doc.maybe_number("mtime"),
        user=doc.text("user", 64) if "user" in doc.fields else "",
    )


def _line(doc: _Doc) -> Line:
    text = doc.text("blob", 12_000)
    comment = doc.text("comment", 400, cut=True)
    if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) or len(text) % 4:
        text, comment = "", f"{text} {comment}"[:200]
    return Line(doc.whole("number", 0, 10**9), doc.text("options", 2000), doc.text("type", 64), text, comment)


def _sudoers(doc: _Doc) -> Sudoers:
    return Sudoers(
        doc.text("path", 1024), doc.digest("sha256"), doc.whole("uid", 0, 2**32), doc.whole("mode", 0, 0o7777),
        doc.texts("lines", 50, 300),
    )  # fmt: skip


def _file(doc: _Doc) -> File:
    return File(
        doc.text("path", 1024), doc.digest("sha256", may_lack=True), doc.whole("uid", 0, 2**32),
        doc.whole("mode", 0, 0o7777), doc.digest("wanted", may_lack=True),
    )  # fmt: skip
