"""The lock-out guard on the panel's side: after a change, would an admin and the panel still get in, and if not, why.

It judges what sshd said about the candidate (`sshd -T -C`, in the gate's answer), account by account. What is not known
does not count as a way in. The server's gate guards once more, with the real files.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from apps.access import blob
from apps.access.found import PANEL_FILE, Account, Effective, Found
from apps.access.keys import Accepted, read
from apps.access.wanted import Lent, Wanted, WantedAccount

PANEL = "mainstay"  # the panel's own account
PEOPLES = "/etc/ssh/mainstay/keys/%u"
PANELS = (PANEL_FILE, ".ssh/authorized_keys")  # the second below its home is the same file


@dataclass(frozen=True, slots=True)
class Way:
    """Whether one admin could sign in and become root; `why` not, as the end of "…: "."""

    name: str
    user: str
    opens: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the change may be applied, the sentence for it, and each admin's way in."""

    ok: bool
    said: str
    ways: tuple[Way, ...]


def decide(wanted: Wanted, found: Found, *, server: str, now: datetime) -> Decision:
    """Return whether a wanted state may be applied on a server, given what sshd would do then."""
    ways = tuple(_way(account, wanted, found, now) for account in wanted.accounts if account.admin)
    open_ways = [way for way in ways if way.opens]
    panel = _panel(found, now)
    if panel:
        return Decision(False, f"Mainstay itself could not get in to {server} any more: {panel}. {_UNDONE}", ways)
    if not open_ways:
        whom = " ".join(f"{way.name} ({way.user}): {way.why}." for way in ways)
        nobody = "No owner or admin of the team has sudo there without an end date." if not ways else whom
        return Decision(False, f"No admin could get in to {server} any more. {nobody} {_UNDONE}", ways)
    free = {account.user for account in wanted.accounts if account.lease_free}
    if not any(way.user in free for way in open_ways):
        held = ", ".join(f"{way.name} ({way.user})" for way in open_ways)
        return Decision(
            False,
            f"Nobody could get in to {server} once Mainstay is away for long: every key of {held} ends with its lease. "
            f"{_UNDONE}",
            ways,
        )
    names = ", ".join(way.name for way in open_ways)
    return Decision(True, f"{names} and Mainstay itself can get in to {server} afterwards.", ways)


_NO_ALGORITHM = "sshd takes no {} keys (PubkeyAcceptedAlgorithms)"
_UNDONE = "Nothing was changed there."


def _way(account: WantedAccount, wanted: Wanted, found: Found, now: datetime) -> Way:
    why = _why_not(account, wanted, found, now)
    return Way(account.name, account.user, not why, why)


def _why_not(account: WantedAccount, wanted: Wanted, found: Found, now: datetime) -> str:
    if not account.keys:
        return "has no key"
    if not account.sudo:
        return "has no sudo"
    if account.user in wanted.gone:
        return "is to be removed in the same change"
    there = found.account(account.user)
    effective = there.effective if there else _stranger(found)
    if effective is None or effective.error:
        return f"it is not known what sshd would decide{f' ({effective.error})' if effective else ''}"
    return (
        (_closed(there, effective, now) if there else "")
        or ("it is not known whether sudo works" if there and there.sudo == "unknown" else "")
        or _barred(account.user, there.groups if there else (account.user,), effective, (PEOPLES,))
        or _keys(account.keys, wanted.revoked, effective, now)
    )


def _stranger(found: Found) -> Effective | None:
    """Return what sshd would decide for an account that is yet to be made: only what holds for all accounts alike."""
    told = [account.effective for account in found.accounts if account.uid and account.user != PANEL]
    return told[0] if told and all(each == told[0] for each in told) else None


def _panel(found: Found, now: datetime) -> str:
    there = found.account(PANEL)
    if there is None:
        return f"there is no account {PANEL}"
    if there.effective is None or there.effective.error:
        return "it is not known what sshd would decide for it"
    unknown = "" if _algorithm(blob.ED25519, there.effective) else _NO_ALGORITHM.format(blob.ED25519)
    return _closed(there, there.effective, now) or _barred(PANEL, there.groups, there.effective, PANELS) or unknown


