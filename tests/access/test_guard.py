"""The guard refuses a change after which no admin, or not the panel, would get in; it names server, person and why."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.access import found
from apps.access.found import read
from apps.access.guard import Decision, decide, fits
from apps.access.wanted import Lent, Wanted, WantedAccount
from apps.servers.gate import gate
from tests.access import ssh_keys
from tests.access.answers import account, answer, blob_of, options

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
SOON = int(NOW.timestamp()) + 3600


def lent(name: str, until: int | None = None) -> Lent:
    """Return a key on a server."""
    return Lent(f"{name}-1", "ssh-ed25519", blob_of(name), until)


def admin(user: str = "mira", *keys: Lent, **more: Any) -> WantedAccount:
    """Return a wanted admin."""
    fields: dict[str, Any] = {"sudo": True, "admin": True, **more}
    return WantedAccount(user, f"p-{user}", user.title(), keys=keys or (lent(user),), **fields)


def ask(*accounts: WantedAccount, there: list[dict[str, Any]] | None = None, revoked: tuple[str, ...] = (),
        gone: tuple[str, ...] = (), sshd: dict[str, list[str]] | None = None) -> Decision:  # fmt: skip
    """Return the decision for a server with these settings of sshd."""
    there = [account("mira", 1000, sudo="all")] if there is None else there
    found = read(answer(*there, effective=[{"error": None, "options": options(**sshd or {})}]))
    return decide(Wanted(accounts, revoked, gone, "adopt"), found, server="web-1", now=NOW)


def test_a_change_that_leaves_an_admin_and_the_panel_is_let_through() -> None:
    decision = ask(admin())
    assert decision.ok
    assert decision.said == "Mira and Mainstay itself can get in to web-1 afterwards."


def test_an_admin_whose_account_is_yet_to_be_made_counts() -> None:
    assert ask(admin("tom"), there=[account("mira", 1000)]).ok
    assert not ask(admin("tom"), there=[]).ok  # nothing says what sshd would decide for an account like it


def test_a_change_without_any_admin_is_refused() -> None:
    decision = ask(admin(admin=False, sudo=False))
    assert not decision.ok
    assert decision.said == (
        "No admin could get in to web-1 any more. No owner or admin of the team has sudo there without an end date. "
        "Nothing was changed there."
    )


@pytest.mark.parametrize(
    ("opts", "why"),
    [
        ({"allowusers": ["bob", "mainstay"]}, "sshd's AllowUsers does not name the account"),
        ({"allowusers": ["mira@10.0.0.1", "mainstay"]}, "sshd's AllowUsers does not name the account"),
        ({"denyusers": ["mi*"]}, "sshd's DenyUsers names the account"),
        ({"denyusers": ["mira@10.0.0.1"]}, "sshd's DenyUsers names the account"),
        ({"allowgroups": ["ssh-users", "mainstay"]}, "sshd's AllowGroups does not name the account"),
        ({"denygroups": ["mir?"]}, "sshd's DenyGroups names the account"),
        ({"authorizedkeysfile": [".ssh/authorized_keys /var/lib/mainstay/.ssh/authorized_keys"]},
         "sshd does not read Mainstay's keys (AuthorizedKeysFile)"),
    ],
)  # fmt: skip
def test_a_setting_of_sshd_that_keeps_the_admin_out_is_named(opts: dict[str, list[str]], why: str) -> None:
    decision = ask(admin(), sshd=opts)
    assert not decision.ok
    assert decision.said == f"No admin could get in to web-1 any more. Mira (mira): {why}. Nothing was changed there."


@pytest.mark.parametrize(
    "opts",
    [
        {"pubkeyacceptedalgorithms": ["rsa-sha2-512"]},
        {"pubkeyauthentication": ["no"]}, {"authenticationmethods": ["publickey,password"]},
        {"forcecommand": ["/bin/false"]}, {"chrootdirectory": ["/srv"]}, {"allowusers": ["mira"]},
        {"authorizedkeysfile": ["/etc/ssh/mainstay/keys/%u"]},
    ],
)  # fmt: skip
def test_a_setting_of_sshd_that_keeps_the_panel_out_is_refused(opts: dict[str, list[str]]) -> None:
    decision = ask(admin(), sshd=opts)
    assert not decision.ok
    assert decision.said.startswith("Mainstay itself could not get in to web-1 any more: sshd")


@pytest.mark.parametrize(
    ("opts"),
    [
        {"allowusers": ["mira@*", "mainstay"]}, {"allowgroups": ["*"]},
        {"authenticationmethods": ["password", "publickey"]},
        {"requiredrsasize": ["nonsense"]}, {"denyusers": ["none"]}, {"allowusers": ["m*"]},
    ],
)  # fmt: skip
def test_settings_that_let_the_admin_in_are_seen_as_such(opts: dict[str, list[str]]) -> None:
    assert ask(admin(), sshd=opts).ok


@pytest.mark.parametrize(
    ("there", "opts", "why"),
    [
        ({"password": "locked"}, {"usepam": ["no"]}, "the account is locked (! in /etc/shadow, and UsePAM is off)"),
        ({"expires": NOW.timestamp() - 1}, {}, "the account has expired"),
        ({"shell_ok": False, "shell": "/usr/sbin/nologin"}, {}, "the login shell /usr/sbin/nologin lets nobody in"),
        ({"sudo": "unknown"}, {}, "it is not known whether sudo works"),
        ({"effective": None}, {}, "it is not known what sshd would decide"),
    ],
)
def test_an_account_that_lets_nobody_in_is_named(there: dict[str, Any], opts: dict[str, list[str]], why: str) -> None:
    decision = ask(admin(), there=[account("mira", 1000, **there)], sshd=opts)
    assert not decision.ok
    assert f"Mira (mira): {why}." in decision.said


def test_a_locked_password_is_no_matter_with_pam() -> None:
    assert ask(admin(), there=[account("mira", 1000, password="locked")]).ok


@pytest.mark.parametrize(
    ("person", "revoked", "gone", "why"),
    [
        (WantedAccount("mira", "p", "Mira", sudo=True, admin=True, keys=()), (), (), "has no key"),
        (admin(sudo=False), (), (), "has no sudo"),
        (admin("mira", lent("mira", SOON - 7200)), (), (), "the key's lease is over"),
        (admin(), (f"ssh-ed25519 {blob_of('mira')}",), (), "the key is revoked"),
        (admin("mira", Lent("k", "ssh-rsa", ssh_keys.made("rsa", 1024)[0].split()[1], None)), (), (), "too weak"),
        (admin("mira", Lent("k", "ssh-ed25519", "AAAA", None)), (), (), "too weak or damaged"),
        (admin(), (), ("mira",), "is to be removed in the same change"),
    ],
)
def test_an_admin_who_could_not_use_the_account_does_not_count(
    person: WantedAccount, revoked: tuple[str, ...], gone: tuple[str, ...], why: str
) -> None:
    decision = ask(person, revoked=revoked, gone=gone)
    assert not decision.ok
    assert why in decision.said


def test_a_short_rsa_key_for_sshd_is_not_a_way_in() -> None:
    line = ssh_keys.made("rsa", 3072)[0].split()
    keyed = admin("mira", Lent("k", line[0], line[1], None))
    assert ask(keyed).ok
    assert "longer RSA keys than 3072 bits" in ask(keyed, sshd={"requiredrsasize": ["4096"]}).said


def test_a_kind_of_key_that_sshd_does_not_take_is_not_a_way_in() -> None:
    kind, text, _ = ssh_keys.made("ecdsa", 384)[0].split()
    keyed = admin("mira", Lent("k", kind, text, None))
    for name in ("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"):
        sshd = {"pubkeyacceptedalgorithms": [""], name: ["ssh-ed25519"]}
        assert "sshd takes no ecdsa-sha2-nistp384 keys (PubkeyAcceptedAlgorithms)" in ask(keyed, sshd=sshd).said


def test_leases_for_everybody_are_refused() -> None:
    decision = ask(admin("mira", lent("mira", SOON)))
    assert not decision.ok
    assert "Nobody could get in to web-1 once Mainstay is away for long" in decision.said
    assert ask(admin("mira", lent("mira", SOON)), admin("tom")).ok


def test_a_key_without_a_lease_of_an_admin_who_is_kept_out_does_not_help() -> None:
    both = (admin("mira", lent("mira", SOON)), admin("tom"))
    assert not ask(*both, there=[account("mira", 1000), account("tom", 1001, shell_ok=False)]).ok


def test_one_admin_of_two_is_enough_and_the_other_is_explained() -> None:
    decision = ask(admin(), admin("tom"), there=[account("mira", 1000), account("tom", 1001, shell_ok=False)])
    assert decision.ok
    assert [(way.user, way.opens) for way in decision.ways] == [("mira", True), ("tom", False)]


def test_an_sshd_that_cannot_answer_is_no_way_in() -> None:
    found = read(answer(account("mira", 1000), effective=[{"error": "line 7: bad option", "options": {}}]))
    decision = decide(Wanted((admin(),), (), (), "adopt"), found, server="web-1", now=NOW)
    assert not decision.ok
    assert decision.said.startswith("Mainstay itself could not get in to web-1")


def test_a_server_without_the_panels_account_is_refused() -> None:
    doc = answer(account("mira", 1000))
    doc["accounts"] = doc["accounts"][1:]
    decision = decide(Wanted((admin(),), (), (), "adopt"), read(doc), server="web-1", now=NOW)
    assert "there is no account mainstay" in decision.said


SETTINGS = {
    "allowusers": ["*", "mira", "tom", "mainstay", "m*", "x@1.2.3.4"], "denyusers": ["tom", "mira@*", "nobody"],
    "allowgroups": ["*", "wheel", "mira"], "denygroups": ["wheel", "tom"], "pubkeyauthentication": ["yes", "no"],
    "authenticationmethods": ["any", "password", "publickey"], "requiredrsasize": ["9999", "x" * 9],
    "pubkeyacceptedalgorithms": ["ssh-ed25519", "ssh-rsa"], "forcecommand": ["none", "/x"],
}  # fmt: skip


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.dictionaries(st.sampled_from(sorted(SETTINGS)), st.just(0)).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: st.lists(st.sampled_from(SETTINGS[name]), min_size=1, max_size=2, unique=True) for name in chosen}
        )
    ),
    st.lists(st.tuples(st.sampled_from(["mira", "tom"]), st.none() | st.just(SOON) | st.just(5)), max_size=2),
    st.booleans(),
)
def test_what_is_let_through_always_leaves_an_open_lease_free_admin(
    opts: dict[str, list[str]],
    held: list[tuple[str, int | None]],
    shell_ok: bool,  # noqa: FBT001
) -> None:
    accounts = tuple(admin(user, lent(user, until)) for user, until in dict(held).items())
    there = [account("mira", 1000, shell_ok=shell_ok), account("tom", 1001, password="locked")]
    decision = ask(*accounts, there=there, sshd=opts)
    assert decision.said.endswith(".")
    free = {each.user for each in accounts if each.lease_free}
    if decision.ok:
        assert free & {way.user for way in decision.ways if way.opens}
        assert opts.get("pubkeyauthentication", ["yes"])[0] == "yes"
        assert opts.get("forcecommand", ["none"])[0] == "none"
    else:
        assert "web-1" in decision.said


@pytest.mark.parametrize(
    ("pattern", "name", "fit"),
    [
        ("mira", "mira", 1),
        ("m*", "mira", 1),
        ("m?ra", "mira", 1),
        ("*", "", 1),
        ("m.ra", "mira", 0),
        ("mir", "mira", 0),
    ],
)
def test_patterns_are_those_of_sshd(pattern: str, name: str, fit: int) -> None:
    assert fits(pattern, name) == bool(fit)


def test_the_panels_own_file_is_the_one_that_the_gate_has() -> None:
    assert found.PANEL_FILE == gate.PANEL_KEYS
