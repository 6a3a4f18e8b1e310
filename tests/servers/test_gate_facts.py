"""What the gate says of a real server: figures each minute, facts each hour, without rights and as root."""

import json
import os
import resource
import subprocess
import time
from datetime import date
from pathlib import Path

import pytest

from apps.servers.facts import parse, sample
from tests.fleet.server import Server
from tests.servers.gate import Call, Installed, Tree


@pytest.fixture
def panel(server: Server, tmp_path: Path) -> Installed:
    installed = Installed(server, tmp_path / "keys")
    installed.install("operate")
    return installed


def test_a_sample_holds_the_kernels_own_figures(panel: Installed) -> None:
    first, second = (panel.call().ask("sample")["answer"] for _ in range(2))
    said = panel.server.inside("cat /proc/sys/kernel/random/boot_id; df -B1 --output=size,avail,itotal,iavail /").out
    boot_id, _head, figures = said.splitlines()
    disk = second["disks"][0]
    assert second["boot_id"] == boot_id
    size, avail, inodes, inodes_free = map(int, figures.split())
    assert (disk["path"], disk["size"], disk["inodes"], disk["read_only"]) == ("/", size, inodes, False)
    assert abs(disk["free"] - avail) < 4 << 20
    assert abs(disk["inodes_free"] - inodes_free) < 100
    assert all(second["cpu"][name] >= first["cpu"][name] for name in ("user", "system", "idle"))
    assert 0 < second["uptime"] - first["uptime"] < 60
    assert second["memory"]["total"] > second["memory"]["available"] > 0
    assert len(second["load"]) == 3
    assert second["net"]["rx"] > 0
    assert second["processes"] > 5
    assert sample.parse(second).boot_id == boot_id


def test_facts_are_what_the_server_is(panel: Installed) -> None:
    server = panel.server
    server.inside("systemctl kill -s KILL cron; systemctl mask --now --runtime systemd-timesyncd || true")
    answer = panel.call().ask("facts")["answer"]
    assert answer["os"] == {
        "id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)", "codename": "bookworm",
    }  # fmt: skip
    assert (answer["hostname"], answer["virtual"], answer["lacks"]) == (server.name, "systemd-nspawn", [])
    assert answer["systemd"].startswith("252")
    assert answer["openssh"].startswith("OpenSSH_9.2")
    services = {one["name"]: one for one in answer["services"]}
    assert (services["ssh.service"]["state"], services["ssh.service"]["enabled"]) == ("active", "enabled")
    assert (services["ssh.service"]["restart"], services["cron.service"]["restart"]) == ("on-failure", "on-failure")
    assert abs(services["ssh.service"]["since"] - time.time()) < 3600
    known = parse.parse(answer, known=None, today=date(2026, 11, 25))
    assert (known.os_id, len(known.services or [])) == ("debian", len(answer["services"]))


def test_programs_of_listeners_are_known_only_as_root(panel: Installed) -> None:
    def at_22(call: Call) -> set[tuple[str, str | None, str]]:
        found = call.ask("facts")["answer"]["listeners"]
        return {(one["address"], one["program"], one["user"]) for one in found if one["port"] == 22}

    assert at_22(panel.call()) == {("0.0.0.0", None, "root"), ("::", None, "root")}
    assert at_22(panel.root()) == {("0.0.0.0", "sshd", "root"), ("::", "sshd", "root")}


def test_updates_are_named_security_first_and_not_asked_again_while_apts_files_stand_still(panel: Installed) -> None:
    updates = panel.call().ask("facts")["answer"]["updates"]
    assert updates["security"] >= 1
    assert updates["pending"] > updates["security"]
    assert "fleet-demo 1.0 \u2192 1.1" in updates["names"][: updates["security"]]
    assert "fleet-demo-plain 2.0 \u2192 2.1" in updates["names"][updates["security"] :]
    assert updates["manager"] == "apt"
    assert 0 < updates["lists_at"] < time.time()
    again = panel.call().ask("facts", {"updates": updates["key"]})["answer"]["updates"]
    assert again == {"key": updates["key"], "unchanged": True}
    panel.server.inside("apt-get -q -y install --only-upgrade fleet-demo", timeout=120)
    changed = panel.call().ask("facts", {"updates": updates["key"]})["answer"]["updates"]
    assert changed["key"] != updates["key"]
    assert changed["pending"] == updates["pending"] - 1


