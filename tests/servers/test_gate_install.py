"""The install script on real servers: what it makes and refuses, what the key opens, that detach leaves nothing."""

import hashlib
import json
import os
import pty
import re
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.servers.gate.script import gate_text, part_text
from tests.fleet import variants
from tests.fleet.server import Server
from tests.servers.gate import SERVER, Installed

GATE = "/usr/local/sbin/mainstay-gate"


@pytest.fixture
def panel(server: Server, tmp_path: Path) -> Installed:
    return Installed(server, tmp_path / "keys")


def listed(server: Server) -> set[str]:
    found = server.inside("find / -xdev \\( -name '*mainstay*' -o -path '*/mainstay/*' \\) -not -path '/proc/*'").out
    return set(found.split("\n")) - {""}


def tree(server: Server) -> str:
    places = "/etc /usr/local /var/lib /home /root"
    found = server.inside(f"find {places} -xdev -type f -printf '%p %m %u %s\\n' | sort").out
    passing = r"(?m)^(/var/lib/systemd/|/etc/\w+-|/roo[t]/.bash_history).*\n"  # systemd's, useradd's, the shell's
    return re.sub(passing, "", found)


def test_pasted_into_a_shell_it_makes_what_it_says_and_detach_leaves_nothing(panel: Installed) -> None:
    server = panel.server
    before = tree(server)
    out = pasted(panel, "operate")
    assert "Done: the level is operate" in out
    for text in (gate_text(), part_text("dump")):
        assert hashlib.sha256(text.encode()).hexdigest() in out
    key = server.host_keys[0]
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] in out
    assert panel.call().ask("hello")["ok"]
    account = server.inside("getent passwd mainstay; getent shadow mainstay").out.splitlines()
    assert account[0].split(":")[5:] == ["/var/lib/mainstay", "/bin/sh"]
    assert account[1].split(":")[1] == "*"
    owners = server.inside("find /usr/local/lib/mainstay /etc/mainstay /var/lib/mainstay -printf '%u %m\\n'").out
    assert set(owners.splitlines()) == {"root 755", "root 644"}
    known = set(server.inside(f"{GATE} list").out.split("\n")) - {""}
    assert listed(server) <= known
    said = server.inside(f"{GATE} detach").out
    assert said == "Mainstay is gone from this server.\n"
    assert listed(server) == set()
    assert tree(server) == before
    assert server.inside("id mainstay", check=False).code
    assert server.login("mainstay", panel.key).code == 255


def pasted(panel: Installed, level: str) -> str:
    """Paste the script into root's interactive shell on a terminal; return what the terminal showed."""
    child, terminal = pty.fork()
    if not child:
        words = panel.server.ssh_words("root", panel.server.key, "-tt")
        os.execvp(words[0], [*words, "bash -i"])
    rest, shown = panel.script(level).text.encode() + b"\nexit\n", b""
    try:
        while True:
            ready, room, _ = select.select([terminal], [terminal] if rest else [], [], 60)
            if terminal in ready:
                shown += os.read(terminal, 65536)
            elif room:
                rest = rest[os.write(terminal, rest[:256]) :]
            else:
                raise TimeoutError(shown[-500:])
    except OSError:  # the terminal is gone: the shell has ended
        os.waitpid(child, 0)
        os.close(terminal)
    return shown.decode(errors="replace")


def test_the_key_opens_the_gate_and_nothing_else(panel: Installed, tmp_path: Path) -> None:
    panel.install("operate")
    server = panel.server

    def client(*words: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        command = panel.ssh(*words, options=options)
        return subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=60)

    def ends_in_the_gate(*words: str, options: tuple[str, ...] = ()) -> None:
        done = client(*words, options=options)
        greeting, answer = (json.loads(line) for line in done.stdout.splitlines())
        assert (greeting["as"], answer["code"]) == ("mainstay", "malformed")

    for command in ("id", "bash -i", "sh -c 'cat /etc/shadow'", "/usr/local/lib/mainstay/gate root", "; id", "$(id)"):
        ends_in_the_gate(command)
    ends_in_the_gate("sftp", options=("-s",))
    assert "PTY allocation request failed" in client(options=("-tt",)).stderr
    ends_in_the_gate(options=("-A",))
    ends_in_the_gate(options=("-X",))
    ends_in_the_gate(options=("-o", "SetEnv=LC_ALL=xx PYTHONSTARTUP=/tmp/x PYTHONPATH=/tmp LD_PRELOAD=/tmp/x.so"))
    for forward in (("-N", "-R", "0:127.0.0.1:22"), ("-N", "-w", "any"), ("-W", "127.0.0.1:22")):
        assert client(options=("-o", "ExitOnForwardFailure=yes", *forward)).returncode == 255, forward
    options = panel.server.ssh_words("mainstay", panel.key)[1:-1]
    at = options.index("-p")
    options[at] = "-P"
    for program in (["scp", "-O"], ["scp"], ["sftp"]):
        words = [*program, *options, f"mainstay@{server.address}:/etc/passwd", str(tmp_path / "taken")]
        assert subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60).returncode
        assert not (tmp_path / "taken").exists()
    assert server.login("root", panel.key).code == 255