def _closed(account: Account, effective: Effective, now: datetime) -> str:
    """Return why the account itself lets nobody in: expired, locked, or without a shell."""
    if account.expires is not None and account.expires <= now.timestamp():
        return "the account has expired"
    if account.password == "locked" and effective.one("usepam", "no") != "yes":  # noqa: S105 a state, not a password
        return "the account is locked (! in /etc/shadow, and UsePAM is off)"
    return "" if account.shell_ok else f"the login shell {account.shell or '(none)'} lets nobody in"


def _barred(user: str, groups: Iterable[str], effective: Effective, paths: tuple[str, ...]) -> str:
    """Return which setting of sshd keeps the account out."""
    if effective.one("pubkeyauthentication", "yes") != "yes":
        return "sshd takes no public keys (PubkeyAuthentication)"
    if not set(paths) & set(effective.words("authorizedkeysfile")):
        return "sshd does not read Mainstay's keys (AuthorizedKeysFile)"
    methods = effective.words("authenticationmethods")
    if methods not in ([], ["any"]) and "publickey" not in methods:
        return "sshd asks for more than a key (AuthenticationMethods)"
    if effective.one("forcecommand", "none") != "none":
        return "sshd runs another command than the one wanted (ForceCommand)"
    if effective.one("chrootdirectory", "none") != "none":
        return "sshd locks the account into a folder (ChrootDirectory)"
    return _listed(user, tuple(groups), effective)


def _listed(user: str, groups: tuple[str, ...], effective: Effective) -> str:
    """Return which list keeps the account out, in sshd's order: deny before allow, users before groups."""
    for name, allows in (("denyusers", False), ("allowusers", True), ("denygroups", False), ("allowgroups", True)):
        patterns, who = effective.words(name), (user,) if "users" in name else groups
        hit = _named(patterns, who, surely=allows)
        if hit != allows and patterns:
            shown = {"denyusers": "DenyUsers", "allowusers": "AllowUsers", "denygroups": "DenyGroups"}.get(name)
            return f"sshd's {shown or 'AllowGroups'} {'does not name' if allows else 'names'} the account"
    return ""


def _named(patterns: Iterable[str], who: tuple[str, ...], *, surely: bool) -> bool:
    """Return whether a pattern names the account; user@host depends on from where: that is no sure way in."""
    for pattern in patterns:
        name, _, host = pattern.partition("@")
        if (not surely or host in {"", "*"}) and any(fits(name, each) for each in who):
            return True
    return False


def fits(pattern: str, name: str) -> bool:
    """Return whether a name fits a pattern of sshd: * and ? as in man ssh_config, PATTERNS."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name) is not None


def _keys(keys: Iterable[Lent], revoked: Iterable[str], effective: Effective, now: datetime) -> str:
    """Return why none of the keys would be taken, "" when one would."""
    reasons = []
    for key in keys:
        verdict = read(f"{key.type} {key.blob}")[0]
        if not isinstance(verdict, Accepted):
            reasons.append("the key is too weak or damaged")
        elif key.until is not None and key.until <= now.timestamp():
            reasons.append("the key's lease is over")
        elif f"{key.type} {key.blob}" in set(revoked):
            reasons.append("the key is revoked")
        elif not _algorithm(key.type, effective):
            reasons.append(_NO_ALGORITHM.format(key.type))
        elif key.type == blob.RSA and verdict.bits < _least_rsa(effective):
            reasons.append(f"sshd asks for longer RSA keys than {verdict.bits} bits (RequiredRSASize)")
        else:
            return ""
    return "; ".join(dict.fromkeys(reasons)) or "has no key"


def _least_rsa(effective: Effective) -> int:
    value = effective.one("requiredrsasize", "0")
    return int(value) if re.fullmatch(r"\d{1,6}", value) else blob.MOST_RSA + 1


def _algorithm(kind: str, effective: Effective) -> bool:
    # before OpenSSH 8.5 the option had the second name
    taken = (effective.one("pubkeyacceptedalgorithms") or effective.one("pubkeyacceptedkeytypes")).split(",")
    if taken == [""]:
        return True  # an sshd that does not print it takes all that it knows
    names = {"rsa-sha2-256", "rsa-sha2-512", blob.RSA} if kind == blob.RSA else {kind}
    return bool(names & set(taken))