def test_a_reboot_that_packages_ask_for_is_named(panel: Installed) -> None:
    panel.server.inside("touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs")
    assert panel.call().ask("facts")["answer"]["reboot"] == {"needed": True, "why": ["libc6"]}
    panel.server.inside("rm /run/reboot-required*; mkdir -p /boot; touch /boot/vmlinuz-$(uname -r)")
    assert panel.call().ask("facts")["answer"]["reboot"] == {"needed": False, "why": []}
    panel.server.inside("touch /boot/vmlinuz-99.$(uname -r)")
    found = panel.call().ask("facts")["answer"]["reboot"]
    assert (found["needed"], found["why"][0].startswith("linux-image-99.")) == (True, True)


def test_apt_that_is_broken_or_missing_is_said(panel: Installed) -> None:
    panel.server.inside("echo nonsense >/etc/apt/sources.list.d/x.list")
    answer = panel.call().ask("facts")["answer"]
    assert (answer["updates"], answer["lacks"][0].startswith("apt could not say")) == (None, True)
    panel.server.inside("mv /usr/bin/apt-get /usr/bin/x")
    assert "apt only" in panel.call().ask("facts")["answer"]["lacks"][0]


def test_names_made_to_mislead_stay_text(panel: Installed) -> None:
    server = panel.server
    unit = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
    server.write("/etc/systemd/system/x\\x3cscript\\x3ex.service", unit)
    name = 'PRETTY_NAME="\\033[2J</script>{"ok":false}'
    server.inside(f"printf 'ID=debian\\n{name}\\n\\nVERSION_ID=\\x00\\xff' >/etc/os-release")
    server.inside("systemctl daemon-reload; systemctl enable --now 'x\\x3cscript\\x3ex.service' || true")
    call = panel.call()
    answer = call.ask("facts")
    assert answer["ok"]
    assert answer["answer"]["os"]["name"] == '\x1b[2J</script>{"ok":false}'


def test_arguments_that_a_verb_does_not_have_are_refused(panel: Installed) -> None:
    assert panel.call().ask("sample", {"path": "/etc/shadow"})["code"] == "malformed"
    assert panel.call().ask("facts", {"updates": ["x"], "cmd": "id"})["code"] == "malformed"
    assert panel.call().ask("facts", {"updates": ["x"]})["ok"]


def test_a_sample_costs_a_server_little(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "server")
    (tree.root / "proc").symlink_to("/proc")

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def of(*words: str) -> float:
        before = spent()
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return spent() - before

    costs = []
    for _ in range(5):
        call = tree.call()
        text = call.request("sample")
        signature = tree.sign(text)
        before = spent()
        assert call.send(text, signature)["ok"]
        costs.append(spent() - before)
    bare = min(of(os.environ.get("GATE_PYTHON", "python3"), "-IS", "-c", "import json") for _ in range(5))
    assert min(costs) < 4 * bare, (costs, bare)  # about 2.5: the rest is reading the gate, /proc and ssh-keygen


def test_what_the_kernel_does_not_have_is_null_and_not_zero(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "server")
    (tree.root / "proc").mkdir()
    (tree.root / "proc/meminfo").write_text("MemTotal: 1000 kB\n")
    answer = tree.call().ask("sample")["answer"]
    assert answer["memory"] == {"total": 1_024_000, "available": None, "swap_total": None, "swap_free": None}
    assert [answer[name] for name in ("pressure", "net", "io", "disks", "load")] == [None, None, None, [], []]
    assert json.dumps(answer)
