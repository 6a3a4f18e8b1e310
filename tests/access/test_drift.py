"""Every way in that nobody granted is found, said with path, line and fingerprint, and keeps its key while it stays."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.access.drift import Answer, Finding, Owner, _split, find
from apps.access.found import read
from apps.access.wanted import Lent, Wanted, WantedAccount
from tests.access import ssh_keys
from tests.access.answers import account, answer, blob_of, line, source

MIRA_KEYS = "/etc/ssh/mainstay/keys/mira"
LEASE = 'expiry-time="20261126094100Z"'


def fingerprint(name: str) -> str:
    """Return the fingerprint of a name's key, as the real ssh-keygen says it."""
    return ssh_keys.keygen("-lf", given=f"ssh-ed25519 {blob_of(name)}").split()[1]


FINGERPRINTS = {name: fingerprint(name) for name in ("mira", "tom", "lena", "stranger", "panel", "old")}
OWNERS = {
    FINGERPRINTS["mira"]: Owner("1", "Mira", "mira", active=True),
    FINGERPRINTS["tom"]: Owner("2", "Tomás", "tom", active=True),
    FINGERPRINTS["lena"]: Owner("5", "Lena", "lena", active=False),
    FINGERPRINTS["old"]: Owner("1", "Mira", "mira", active=True, state="revoked"),
}
WANTED = Wanted(
    (WantedAccount("mira", "1", "Mira", sudo=True, admin=True, keys=(Lent("k", "ssh-ed25519", blob_of("mira"), 9),)),),
    (), (), "adopt",
)  # fmt: skip
MIRA = account("mira", 1000, source(MIRA_KEYS, line("mira", options=LEASE)))


def look(
    *accounts: dict[str, Any], adopted: tuple[str, ...] = (), known: dict[str, str] | None = None, **more: Any
) -> list[Finding]:
    """Return what is found on a server with these accounts."""
    told = read(answer(*accounts, **more))
    return find(told, wanted=WANTED, owners=OWNERS, panel=FINGERPRINTS["panel"], adopted=adopted, known=known)


def one(*accounts: dict[str, Any], **more: Any) -> Finding:
    """Return the one finding."""
    (finding,) = look(*accounts, **more)
    return finding


