"""The servers that other tests rely on are real: they boot, take logins, crash, hang, fill up, and leave no trace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import variants
from tests.fleet.base import HOME
from tests.fleet.fleet import REPOSITORY, Fleet
from tests.fleet.machine import hierarchies, members, mounts, run, until
from tests.fleet.plain import plain
from tests.fleet.server import Server

BOOT = "cat /proc/sys/kernel/random/boot_id"


def key_pair(folder: Path) -> Path:
    """Return a new private key; its public half lies beside it."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "person", "-f", folder / "key")
    return folder / "key"


def test_a_server_is_a_whole_debian_system(server: Server) -> None:
    said = server.ssh_root("cat /proc/1/comm; systemctl is-system-running; systemctl --failed --no-legend; id -u").out
    assert said.split() == ["systemd", "running", "0"]
    pending = server.ssh_root("apt-get -s upgrade | grep ^Inst").out
    assert "fleet-demo [1.0] (1.1 Debian-Security" in pending
    assert "fleet-demo-plain [2.0] (2.1 Debian:" in pending
    server.ssh_root("apt-get install -y --only-upgrade fleet-demo")
    assert "fleet-demo [" not in server.ssh_root("apt-get -s upgrade").out
    assert server.ssh_root("sudo -n python3 -c 'print(6 * 7)'").out == "42\n"


def test_a_person_logs_in_with_a_key_of_theirs_and_no_other(server: Server, tmp_path: Path) -> None:
    key = key_pair(tmp_path)
    server.inside("useradd --create-home --password '*' alice && install -d -m 700 -o alice -g alice ~alice/.ssh")
    assert server.login("alice", key).code == 255
    server.inside("cat > ~alice/.ssh/authorized_keys", input=key.with_suffix(".pub").read_text(encoding="ascii"))
    assert server.login("alice", key, "id -un").out == "alice\n"
    assert server.login("alice", server.key).code == 255


def test_a_reboot_is_a_boot_of_its_own_and_keeps_the_disk(server: Server) -> None:
    before = server.inside(BOOT).out
    server.inside("echo kept > /etc/kept; touch /run/lost")
    assert server.reboot() < 60
    assert server.ssh_root(BOOT).out != before
    assert server.ssh_root("cat /etc/kept; ls /run/lost 2>&1; cut -d. -f1 /proc/uptime").out.startswith("kept\nls:")
    assert float(server.ssh_root("cut -d' ' -f1 /proc/uptime").out) < 60


def test_a_power_cut_ends_everything_at_once_and_the_server_comes_back(server: Server) -> None:
    server.inside("systemd-run --unit=errand sleep 1000")
    server.off()
    assert not server.running()
    assert not server.answers()
    server.on()
    assert server.ssh_root("systemctl is-active errand", check=False).out == "inactive\n"


def test_power_cut_at_any_moment_of_a_start_leaves_no_process(fleet: Fleet) -> None:
    off = fleet.take(1, boot=False)
    for moment in (0, 0.005, 0.02, 0.1, 0.3):
        off[0].start()
        until(lambda: False, moment, every=0.005)
        off[0].off()
        assert not off[0].running()
    fleet.give_back(off)


def test_a_hung_server_and_one_without_its_cable_do_not_answer_until_they_do(server: Server) -> None:
    for hurt, heal in ((server.freeze, server.thaw), (server.unplug, server.plug)):
        hurt()
        assert not server.answers()
        heal()
        assert until(server.answers, 20)


def test_a_full_disk_takes_not_one_byte_more(server: Server) -> None:
    server.fill_disk()
    refused = server.ssh_root("echo more > /var/more", check=False)
    assert refused.code != 0
    assert "No space left" in refused.err
    server.free_disk()
    server.ssh_root("echo more > /var/more")