def test_only_its_address_may_come(panel: Installed) -> None:
    panel.install("observe", seen_from=["192.0.2.1", "2001:db8::/64"])
    refused = subprocess.run(panel.ssh(), input="", capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (255, "")
    panel.install("observe", seen_from=[])
    assert panel.call().ask("hello")["ok"]


def test_the_levels_on_a_server_are_what_was_pasted_there(panel: Installed) -> None:
    panel.install("observe")
    assert not panel.server.inside("ls /etc/sudoers.d").out.count("mainstay")
    assert panel.call().ask("root")["code"] == "level"
    panel.install("operate")
    call = panel.root()
    assert (call.greeting["as"], call.greeting["level"]) == ("root", "operate")
    assert "keys" not in call.greeting["verbs"]
    assert call.ask("hello")["ok"]
    assert panel.root().ask("keys")["code"] in ("level", "verb")
    panel.install("observe")
    assert panel.call().ask("root")["code"] == "level"
    account = panel.server.inside("su mainstay -s /bin/sh -c 'sudo -n /usr/local/lib/mainstay/gate root'", check=False)
    assert (account.code, account.out) == (1, "")


def test_sudo_allows_the_gates_own_words_and_no_others(panel: Installed) -> None:
    panel.install("manage")
    for words in ("gate", "gate detach", "gate root x", "gate list", "../lib/mainstay/gate detach"):
        said = panel.server.inside(f"su mainstay -s /bin/sh -c 'sudo -n /usr/local/lib/mainstay/{words}'", check=False)
        assert (said.code, said.out) == (1, ""), words


def test_the_root_half_has_a_nonce_of_its_own_and_believes_no_request_of_the_other(panel: Installed) -> None:
    panel.install("operate")
    call = panel.call()
    text = call.request("root")
    signature = panel.sign(text)
    call.write(text, signature)
    first, call.greeting = call.greeting["nonce"], call.line()
    assert call.greeting["nonce"] != first
    assert call.send(text, signature)["code"] == "nonce"


def test_pasted_again_it_updates_the_gate_and_a_damaged_copy_changes_nothing(panel: Installed) -> None:
    panel.install("observe")
    newer = gate_text().replace('VERSION = "1.0"', 'VERSION = "1.1"')
    panel.install("observe", gate=newer)
    assert panel.call().greeting["version"] == "1.1"
    for damage in (('VERSION = "1.0"', 'VERSION = "6.6"'), ("def dump(", "def dump (")):
        damaged = panel.script("operate").text.replace(*damage)
        said = panel.server.inside("sh", input=damaged, check=False)
        assert (said.code, "Nothing was changed" in said.out) == (1, True)
    assert panel.call().greeting["version"] == "1.1"


SPOILS = ["chmod g+w {}", "chown mainstay {}", "echo >>{}", "rm {}", "mv {0} {0}1; ln -s {0}1 {0}"]


def test_what_changes_access_is_never_loaded_but_as_it_was_installed(panel: Installed) -> None:
    panel.install("manage")
    assert hashlib.sha256(part_text("access").encode()).hexdigest() in panel.install("manage").out
    server, path, manifest = panel.server, "/usr/local/lib/mainstay/access", "/etc/mainstay/server.json"
    server.inside(f"cp -a {path} /var/kept")
    assert panel.root().ask("keys")["ok"]
    for command in [spoil.format(path) for spoil in SPOILS] + [f"chmod o+w {manifest}"]:
        server.inside(command)
        call = panel.root()
        said = call.ask("access", {}, state=call.greeting["state"])
        assert (said["code"], "paste the install script again" in said["said"]) == ("lacks", True), (command, said)
        assert panel.root().ask("facts")["ok"]
        by_hand = server.inside(f"{GATE} rollback pending", check=False)
        assert (by_hand.code, "not what root installed" in by_hand.err) == (1, True), command
        server.inside(f"rm -f {path}*; cp -a /var/kept {path}; chmod o-w {manifest}")
    assert panel.root().ask("keys")["ok"]
    panel.install("operate")
    assert "/access" not in server.inside(f"{GATE} list").out


def test_a_second_mainstay_does_not_take_over(panel: Installed) -> None:
    panel.install("observe")
    other = SERVER.replace("0001", "0002")
    said = panel.install("observe", server=other, check=False)
    assert (said.code, "mainstay-gate detach" in said.out, "Nothing was changed" in said.out) == (1, True, True)
    panel.server.inside(f"{GATE} detach")
    panel.server.inside("useradd mainstay")
    said = panel.install("observe", server=other, check=False)
    assert (said.code, "that this script did not make" in said.out) == (1, True)


OLD = "printf '#!/bin/sh\\necho OpenSSH_7.9p1 >&2\\n' >/tmp/s; install -m 755 /tmp/s /usr/bin/ssh"
SFTP = "Match User *,!root\\nForceCommand internal-sftp"
DROP = "printf '%b\\n' '{}' >/etc/ssh/sshd_config.d/9.conf"
LACKS = [
    ("observe", "rm -f /usr/bin/python3*", "Python 3.7 or newer"),
    ("observe", "mv /usr/bin/ssh-keygen /usr/bin/x", "ssh-keygen is missing"),
    ("observe", OLD, "OpenSSH 8.1"),
    ("observe", DROP.format("AllowUsers root alice"), "AllowUsers): root alice"),
    ("observe", DROP.format("AllowGroups root"), "AllowGroups): root"),
    ("observe", DROP.format("DenyUsers main*"), "DenyUsers"),
    ("observe", DROP.format("AuthorizedKeysFile /etc/keys/%u"), "/etc/keys/%u only"),
    ("observe", DROP.format("PubkeyAuthentication no"), "pubkeyauthentication no"),
    ("observe", DROP.format("AuthenticationMethods publickey,password"), "authenticationmethods"),
    ("observe", DROP.format(SFTP), "forcecommand"),
    ("observe", DROP.format("Nonsense yes"), "sshd -t"),
    ("operate", "echo 'nonsense' >/etc/sudoers.d/x", "visudo -c"),
    ("operate", "sed -i /includedir/d /etc/sudoers", "@includedir"),
    ("manage", "sed -i /^Include/d /etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf"),
]
MEND = "rm -rf /etc/ssh /etc/sudoers*; cp -a /var/keep/ssh /var/keep/sudoers* /etc; cp -a /var/keep/bin/* /usr/bin/"


def test_what_lacks_is_said_in_a_sentence_and_nothing_is_changed(panel: Installed) -> None:
    server = panel.server
    server.inside("mkdir -p /var/keep/bin; cp -a /etc/ssh /etc/sudoers /etc/sudoers.d /var/keep")
    server.inside("cp -a /usr/bin/ssh /usr/bin/ssh-keygen /usr/bin/python3* /var/keep/bin")
    for level, breaks, sentence in LACKS:
        server.inside(MEND)
        server.inside(breaks)
        before = tree(server)
        said = panel.install(level, check=False)
        assert (said.code, sentence in said.out, said.err) == (1, True, ""), (breaks, said)
        assert said.out.endswith("Nothing was changed.\n"), breaks
        assert tree(server) == before, breaks
    server.inside(MEND)


def test_without_sudo_only_observe_is_offered(panel: Installed) -> None:
    variants.without_sudo(panel.server)
    said = panel.install("operate", check=False)
    assert (said.code, "choose the level observe" in said.out) == (1, True)
    panel.install("observe")
    assert panel.call().ask("hello")["ok"]


@pytest.mark.parametrize("variant", [variants.match_blocks, variants.without_pam, variants.without_drop_ins])
def test_servers_with_a_history_take_the_panel_in(panel: Installed, variant: Callable[[Server], None]) -> None:
    variant(panel.server)
    panel.install("operate")
    assert panel.root().ask("hello")["ok"]


def test_a_server_without_systemd_is_served_at_its_level(servers: Callable[..., list[Server]], tmp_path: Path) -> None:
    panel = Installed(servers(1, "light")[0], tmp_path / "keys")
    said = panel.install("manage", check=False)
    assert (said.code, "needs systemd" in said.out) == (1, True)
    panel.install("operate")
    facts = panel.root().ask("facts")["answer"]
    assert (facts["systemd"], facts["services"]) == (None, None)
    assert any("systemd" in sentence for sentence in facts["lacks"])
    assert panel.call().ask("sample")["ok"]


def test_a_read_only_server_is_said_and_an_installed_gate_goes_on(panel: Installed) -> None:
    panel.install("observe")
    variants.read_only(panel.server)
    said = panel.install("observe", check=False)
    assert (said.code, "cannot be written" in said.out) == (1, True)
    assert panel.call().ask("sample")["answer"]["disks"][0]["read_only"] in (True, False)


def test_a_full_disk_stops_an_install_before_it_counts_and_no_conversation(panel: Installed) -> None:
    panel.server.fill_disk()
    said = panel.install("observe", check=False)
    assert said.code
    assert panel.server.login("mainstay", panel.key).code == 255
    panel.server.free_disk()
    panel.install("observe")
    panel.server.fill_disk()
    assert panel.call().ask("hello")["ok"]
    answer = panel.call().ask("sample")["answer"]
    assert answer["disks"][0]["free"] < 1 << 20
    panel.server.free_disk()


def test_a_server_two_days_off_is_still_served(panel: Installed) -> None:
    panel.install("observe")
    variants.clock_off(panel.server, 172_800)
    call = panel.call()
    assert call.ask("hello")["ok"]


def test_the_gates_log_can_only_grow(panel: Installed) -> None:
    panel.install("operate")
    panel.root().ask("hello")
    log = panel.server.inside("cat /var/log/mainstay/gate.log").out
    assert [line.split()[2:4] for line in log.splitlines()] == [["mainstay", "root"], ["root", "hello"]]
    denied = panel.server.inside("su mainstay -s /bin/sh -c 'cat /var/log/mainstay/gate.log'", check=False)
    assert denied.code


def test_detach_leaves_people_their_access_and_takes_the_leases_away(panel: Installed) -> None:
    panel.install("manage")
    server = panel.server
    alice, bob = panel.new_key("alice"), panel.new_key("bob")
    public = alice.with_suffix(".pub").read_text().strip()
    server.inside("useradd -m -s /bin/sh -p '*' alice; useradd -m -s /bin/sh -p '*' bob")
    server.write("/etc/ssh/mainstay/keys/alice", f'expiry-time="20991231000000Z" {public}\n')
    server.write("/etc/ssh/mainstay/keys/bob", f'expiry-time="20200101000000Z" {bob.with_suffix(".pub").read_text()}')
    server.write("/etc/sudoers.d/mainstay-alice", "alice ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    server.write(
        "/etc/ssh/sshd_config.d/10-mainstay.conf",
        "AuthorizedKeysFile /etc/ssh/mainstay/keys/%u .ssh/authorized_keys\n"
        "Match User mainstay\n    AuthorizedKeysFile /var/lib/mainstay/.ssh/authorized_keys\n",
    )
    server.reload_sshd()
    assert server.login("alice", alice).code == 0
    said = server.inside(f"{GATE} detach").out
    assert "/etc/ssh/mainstay/keys/alice" in said
    assert server.inside("cat /etc/ssh/mainstay/keys/alice").out == public + "\n"
    assert server.login("alice", alice, "sudo -n id -u").out == "0\n"
    assert server.login("bob", bob).code == 255
    assert server.login("mainstay", panel.key).code == 255
    kept = {"/etc/ssh/mainstay", "/etc/ssh/mainstay/keys", "/etc/ssh/mainstay/keys/alice"}
    assert listed(server) == kept | {"/etc/sudoers.d/mainstay-alice", "/etc/ssh/sshd_config.d/10-mainstay.conf"}


def test_nothing_is_detached_or_lowered_while_a_change_waits_for_its_proof(panel: Installed) -> None:
    panel.install("manage")
    server = panel.server
    server.write("/var/lib/mainstay/rollback/20261125000000-01234567/plan.json", "{}")
    said = server.inside(f"{GATE} detach", check=False)
    assert (said.code, "waits to be confirmed" in said.err) == (1, True)
    assert panel.install("observe", check=False).out.endswith("Nothing was changed.\n")
    assert panel.call().greeting["level"] == "manage"
    server.inside("rm /var/lib/mainstay/rollback/*/plan.json")  # what a killed gate leaves before it begins
    server.inside(f"{GATE} detach")
    assert listed(server) == set()


def test_detach_ends_the_panels_open_connection(panel: Installed) -> None:
    panel.install("observe")
    call = panel.call()
    panel.server.inside(f"{GATE} detach")
    assert call.process.wait(20)
    call.end()


def test_as_cloud_init_the_same_script_installs(panel: Installed) -> None:
    packed = re.search(r"content: (\S+)}", panel.script("observe").cloud_init)
    assert packed
    panel.server.inside("base64 -d | gunzip >/run/m.sh; sh /run/m.sh; rm /run/m.sh", input=packed[1])
    assert panel.call().ask("hello")["ok"]