def home(user: str, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an account with keys in its home."""
    return account(user, 1005, source(f"/people/{user}/.ssh/authorized_keys", *lines, **more))


def test_a_server_that_is_as_agreed_has_no_finding() -> None:
    rules = {"path": "/etc/sudoers.d/mainstay", "sha256": "a" * 64, "uid": 0, "mode": 0o440, "lines": []}
    ours = {"path": "/etc/sudoers.d/mainstay", "sha256": "a" * 64, "uid": 0, "mode": 0o440, "wanted": "a" * 64}
    assert look(MIRA, sudoers=[rules], files=[ours]) == []


def test_an_unknown_key_is_shown_with_path_line_and_fingerprint() -> None:
    found = one(MIRA, home("deploy", line("stranger", 7)))
    assert (found.kind, found.bad, found.line, found.path) == (
        "unknown_key", True, 7, "/people/deploy/.ssh/authorized_keys",
    )  # fmt: skip
    assert found.fingerprint == FINGERPRINTS["stranger"]
    assert found.said == ("A key of nobody known here opens deploy (/people/deploy/.ssh/authorized_keys, line 7).")
    assert found.answers == (Answer.ADOPT, Answer.ASK, Answer.REMOVE)


def test_the_key_of_somebody_who_left_can_only_be_removed() -> None:
    found = one(home("lena", line("lena")))
    assert (found.kind, found.answers, found.person) == ("left_key", (Answer.REMOVE,), "5")


def test_a_revoked_key_that_still_lies_somewhere_is_found() -> None:
    assert one(home("mira", line("old"))).kind == "ended_key"


@pytest.mark.parametrize("name", ["mira", "stranger"])
def test_a_key_of_root_is_found_whosever_it_is(name: str) -> None:
    found = one(account("root", 0, source("/people/admin/.ssh/authorized_keys", line(name))))
    assert found.kind == "root_key"
    assert "Nobody shares root." in found.said


def test_a_key_of_one_person_in_the_account_of_another_is_found() -> None:
    found = one(home("deploy", line("tom")))
    assert (found.kind, found.person) == ("shared_key", "2")
    own = one(account("mira", 1000, source(MIRA_KEYS, line("tom", options=LEASE))))
    assert own.kind == "shared_key"  # in Mainstay's own file, too


def test_one_unknown_key_in_two_accounts_is_one_finding_more() -> None:
    kinds = [found.kind for found in look(home("a", line("stranger")), home("b", line("stranger")))]
    assert sorted(kinds) == ["shared_key", "unknown_key", "unknown_key"]


def test_a_copy_of_ones_own_key_without_a_lease_is_told_but_is_not_bad() -> None:
    found = one(MIRA, home("mira2"), account("tom", 1001, source("/people/tom/.ssh/authorized_keys", line("tom"))))
    assert (found.kind, found.bad) == ("copy", False)


def test_the_panels_key_anywhere_else_or_without_its_command_is_found() -> None:
    assert one(home("deploy", line("panel"))).kind == "unknown_key"
    doc = answer()
    doc["accounts"][0]["sources"][0]["lines"][0]["options"] = 'restrict,from="10.0.0.1"'
    (found,) = find(read(doc), wanted=WANTED, owners=OWNERS, panel=FINGERPRINTS["panel"])
    assert (found.kind, found.bad) == ("own_file", True)
    assert "without command" in found.said


def test_a_lease_that_somebody_took_out_is_found() -> None:
    found = one(account("mira", 1000, source(MIRA_KEYS, line("mira"))))
    assert found.kind == "own_file"
    assert "without expiry-time" in found.said


@pytest.mark.parametrize(
    "options", ["cert-authority", 'CERT-AUTHORITY,principals="a,b"', 'command="x,y",cert-authority']
)
def test_a_certificate_authority_is_found(options: str) -> None:
    assert one(home("deploy", line("stranger", options=options))).kind == "authority"


def test_the_word_cert_authority_inside_quotes_is_no_authority() -> None:
    assert one(home("deploy", line("stranger", options='command="a,cert-authority"'))).kind == "unknown_key"


def test_authorities_programs_principals_and_trusted_hosts_are_found() -> None:
    row = {"number": 1, "options": "", "type": "", "blob": "", "comment": "friend.example bob"}
    found = look(
        account("mira", 1000, source("/etc/ssh/ca.pub", line("stranger"), kind="authority"),
                source("/usr/bin/keys %u", kind="command"), source("/etc/ssh/principals/mira", row, kind="principals"),
                source("/people/mira/.shosts", row, kind="shosts")),
        everywhere=[source("/etc/hosts.equiv", row, kind="rhosts")],
    )  # fmt: skip
    assert sorted(each.kind for each in found) == ["authority", "authority", "command", "trust", "trust"]
    assert all(each.bad for each in found)


def test_a_file_that_sshd_does_not_read_now_is_told_mildly() -> None:
    found = one(home("deploy", line("stranger"), refused="bad ownership or modes for directory /people/deploy"))
    assert not found.bad
    assert found.said.endswith(", but sshd does not read it now: bad ownership or modes for directory /people/deploy.")
    unread = one(everywhere=[source("/people/x/.ssh/authorized_keys2", line("lena"), kind="unread", user="x")])
    assert (unread.kind, unread.bad) == ("left_key", False)


def test_root_by_another_name_is_found() -> None:
    assert one(twins=[{"user": "toor", "uid": 0}]).said == "toor is root by another name: its number is 0, too."


def test_changed_sudoers_ask_again_and_adopted_ones_are_quiet() -> None:
    rules = {
        "path": "/etc/sudoers.d/deploy",
        "sha256": "a" * 64,
        "uid": 0,
        "mode": 0o440,
        "lines": ["deploy ALL=(ALL) ALL"],
    }
    found = one(sudoers=[rules])
    assert (found.kind, found.bad) == ("sudoers", False)
    assert look(sudoers=[rules], adopted=(found.key,)) == []
    assert one(sudoers=[{**rules, "sha256": "b" * 64}], adopted=(found.key,)).kind == "sudoers"
    assert one(sudoers=[{**rules, "mode": 0o666}], adopted=(found.key,)).bad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "b" * 64}, "is not as Mainstay wrote it"), ({"sha256": None}, "is gone"),
        ({"mode": 0o666}, "may be changed by others than root"), ({"uid": 1000}, "may be changed by others than root"),
        ({"wanted": None}, "It is not known whether"),
    ],
)  # fmt: skip
def test_a_changed_file_of_ours_is_found(change: dict[str, Any], words: str) -> None:
    path = "/etc/ssh/sshd_config.d/10-mainstay.conf"
    file = {"path": path, "sha256": "a" * 64, "uid": 0, "mode": 0o644, "wanted": "a" * 64}
    found = one(files=[{**file, **change}])
    assert found.kind == "own_file"
    assert words in found.said


def test_what_could_not_be_seen_is_said() -> None:
    broken = [{"error": "line 3: Bad configuration option", "options": {}}]
    found = look(account("a", 1), effective=broken, lacks=["sudo is not there"], cut=["x: 812 lines, 500 shown"])
    assert [each.kind for each in found] == ["unseen"] * 3
    assert found[0].bad


def test_a_finding_keeps_its_key_when_the_line_moves_and_loses_it_when_its_options_change() -> None:
    first = one(home("deploy", line("stranger", 7)))
    assert look(home("deploy", line("stranger", 9)), adopted=(first.key,)) == []
    loosened = one(home("deploy", line("stranger", 7, options='from="1.2.3.4"')))
    assert look(home("deploy", line("stranger", 7)), adopted=(loosened.key,)) != []


def test_keys_fit_the_row_however_long_a_path_is() -> None:
    path = "/people/" + "x" * 1000
    found = one(account("deploy", 1005, source(path, line("stranger"))), twins=[])
    assert len(found.key) <= 200


names = st.sampled_from(sorted(FINGERPRINTS))
kinds = st.sampled_from(["file", "authority", "unread", "rhosts"])
paths = st.sampled_from(["/people/admin/.ssh/authorized_keys", MIRA_KEYS, "/people/x/.ssh/authorized_keys", "/x"])
sources = st.builds(
    lambda path, kind, rows, refused: source(path, *rows, kind=kind, refused=refused),
    paths, kinds, st.lists(names.map(line), max_size=4), st.none() | st.just("bad modes"),
)  # fmt: skip


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.lists(sources, max_size=3), max_size=4))
def test_every_key_that_sshd_reads_and_nobody_granted_is_found(places: list[list[dict[str, Any]]]) -> None:
    users = ["mira", "deploy", "root", "x"]
    accounts = [account(users[i], i, *each) for i, each in enumerate(places)]
    found = look(*accounts)
    told = {(each.user, each.fingerprint) for each in found}
    for each in accounts:
        for place in each["sources"]:
            for row in place["lines"] if place["kind"] in {"file", "authority", "unread"} else ():
                assert (each["user"], FINGERPRINTS[row["comment"].removesuffix("@laptop")]) in told
    assert len({each.key for each in found}) == len(found)
    assert [each.bad for each in found] == sorted((each.bad for each in found), reverse=True)
    assert look(*accounts, adopted=tuple(each.key for each in found)) == []


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.text('abc,"\\=', max_size=6), max_size=4))
def test_options_are_split_without_losing_a_character(parts: list[str]) -> None:
    text = ",".join(parts)
    assert ",".join(_split(text)) == text


def test_what_the_script_installed_is_compared_with_what_would_be_installed_and_with_nothing_else() -> None:
    gate = {"path": "/usr/local/lib/mainstay/gate", "sha256": "a" * 64, "uid": 0, "mode": 0o755, "wanted": None}
    config = {"path": "/etc/mainstay/server.json", "sha256": "b" * 64, "uid": 0, "mode": 0o644, "wanted": None}
    assert look(files=[gate, config]) == []
    assert look(files=[gate, config], known={str(gate["path"]): "a" * 64}) == []
    other = one(files=[gate, config], known={str(gate["path"]): "c" * 64})
    assert (other.kind, other.path) == ("own_file", gate["path"])
    assert one(files=[{**config, "mode": 0o666}]).bad


def test_what_every_system_comes_with_gives_nobody_anything() -> None:
    stock = ["Defaults\tenv_reset", "root\tALL=(ALL:ALL) ALL", "%sudo\tALL=(ALL:ALL) ALL", "@includedir /etc/sudoers.d"]
    rules = {"path": "/etc/sudoers", "sha256": "a" * 64, "uid": 0, "mode": 0o440, "lines": stock}
    assert look(sudoers=[rules]) == []
    assert one(sudoers=[{**rules, "lines": [*stock, "eve ALL=(ALL) NOPASSWD: ALL"]}]).said.endswith("NOPASSWD: ALL")
