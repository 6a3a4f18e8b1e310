"""Changes of access on real servers with systemd and sshd, proven by real logins with people's real keys."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.access.model import account, admin, key, public, wanted
from tests.access.people import People
from tests.fleet import variants
from tests.fleet.machine import until
from tests.fleet.server import Server


@pytest.fixture
def people(server: Server, tmp_path: Path) -> People:
    return People(server, tmp_path / "keys")


def test_people_log_in_with_their_own_keys_until_their_leases_end(people: People) -> None:
    soon = int(time.time()) + 8
    ended = account("carol", key("carol", 1_000_000_000))
    answer = people.access(admin("alice"), account("bob", key("bob", soon)), ended)
    assert [row["accepts"] for row in answer["accounts"]] == [True, True, False]
    assert people.login("alice", command="sudo -n id -u").out == "0\n"
    assert people.opens("bob")
    assert "password is required" in people.login("bob", command="sudo -n id").err
    assert not people.opens("carol")
    assert not people.opens("alice", "bob")
    assert until(lambda: not people.opens("bob"), 20)
    assert people.ask("access", wanted(admin("alice"), account("bob", key("bob", soon + 3600))))["ok"]


def test_who_leaves_is_out_everywhere_at_once(people: People) -> None:
    people.access(admin("alice"), account("bob"))
    server = people.server
    people.login("bob")
    words = server.ssh_words("bob", people.keys / "person-bob")
    forks = "nohup sh -c 'while :; do sleep 1 & sleep 0.2; done' >/dev/null 2>&1 & exec sleep 300"
    live = subprocess.Popen([*words, forks], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert until(lambda: server.inside("pgrep -u bob sleep", check=False).code == 0, 20)
    assert [one["user"] for one in people.ask("sessions", {})["answer"]["sessions"]].count("bob") == 1
    server.inside("""set -e
        echo '* * * * * true' | crontab -u bob -
        loginctl enable-linger bob
        touch /opt/of-bob && chown bob /opt/of-bob
        home=$(dirname ~bob)
        for user in alice bob; do
          install -d -o $user -g $user -m 700 $home/$user/.ssh
          sed 's/mainstay:.*/hidden/' /etc/ssh/mainstay/keys/bob >$home/$user/.ssh/authorized_keys
        done""")
    assert people.opens("alice", "bob")
    began = time.monotonic()
    answer = people.access(admin("alice"), gone=("bob",), revoked=(public("bob"),))
    took = time.monotonic() - began
    gone = answer["gone"][0]
    assert (gone["locked"], gone["processes"], took < 60) == (True, 0, True)
    assert any("/opt/of-bob" in line for line in gone["remains"])
    assert any("crontabs/bob" in line for line in gone["remains"])
    assert live.wait(20) == 255
    assert server.inside("pgrep -u bob", check=False).out == ""
    assert server.inside("ls /var/lib/systemd/linger; crontab -l -u bob", check=False).out == ""
    assert not people.opens("bob")
    assert not people.opens("alice", "bob")  # hidden, and revoked
    assert people.opens("alice")
    again = people.ask("access", wanted(admin("alice"), gone=("bob",), revoked=(public("bob"),)))["answer"]
    assert (again["pending"], again["gone"]) == (False, [{"user": "bob", "touched": False}])


def test_a_change_that_nobody_confirms_is_undone_and_everybody_gets_in_as_before(people: People) -> None:
    people.access(admin("alice"), account("bob"))
    server = people.server
    files = "sha256sum /etc/ssh/mainstay/keys/* /etc/ssh/sshd_config.d/* /etc/sudoers.d/*"
    before = server.inside(files).out
    people.access(admin("alice"), account("bob", sudo=True), account("carol"), mode="enforced", after=10, commit=False)
    assert people.login("bob", command="sudo -n id -u").out == "0\n"
    server.unplug()  # nobody can say yes any more
    assert until(lambda: server.inside(files).out == before, 30)
    server.plug()
    assert people.opens("alice")
    assert people.opens("bob")
    assert "password is required" in people.login("bob", command="sudo -n id").err
    assert not people.opens("carol")
    left = server.inside("systemctl list-units --all --plain --no-legend 'mainstay*'; ls /etc/systemd/system").out
    assert "mainstay" not in left
    assert people.access(admin("alice"), account("bob"), account("carol"))["pending"]
    assert people.opens("carol")


def test_a_change_that_waits_is_undone_when_the_server_starts_again(people: People) -> None:
    people.access(admin("alice"))
    people.access(admin("alice"), account("bob"), mode="enforced", after=3600, commit=False)
    assert people.opens("bob")
    people.server.off()
    people.server.on()
    assert until(lambda: not people.opens("bob"), 30)
    assert people.opens("alice")
    assert people.ask("sessions", {})["ok"]
    assert people.access(admin("alice"), account("bob"))["pending"]


def test_the_servers_own_rules_decide_and_are_said(people: People) -> None:
    variants.drop_in(people.server, "50-theirs", "Match Group staff", "  PubkeyAuthentication no")
    people.server.inside("useradd -m -G staff dave && usermod -p '*' dave")
    answer = people.access(admin("alice"), account("dave"), account("bob"), adopted=["dave"])
    rows = {row["user"]: row for row in answer["accounts"]}
    assert (rows["dave"]["accepts"], rows["bob"]["accepts"]) == (False, True)
    assert "PubkeyAuthentication" in rows["dave"]["why"]
    assert (people.opens("dave"), people.opens("bob")) == (False, True)


def test_without_pam_people_get_in_and_the_last_admin_cannot_be_taken_out(people: People) -> None:
    variants.without_pam(people.server)
    people.access(admin("alice"), account("bob"))
    assert people.opens("alice")
    assert people.opens("bob")
    said = people.ask("access", wanted(account("bob"), gone=("alice",)))
    assert (said["code"], people.server.name in said["said"]) == ("guard", True)
    assert people.opens("alice")


def test_a_link_to_a_file_of_roots_is_never_followed_as_root(people: People) -> None:
    people.access(admin("alice"), account("bob"))
    people.server.inside("""set -e
        install -d -o bob -g bob -m 700 ~bob/.ssh
        printf 'secret of root\\n' >~root/hidden && chmod 600 ~root/hidden && chmod 711 ~root
        ln -s ~root/hidden ~bob/.ssh/authorized_keys
        mkfifo ~bob/.ssh/authorized_keys2 && chown bob ~bob/.ssh/authorized_keys2""")
    found = people.ask("keys", {})
    assert "secret of root" not in str(found)
    bob = next(one for one in found["answer"]["accounts"] if one["user"] == "bob")
    refused = [source["refused"] for source in bob["sources"]]
    assert refused == [None, "it cannot be read (Permission denied)", "it is no file"]


def test_two_changes_at_once_are_one_change(people: People) -> None:
    calls = [people.root(), people.root()]
    said = [call.ask("access", wanted(admin("alice")), state=call.greeting["state"]) for call in calls]
    assert [one["ok"] for one in said] == [True, False]
    assert said[1]["code"] == "state"
