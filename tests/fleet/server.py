"""One server of the fleet: made, booted, logged into, and hurt in the ways real servers are."""

import re
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleet import boot
from tests.fleet.machine import FleetError, end, members, mounts, run, unmount, until

DISK = "512m"  # what a server may write before its disk is full; held in memory, as far as it is used
KEY_TYPES = ("ed25519", "ecdsa")
CALM = (  # a quick key exchange, no question ever, and nothing of the person who runs the tests
    "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR",
    "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none", "-o", "KexAlgorithms=curve25519-sha256",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command on a server came to; 255 is ssh's own failure (refused, unreachable, another host key)."""

    code: int
    out: str
    err: str


@dataclass(slots=True, eq=False)
class Server:
    """A server, its address, its keys and its file system as `root` (seen from outside, also while it is off)."""

    name: str
    kind: str
    address: str
    home: Path
    namespace: str
    link: str
    groups: tuple[Path, ...]
    key: Path  # root's private key, of the whole fleet
    port: int = 22
    host_keys: list[str] = field(default_factory=list)  # "type blob", as sshd shows them
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> Path:
        """The server's file system."""
        return self.home / "root"

    @property
    def systemd(self) -> bool:
        """Whether its process 1 is systemd."""
        return self.kind != "light"

    @property
    def known_hosts(self) -> Path:
        """A file for clients, with the host keys it was made with."""
        return self.home / "known_hosts"

    # --- made and destroyed -----------------------------------------------------------------------------

    def make(self, base: Path, *, gateway: str, bridge: str) -> None:
        """Give it a disk over a base, host keys, root's key and a cable."""
        disk = self.home / "disk"
        for folder in (disk, self.root):
            folder.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", f"{self.namespace}-disk", disk)
        for folder in (disk / "upper", disk / "work"):
            folder.mkdir()
        layers = f"lowerdir={base},upperdir={disk}/upper,workdir={disk}/work"
        run("mount", "-t", "overlay", self.namespace, "-o", layers, self.root)
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1\tlocalhost\n127.0.1.1\t{self.name}\n{gateway}\tcontroller\n")
        self.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        for kind in KEY_TYPES:
            file = self.root / "etc" / "ssh" / f"ssh_host_{kind}_key"
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", self.name, "-f", file)
        self.read_host_keys()
        ssh = self.root / "root" / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self.key.with_suffix(".pub"), ssh / "authorized_keys")
        (ssh / "authorized_keys").chmod(0o600)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self.link, "master", bridge, "up")
        for line in (f"addr add {self.address}/24 dev eth0", "link set lo up", "link set eth0 up"):
            run("ip", "-n", self.namespace, *line.split())  # no default route: nothing gets out of the /24

    def read_host_keys(self) -> None:
        """Take the host keys from its disk, as someone at its console would read them."""
        files = [self.root / "etc" / "ssh" / f"ssh_host_{kind}_key.pub" for kind in KEY_TYPES]
        self.host_keys = [" ".join(file.read_text(encoding="ascii").split()[:2]) for file in files if file.is_file()]
        self.known_hosts.write_text("".join(f"{self.address} {key}\n" for key in self.host_keys), encoding="ascii")

    def destroy(self) -> None:
        """End it and forget all it ever wrote."""
        self.off()
        unmount(self.home)
        if Path(f"/run/netns/{self.namespace}").exists():
            run("ip", "netns", "del", self.namespace, check=False)
        run("ip", "link", "del", self.link, check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    # --- power ------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Return whether any process of it lives, counting one that has not joined its control groups yet."""
        begun = self.process is not None and self.process.poll() is None
        return begun or bool(members(self.groups[0]))

    def start(self) -> None:
        """Press the power button, without waiting."""
        if self.running():
            return
        for group in self.groups:
            group.mkdir(parents=True, exist_ok=True)
        make = boot.with_systemd if self.systemd else boot.with_sshd_alone
        script = make(self.root, name=self.name, namespace=self.namespace)
        with (self.home / "console.log").open("ab") as console:
            self.process = subprocess.Popen(
                ["bash", "-c", boot.enter(self.groups) + script], stdin=subprocess.DEVNULL, stdout=console,
                stderr=console, start_new_session=True, cwd="/",
            )  # fmt: skip

    def on(self, *, wait: bool = True) -> None:
        """Power it on and wait until it has booted."""
        self.start()
        if wait:
            self.wait()

    def off(self) -> None:
        """Cut its power: every process dies at once, nothing is synced, its disk stays."""
        end(self.groups)
        if self.process is not None:
            self.process.wait(10)
            self.process = None
        with suppress(OSError):  # nspawn keeps it where /run is no tmpfs
            Path("/run/systemd/nspawn/propagate", self.namespace).rmdir()

    def wait(self, *, other_than: str = "", seconds: float = 90) -> str:
        """Wait until it takes root's login and has booted; return its boot id. Raises FleetError when it does not."""
        settled = "systemctl is-system-running --wait >/dev/null; " if self.systemd else ""
        boots: list[str] = []

        def up() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise FleetError(f"{self.name} went off: {self.console()}")
            if not self.answers():
                return False
            found = self.ssh_root(f"{settled}cat /proc/sys/kernel/random/boot_id", check=False).out.strip()
            boots.append(found)
            return bool(found) and found != other_than

        if not until(up, seconds):
            raise FleetError(f"{self.name} did not come up within {seconds:.0f} s: {self.console()}")
        return boots[-1]

    def reboot(self) -> float:
        """Reboot it as an admin would, and return after how many seconds it had booted again."""
        began = time.monotonic()
        if self.systemd:
            before = self.inside("cat /proc/sys/kernel/random/boot_id").out.strip()
            self.inside("systemctl reboot --no-block")
            self.wait(other_than=before)
        else:
            self.off()
            self.on()
        return time.monotonic() - began

    # --- talking to it ----------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Return whether its sshd shows its banner within two seconds."""
        with suppress(OSError), socket.create_connection((self.address, self.port), 2) as line:
            line.settimeout(2)
            return line.recv(8).startswith(b"SSH-2.0")
        return False

    def ssh_words(self, user: str, key: Path, *options: str) -> list[str]:
        """Return the command line of an OpenSSH client that knows the server's host keys."""
        known = f"UserKnownHostsFile={self.known_hosts}"
        return ["ssh", *CALM, "-o", known, "-o", "ConnectTimeout=5", "-p", str(self.port), "-i", str(key), *options,
                f"{user}@{self.address}"]  # fmt: skip

    def login(
        self, user: str, key: Path, command: str = "true", *options: str, timeout: float = 30, **more: str
    ) -> Answer:
        """Log in with a private key and run a command; `input` is what it reads. Never raises: see the answer."""
        try:
            done = run(*self.ssh_words(user, key, *options), command, check=False, timeout=timeout, **more)
        except subprocess.TimeoutExpired:
            return Answer(255, "", f"no answer within {timeout:.0f} s")
        return Answer(done.returncode, done.stdout, done.stderr)

    def ssh_root(self, command: str, *, check: bool = True, timeout: float = 60, **more: str) -> Answer:
        """Run a shell command over ssh as root. Raises FleetError when it fails and `check` is set."""
        answer = self.login("root", self.key, command, timeout=timeout, **more)
        if check and answer.code:
            raise FleetError(f"{command!r} on {self.name} ended with {answer.code}: {answer.out}{answer.err}")
        return answer

    def inside(self, command: str, *, check: bool = True, timeout: float = 60, **more: str) -> Answer:
        """Run a shell command as root at its console: works whatever its sshd thinks, and costs no login."""
        words = [
            "nsenter", f"--target={self._init()}", "--all", "--root", "--wd",
            "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "sh", "-c", command,
        ]  # fmt: skip
        done = run(*words, check=False, timeout=timeout, **more)
        if check and done.returncode:
            raise FleetError(f"{command!r} in {self.name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return Answer(done.returncode, done.stdout, done.stderr)

    def _init(self) -> int:
        """Return the process id, out here, of its process 1."""
        for pid in sorted(members(self.groups[0])):
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                    return pid
        raise FleetError(f"{self.name} is off")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of root's on it, from outside."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def reload_sshd(self) -> None:
        """Let sshd read its settings again, and wait until it listens. Raises FleetError when they are wrong."""
        often = "systemctl reset-failed ssh && systemctl restart ssh"  # systemd counts restarts, and tests make many
        self.inside(f"mkdir -p /run/sshd && sshd -t && {often if self.systemd else 'kill -HUP $(cat /run/sshd.pid)'}")
        if not until(self.answers, 20):
            raise FleetError(f"sshd of {self.name} does not answer: {self.console()}")

    def console(self) -> str:
        """Return the end of what its console showed."""
        return (self.home / "console.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    # --- hurt -------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Hang it: TCP connects, nothing answers."""
        (self.groups[0] / "cgroup.freeze").write_text("1", encoding="ascii")

    def thaw(self) -> None:
        """Let it go on."""
        (self.groups[0] / "cgroup.freeze").write_text("0", encoding="ascii")

    def unplug(self) -> None:
        """Pull its cable: packets vanish."""
        run("ip", "link", "set", self.link, "down")

    def plug(self) -> None:
        """Put its cable back in."""
        run("ip", "link", "set", self.link, "up")

    def fill_disk(self) -> None:
        """Fill its disk to the last byte."""
        with (self.root / "var" / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while filler.write(b"\0" * size) == size:
                        pass

    def free_disk(self) -> None:
        """Undo that."""
        (self.root / "var" / "filler").unlink(missing_ok=True)

    def mounted(self) -> bool:
        """Return whether its disk is there."""
        return str(self.root) in {point for point, _, _ in mounts()}
