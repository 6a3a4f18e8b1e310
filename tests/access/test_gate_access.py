"""The gate's changes of access on a server of files alone, with a real sshd -T: what it makes, refuses and undoes."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from apps.access import found
from tests.access.model import DROPIN, Model, account, admin, key, public
from tests.access.ssh_keys import made

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd")
SOON = int(time.time()) + 72 * 3600


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path / "server")


def why(model: Model, user: str = "bob", **more: Any) -> str:
    """Return what sshd would have against somebody who is let in beside an admin."""
    answer = model.access(admin("alice"), account(user, **more) if more else account(user))
    row = next(row for row in answer["accounts"] if row["user"] == user)
    assert row["accepts"] == (not row["why"])
    return str(row["why"])


# --- what it makes ------------------------------------------------------------------------------------


def test_people_get_accounts_leased_lines_and_sudo_and_nothing_else(model: Model) -> None:
    answer = model.access(admin("alice"), account("bob", key("bob", SOON)))
    assert [(row["user"], row["accepts"], row["sudo"]) for row in answer["accounts"]] == [
        ("alice", True, True), ("bob", True, False),
    ]  # fmt: skip
    stamp = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(SOON))
    assert model.read("etc/ssh/mainstay/keys/alice") == f"{public('alice')} mainstay:alice:alice\n"
    assert model.read("etc/ssh/mainstay/keys/bob") == f'expiry-time="{stamp}" {public("bob")} mainstay:bob:bob\n'
    assert "alice ALL=(ALL:ALL) NOPASSWD: ALL\n" in model.read("etc/sudoers.d/mainstay-alice")
    assert not (model.root / "etc/sudoers.d/mainstay-bob").exists()
    shadow = {line.split(":")[0]: line.split(":")[1:] for line in model.read("etc/shadow").split()}
    assert shadow["bob"][0] == "*"  # never !, which locks out keys where UsePAM is no
    assert shadow["bob"][3] in ("", "-1")  # and no password that gets too old
    assert not (model.root / "home/alice/.ssh").exists()


def test_the_same_again_changes_nothing_and_needs_no_proof(model: Model) -> None:
    model.access(admin("alice"), account("bob", key("bob", SOON)))
    before = model.files()
    answer = model.access(admin("alice"), account("bob", key("bob", SOON)))
    assert (answer["pending"], answer["change"]) == (False, None)
    assert model.files() == before


def test_longer_leases_need_no_proof_and_shorter_ones_do(model: Model) -> None:
    model.access(admin("alice"), account("bob", key("bob", SOON)))
    assert not model.access(admin("alice"), account("bob", key("bob", SOON + 3600)))["pending"]
    assert time.strftime("%Y%m%d%H%M%SZ", time.gmtime(SOON + 3600)) in model.read("etc/ssh/mainstay/keys/bob")
    assert model.access(admin("alice"), account("bob", key("bob", SOON)))["pending"]


def test_adopting_reads_on_what_was_read_and_enforcing_reads_ours_alone(model: Model) -> None:
    model.sshd("AuthorizedKeysFile /etc/theirs/%u .ssh/authorized_keys\n")
    model.access(admin("alice"))
    line = "AuthorizedKeysFile /etc/ssh/mainstay/keys/%u"
    assert f"{line} /etc/theirs/%u .ssh/authorized_keys\n" in model.read(DROPIN)
    model.access(admin("alice"), mode="enforced")
    assert f"{line}\n" in model.read(DROPIN)
    model.access(admin("alice"))
    assert f"{line} /etc/theirs/%u .ssh/authorized_keys\n" in model.read(DROPIN)


def test_a_revoked_key_is_revoked_for_the_real_ssh_keygen_and_the_others_are_not(model: Model) -> None:
    model.access(admin("alice"), account("bob"))
    assert not model.revoked("bob")
    answer = model.access(admin("alice"), gone=("bob",), revoked=(public("bob"),))
    assert model.revoked("bob")
    assert not model.revoked("alice")
    assert answer["gone"][0]["locked"]
    assert "bob:!*:" in model.read("etc/shadow")
    assert not (model.root / "etc/ssh/mainstay/keys/bob").exists()


def test_who_comes_back_is_let_in_again(model: Model) -> None:
    model.access(admin("alice"), account("bob"))
    model.access(admin("alice"), gone=("bob",))
    assert why(model) == ""
    assert "bob:*:" in model.read("etc/shadow")


# --- what it leaves alone -----------------------------------------------------------------------------


def test_an_account_that_was_there_is_not_touched_before_it_is_adopted(model: Model) -> None:
    model.person("bob", keys=public("bob"))
    assert model.refused(admin("alice"), account("bob"))[0] == "refused"
    passwd = [line for line in model.read("etc/passwd").split("\n") if line.startswith("bob:")]
    model.access(admin("alice"), account("bob"), adopted=["bob"])
    assert [line for line in model.read("etc/passwd").split("\n") if line.startswith("bob:")] == passwd
    assert model.read("home/bob/.ssh/authorized_keys") == public("bob") + "\n"


def test_gone_does_nothing_to_an_account_that_mainstay_did_not_make(model: Model) -> None:
    model.person("bob", keys=public("bob"))
    answer = model.access(admin("alice"), gone=("bob",))
    assert answer["gone"] == [{"user": "bob", "touched": False}]
    assert "bob:*:" in model.read("etc/shadow")


@pytest.mark.parametrize("change", [
    {"user": "root"}, {"user": "mainstay"}, {"user": "../alice"}, {"user": "a;id"}, {"user": "-rf"}, {"user": "A"},
    {"user": "a" * 32}, {"user": "bob\n"}, {"user": ""}, {"user": None}, {"user": ["bob"]}, {"person": "x\nroot"},
    {"person": "$(id)"}, {"sudo": 1}, {"admin": None}, {"keys": None}, {"keys": [{}]}, {"keys": "x"},
])  # fmt: skip
def test_an_account_of_another_form_is_refused(model: Model, change: dict[str, Any]) -> None:
    assert model.refused(admin("alice"), {**account("bob"), **change})[0] in ("malformed", "refused")


@pytest.mark.parametrize("change", [
    {"type": "ssh-dss"}, {"type": "ssh-rsa"}, {"type": 'command="id" ssh-ed25519'}, {"blob": "AAAA"}, {"blob": "A\nB"},
    {"blob": public("bob").split()[1] + " x"}, {"blob": public("bob").split()[1] + "\n"}, {"id": "a b"}, {"id": "a\n"},
    {"until": 0}, {"until": -1}, {"until": True}, {"until": 1e300}, {"until": "20300101"}, {"blob": 5}, {"blob": "é"},
])  # fmt: skip
def test_a_key_of_another_form_is_refused(model: Model, change: dict[str, Any]) -> None:
    assert model.refused(admin("alice"), account("bob", {**key("bob"), **change}))[0] == "malformed"


@pytest.mark.parametrize("more", [
    {"mode": "other"}, {"after": 0}, {"after": 10**9}, {"after": "60"}, {"gone": ("alice",)}, {"gone": ("root",)},
    {"revoked": ("ssh-ed25519 AAAA",)}, {"revoked": ("serial: 1",)}, {"revoked": ("x",)}, {"adopted": ["../x"]},
])  # fmt: skip
def test_a_state_of_another_form_is_refused(model: Model, more: dict[str, Any]) -> None:
    assert model.refused(admin("alice"), **more)[0] in ("malformed", "refused")


# --- what sshd would decide ---------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "said"), [
    ("AllowUsers alice mainstay\n", "AllowUsers"), ("DenyUsers b*\n", "DenyUsers"), ("DenyGroups bob\n", "DenyGroups"),
    ("AllowGroups alice mainstay\n", "AllowGroups"), ("DenyUsers bob@127.0.0.0/8 bob@192.0.2.*\n", "DenyUsers"),
    ("Match User bob\n  PubkeyAuthentication no\n", "PubkeyAuthentication"),
    ("Match User b*,!alice\n  AuthenticationMethods publickey,password\n", "AuthenticationMethods"),
    ("Match User bob\n  AuthorizedKeysFile .ssh/authorized_keys\n", "bob/.ssh/authorized_keys"),
    ("Match User bob\n  RevokedKeys /etc/nothing\n", "/etc/nothing"),
    ("Match User bob\n  ForceCommand /bin/true\n", "ForceCommand"),
    ("Match User bob\n  ChrootDirectory /srv\n", "Chroot"),
    ("Match User bob LocalPort 22\n  PubkeyAcceptedAlgorithms rsa-sha2-512\n", "ssh-ed25519"),
    ("Match Address 127.0.0.0/8,192.0.2.1 User bob\n  PubkeyAuthentication no\n", "PubkeyAuthentication"),
    ("Match Address 10.9.8.7 User bob\n  PubkeyAuthentication no\n", ""),
    ("Match User carol\n  PubkeyAuthentication no\n", ""), ("AllowUsers alice bob mainstay\n", ""),
    ("AllowUsers alice mainstay bob@10.8.0.*\n", ""), ("Match LocalPort 2222\n  DenyUsers bob\n", ""),
])  # fmt: skip
def test_what_the_servers_own_rules_say_of_somebody_is_said(model: Model, text: str, said: str) -> None:
    model.sshd(text)
    answer = model.access(admin("alice"), account("bob"))
    row = answer["accounts"][1]
    elsewhere = "not from" in row["why"]
    assert row["accepts"] == (not said)
    assert said in row["why"]
    assert elsewhere == ("10.9.8.7" in text or "2222" in text)


def test_a_match_ends_with_the_file_that_it_is_in(model: Model) -> None:
    model.sshd("Match User alice\n  X11Forwarding no\n", "05-open.conf")
    model.sshd("DenyUsers bob\n", "60-deny.conf")
    assert "DenyUsers" in why(model)


def test_includes_nest_and_are_quoted_and_commented_as_sshd_takes_them(model: Model) -> None:
    model.write("etc/ssh/sshd_config", 'include = "/etc/ssh/extra/a b.conf" none*.conf # and more\n' + MAIN_TOO)
    model.write("etc/ssh/extra/a b.conf", "Include deeper.conf\n")
    model.write("etc/ssh/deeper.conf", "DenyUsers bob\n")
    assert "DenyUsers" in why(model)


MAIN_TOO = "Include sshd_config.d/*.conf\nHostKey /etc/ssh/ssh_host_ed25519_key\n"


def test_an_account_that_is_locked_is_refused_only_without_pam(model: Model) -> None:
    model.person("bob")
    model.write("etc/shadow", model.read("etc/shadow").replace("bob:*:", "bob:!:"))
    rows = model.access(admin("alice"), account("bob"), adopted=["bob"])["accounts"]
    assert (rows[1]["accepts"], rows[1]["why"]) == (True, "")
    model.write("etc/ssh/sshd_config", model.read("etc/ssh/sshd_config").replace("UsePAM yes", "UsePAM no"))
    rows = model.access(admin("alice"), account("bob", key("bob", SOON)), adopted=["bob"])["accounts"]
    assert "locked" in rows[1]["why"]


def test_a_short_rsa_key_is_refused_where_the_server_says_so(model: Model) -> None:
    sort, blob = made("rsa", 2048)[0].split()[:2]
    short = {"type": sort, "blob": blob, "id": "short", "until": None}
    model.sshd("RequiredRSASize 3072\n")
    row = model.access(admin("alice"), account("bob", short))["accounts"][1]
    assert "2048 bits" in row["why"]


def test_an_expired_lease_a_missing_shell_and_nologin_are_said(model: Model) -> None:
    row = model.access(admin("alice"), account("bob", key("bob", 1_000_000_000)))["accounts"][1]
    assert "lease" in row["why"]
    model.write("etc/passwd", model.read("etc/passwd").replace("bob:/bin/bash", "bob:/bin/false"))
    assert "shell" in why(model)


def test_a_folder_that_strictmodes_refuses_is_found_before_anything_is_done(model: Model) -> None:
    (model.root / "etc/ssh/mainstay/keys").chmod(0o777)
    code, said = model.refused(admin("alice"))
    assert (code, "StrictModes" in said) == ("guard", True)


# --- the guard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accounts", "text"), [
    ([], ""), ([account("alice")], ""), ([account("alice", sudo=True)], ""), ([account("alice", admin=True)], ""),
    ([admin("alice", key("alice", SOON))], ""), ([admin("alice", key("alice", 1_000_000_000))], ""),
    ([admin("alice")], "AllowUsers mainstay\n"), ([admin("alice")], "Match User alice\n  ForceCommand /bin/true\n"),
    ([admin("alice")], "Match User alice\n AuthorizedKeysFile none\n"),
    ([admin("alice")], "RevokedKeys /etc/nothing\n"),
    ([admin("alice")], "AllowUsers alice\n"), ([admin("alice")], "DenyGroups mainstay\n"),
    ([admin("alice")], "ForceCommand /bin/true\n"), ([admin("alice")], "PubkeyAuthentication no\n"),
])  # fmt: skip
def test_nothing_that_locks_the_last_admin_or_the_panel_out_is_done(
    model: Model, accounts: list[dict[str, Any]], text: str
) -> None:
    model.sshd(text, "05-theirs.conf")
    code, said = model.refused(*accounts)
    assert code in ("guard", "lacks")
    assert os.uname().nodename in said or "RevokedKeys" in said
    assert said.endswith("Nothing was changed.")


def test_the_refusal_names_the_person_and_the_reason(model: Model) -> None:
    model.sshd("DenyUsers alice\n")
    assert "alice: DenyUsers names it" in model.refused(admin("alice"))[1]
    model.sshd("DenyUsers mainstay\n")
    assert "the panel itself could not sign in any more (mainstay: DenyUsers" in model.refused(admin("alice"))[1]


def test_an_admins_own_key_on_the_list_of_revoked_ones_is_no_way_in(model: Model) -> None:
    assert "revoked" in model.refused(admin("alice"), revoked=(public("alice"),))[1]


def test_an_admin_whom_mainstay_only_found_counts_while_his_file_is_read(model: Model) -> None:
    model.person("dave", keys=public("dave"), ops=True)
    model.access(account("bob"))
    assert model.refused(account("bob"), mode="enforced")[0] == "guard"
    model.write("home/dave/.ssh/authorized_keys", f'command="/bin/true" {public("dave")}\n')
    assert model.refused(account("bob", key("bob", SOON)))[0] == "guard"


def test_configuration_that_sshd_does_not_take_is_refused(model: Model) -> None:
    model.sshd("NoSuchOption yes\n")
    assert "NoSuchOption" in model.refused(admin("alice"))[1]


def test_a_server_that_does_not_read_drop_ins_is_refused(model: Model) -> None:
    model.write("etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\n")
    assert model.refused(admin("alice"))[0] == "guard"


# --- what it finds ------------------------------------------------------------------------------------


def test_what_it_finds_is_what_the_panel_understands(model: Model) -> None:
    model.access(admin("alice"), account("bob", key("bob", SOON)))
    options = 'from="10.0.0.1,*.example.com",command="echo \\"a b\\""'
    model.person("dave", keys=f"# his\n\n{options} {public('dave')} dave \x1b[31m\nrubbish", ops=True)
    model.write("etc/passwd", model.read("etc/passwd") + "toor:x:0:0::/root:/bin/bash\n")
    model.write("etc/sudoers.d/deploy", "# a comment\ndeploy ALL=(ALL) \\\n  NOPASSWD: ALL\n")
    model.write("root/.ssh/authorized_keys2", public("eve") + "\n")
    model.sshd("Match User dave\n  AuthorizedKeysCommand /usr/bin/find-keys %u\n  AuthorizedKeysCommandUser nobody\n")
    answer = model.gate.keys({}, {})
    seen = found.read(answer)
    people = {one.user: one for one in seen.accounts}
    assert [line.comment for source in people["bob"].sources for line in source.lines] == ["mainstay:bob:bob"]
    lines = people["dave"].sources[0].lines
    assert [(line.number, line.type) for line in lines] == [(3, "ssh-ed25519"), (4, "")]
    assert lines[0].options == options
    assert [source.kind for source in people["dave"].sources] == ["file", "command"]
    assert answer["twins"] == [{"user": "toor", "uid": 0}]
    rules = [row["lines"] for row in answer["sudoers"] if row["path"].endswith("deploy")]
    assert rules == [["deploy ALL=(ALL)    NOPASSWD: ALL"]]
    assert all(row["wanted"] in (None, row["sha256"]) for row in answer["files"])


def test_a_pipe_a_folder_and_a_huge_file_are_said_and_never_waited_for(model: Model) -> None:
    for user, uid in (("pipe", 1601), ("folder", 1602), ("huge", 1603), ("link", 1604)):
        model.person(user, uid)
        (model.root / f"home/{user}/.ssh").mkdir(parents=True)
    os.mkfifo(model.root / "home/pipe/.ssh/authorized_keys")
    (model.root / "home/folder/.ssh/authorized_keys").mkdir()
    model.write("home/huge/.ssh/authorized_keys", f"{public('eve')}\n" * 20_000)
    (model.root / "home/link/.ssh/authorized_keys").symlink_to("/dev/zero")
    began = time.monotonic()
    answer = model.gate.keys({}, {})
    assert time.monotonic() - began < 20
    people = {one["user"]: one for one in answer["accounts"]}
    for user in ("pipe", "folder", "link"):
        assert people[user]["sources"][0]["refused"]
        assert people[user]["sources"][0]["lines"] == []
    assert len(people["huge"]["sources"][0]["lines"]) == 500
    assert any("huge" in line for line in answer["cut"])
