"""The cheap hosts of scale tests: sshd on 127.0.1.1, 127.0.1.2, … over one shared file system."""

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.base import base
from tests.fleet.boot import enter, jailed
from tests.fleet.fleet import Fleet
from tests.fleet.machine import FleetError, end, run, unmount, until
from tests.fleet.server import Server

EACH = 16  # sshd refuses more addresses than this
SETTINGS = (
    "PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "MaxStartups 1000:30:2000",
    "MaxSessions 100", "PermitRootLogin prohibit-password",
)  # fmt: skip


@dataclass(slots=True)
class Plain:
    """Addresses of one file system, all with the same host key; `hosts` differ by address and name only."""

    hosts: list[Server]
    root: Path

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file that all of them have."""
        self.hosts[0].write(path, text, mode=mode)


@contextmanager
def plain(
    fleet: Fleet, count: int, *, port: int = 22022, settings: Callable[[str], str] | None = None
) -> Iterator[Plain]:
    """Run sshd on so many addresses of loopback, and end it.

    settings: what sshd_config says besides for an address, as lines of a `Match LocalAddress` block: which key file
    an account has there, or what tells a forced command which host it plays (SetEnv).
    """
    home = fleet.place.home / "plain"
    root, disk = home / "root", home / "disk"
    for folder in (root, disk):
        folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "plain-disk", disk)
    groups = tuple(group / "plain" for group in fleet.place.groups)
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    try:
        for folder in (disk / "upper", disk / "work"):
            folder.mkdir()
        layers = f"lowerdir={base('debian')},upperdir={disk}/upper,workdir={disk}/work"
        run("mount", "-t", "overlay", "plain", "-o", layers, root)
        hosts = [
            Server(f"plain{number}", "light", f"127.0.1.{number}", home, "", "", groups, fleet.key, port)
            for number in range(1, count + 1)
        ]
        _configure(hosts, root, fleet.key, settings or (lambda _: ""))
        with (home / "console.log").open("ab") as console:
            process = subprocess.Popen(
                ["bash", "-c", _script(root, groups, -(-count // EACH))], stdin=subprocess.DEVNULL, stdout=console,
                stderr=console, start_new_session=True, cwd="/",
            )  # fmt: skip
        if not until(lambda: process.poll() is not None or all(host.answers() for host in hosts[EACH - 1 :: EACH]), 30):
            raise FleetError(f"the plain hosts do not answer: {hosts[0].console()}")
        if process.poll() is not None:
            raise FleetError(f"the plain hosts went off: {hosts[0].console()}")
        yield Plain(hosts, root)
    finally:
        end(groups)
        with suppress(UnboundLocalError):
            process.wait(10)
        unmount(home)
        shutil.rmtree(home, ignore_errors=True)


def _configure(hosts: list[Server], root: Path, key: Path, settings: Callable[[str], str]) -> None:
    """Write one sshd_config for every sixteen addresses, the shared host key, and root's key."""
    ssh = root / "etc" / "ssh"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "plain", "-f", ssh / "ssh_host_ed25519_key")
    host_key = " ".join((ssh / "ssh_host_ed25519_key.pub").read_text(encoding="ascii").split()[:2])
    for host in hosts:
        host.host_keys = [host_key]
    known = "".join(f"[{host.address}]:{host.port} {host_key}\n" for host in hosts)
    hosts[0].known_hosts.write_text(known, encoding="ascii")
    (root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(key.with_suffix(".pub"), root / "root" / ".ssh" / "authorized_keys")
    for begun in range(0, len(hosts), EACH):
        some = hosts[begun : begun + EACH]
        lines = [f"Port {hosts[0].port}", *(f"ListenAddress {host.address}" for host in some), *SETTINGS]
        for host in some:
            if more := settings(host.address):
                lines += [f"Match LocalAddress {host.address}", more]
        (ssh / f"plain{begun // EACH}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _script(root: Path, groups: tuple[Path, ...], daemons: int) -> str:
    """Return the script that runs the daemons over the shared file system, in the machine's own network."""
    start = "".join(f"/usr/sbin/sshd -D -e -f /etc/ssh/plain{number} & " for number in range(daemons))
    inner = "\n".join((
        "set -e; mount --make-rprivate /",
        f"mount --rbind {shlex.quote(str(root))} {shlex.quote(str(root))}; cd {shlex.quote(str(root))}",
        "mount --rbind /dev dev; mount -t proc proc proc; mount -t tmpfs -o mode=755 run run; mkdir -p run/sshd",
        jailed(f"{start}wait", "net_admin"),
    ))  # fmt: skip
    words = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", inner]
    return f"{enter(groups)}exec {shlex.join(words)}\n"