def test_a_fresh_server_has_no_trace_of_the_one_before(fleet: Fleet) -> None:
    with fleet.lend() as lent:
        first = lent[0]
        keys, home = list(first.host_keys), first.home
        first.inside("useradd mallory; echo trace > /etc/trace; ip addr add 10.1.1.1/32 dev lo")
    assert first not in fleet.lent
    with fleet.lend(3) as lent:  # whatever was kept ready, and so the same place on this machine as well
        again = next(one for one in lent if one.home == home)
        assert not set(again.host_keys) & set(keys)
        assert again.inside("id mallory; cat /etc/trace; ip addr show to 10.1.1.1", check=False).out == ""


def test_servers_reach_each_other_and_the_tests_but_nothing_else(servers: Callable[..., list[Server]]) -> None:
    one, light = servers(1)[0], servers(1, "light")[0]
    banner = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{light.address}/22; head -c 7 <&3'"
    assert one.inside(banner).out == "SSH-2.0"
    assert one.inside("ip route show default").out == ""
    away = one.inside("timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/443'", check=False)
    assert "unreachable" in away.err
    assert light.inside("cat /proc/1/comm").out == "sh\n"
    assert "off" in light.ssh_root("systemctl is-system-running", check=False).out


def test_servers_are_found_in_every_state_that_admins_leave_them_in(servers: Callable[..., list[Server]]) -> None:
    one, other = servers(2)
    variants.match_blocks(one)
    variants.without_pam(one)
    assert "usepam no\n" in one.ssh_root("sshd -T").out
    variants.without_sudo(one)
    variants.without_python(one)
    assert one.ssh_root("command -v sudo python3", check=False).out == ""
    variants.twin(one, other)
    assert one.host_keys == other.host_keys
    assert one.ssh_root("true").code == 0
    variants.other_host_keys(one)
    assert "HOST IDENTIFICATION HAS CHANGED" in one.ssh_root("true", check=False).err
    variants.clock_off(other, 2 * 86_400)
    assert int(other.ssh_root("date +%s").out) - time.time() == pytest.approx(2 * 86_400, abs=60)
    variants.read_only(other)
    assert "Read-only" in other.ssh_root("touch /etc/touched", check=False).err


def test_fifty_plain_hosts_share_one_file_system(fleet: Fleet) -> None:
    with plain(fleet, 50, settings=lambda address: f"SetEnv PLAYS={address}") as made:
        made.write("/etc/told", "all\n")
        for host in (made.hosts[0], made.hosts[49]):
            assert host.ssh_root("echo $PLAYS; cat /etc/told").out == f"{host.address}\nall\n"
    assert not made.hosts[0].answers()


def test_a_killed_test_process_leaves_nothing_behind(fleet: Fleet) -> None:
    script = (
        "import signal; from tests.fleet.fleet import Fleet; made = Fleet.begin(); made.take(1, 'light')\n"
        "print(made.place.number, flush=True); signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    number = int(child.stdout.readline())
    home, group = HOME / f"place-{number}", hierarchies()[0] / f"mainstay-fleet-{number}"
    assert number != fleet.place.number
    assert members(group)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert until(lambda: not (HOME / f"place-{number}.lock").exists() and not home.exists(), 60)
    assert not group.exists()
    assert not [point for point, _, _ in mounts() if Path(point).is_relative_to(home)]
    assert f"mf{number}" not in run("ip", "link").stdout + run("ip", "netns").stdout


def test_a_server_with_postgresql_runs_it_and_has_it_again_after_a_crash(postgresql_server: Server) -> None:
    asked = "sudo -u postgres psql -Atc 'show port'"
    ready = "until pg_isready -q; do sleep 0.2; done"
    assert postgresql_server.ssh_root(f"timeout 60 sh -c '{ready}'; {asked}").out == "5432\n"
    postgresql_server.off()
    postgresql_server.on()
    assert postgresql_server.ssh_root(f"timeout 60 sh -c '{ready}'; {asked}").out == "5432\n"
