"""A real sshd on loopback whose accounts exist only for it: passwd and shadow of its own, in a mount namespace."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.gate import bring

ROOT = Path(__file__).resolve().parents[2]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""
missing = os.geteuid() != 0 or not SSHD
WHY = "needs root and openssh-server"


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd."""

    folder: Path
    addresses: tuple[str, ...]
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """Return its first address."""
        return self.addresses[0]

    @property
    def host_keys(self) -> tuple[tuple[str, str], ...]:
        """Return the public host keys as (type, base64)."""
        lines = [path.read_text().split() for path in sorted(self.folder.glob("host_*.pub"))]
        return tuple((line[0], line[1]) for line in lines)

    def authorize(self, user: str, *lines: str) -> None:
        """Replace a user's authorized_keys."""
        (self.folder / "keys" / user).write_text("".join(f"{line}\n" for line in lines))

    def log(self) -> str:
        """Return what it logged."""
        return (self.folder / "log").read_text(errors="replace")


@contextlib.contextmanager
def sshd(
    folder: Path, *, users: Sequence[str] = ("mainstay",), kinds: Sequence[str] = ("ed25519",),
    addresses: Sequence[str] = ("127.0.0.1",), config: str = "",
) -> Iterator[Sshd]:  # fmt: skip
    """Run an sshd with some accounts (all of them uid 0 inside) and host keys; stopped afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys").mkdir(exist_ok=True)
    for kind in kinds:
        if not (folder / f"host_{kind}").exists():
            words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / f"host_{kind}")]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    _accounts(folder, users)
    with socket.socket() as free:
        free.bind((addresses[0], 0))
        port = free.getsockname()[1]
    lines = [
        f"Port {port}", *(f"ListenAddress {address}" for address in addresses), "UsePAM no", "StrictModes no",
        *(f"HostKey {folder}/host_{kind}" for kind in kinds), f"AuthorizedKeysFile {folder}/keys/%u",
        f"PidFile {folder}/pid", "LogLevel VERBOSE", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin yes", "MaxStartups 200:30:300", config,
    ]  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    binds = " && ".join(f"mount --bind {folder}/etc-{name} /etc/{name}" for name in ("passwd", "shadow"))
    script = f"mkdir -p /run/sshd && {binds} && exec {SSHD} -D -f {folder}/sshd_config -E {folder}/log"
    process = subprocess.Popen(  # no pipe of ours: who waits for its end would wait for this daemon's
        ["unshare", "-m", "--kill-child", "--fork", "sh", "-c", script],
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for address in addresses:
            _answers(address, port, process)
        yield Sshd(folder, tuple(addresses), port, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _accounts(folder: Path, users: Sequence[str]) -> None:
    passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
    for user in users:
        passwd += f"{user}:x:0:0::{folder}:/bin/sh\n"
        shadow += f"{user}:*:19000:0:99999:7:::\n"
    (folder / "etc-passwd").write_text(passwd)
    (folder / "etc-shadow").write_text(shadow)


def _answers(address: str, port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1) as probe:
            if probe.recv(4) == b"SSH-":
                return
    raise RuntimeError(f"sshd did not start (code {process.poll()})")


def script(path: Path, body: str) -> Path:
    """Write an executable Python script."""
    path.write_text(f"#!{sys.executable} -I\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def gate(folder: Path, *, server: str, public_key: str, level: str = "observe") -> Path:
    """Install the real gate on a tree of its own below `folder`, with a stand-in for sudo; return the program."""
    tree = folder / "tree"
    for name in ("etc/mainstay", "etc/ssh/mainstay/keys", "etc/sudoers.d", "etc/ssh/sshd_config.d", "run",
                 "var/log/mainstay", "var/lib/mainstay"):  # fmt: skip
        (tree / name).mkdir(parents=True, exist_ok=True)
    bring(tree, server, level)
    (tree / "etc/mainstay/signers").write_text(f'mainstay namespaces="mainstay-gate" {public_key}\n')
    (tree / "var/log/mainstay/gate.log").touch()
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    if not (tree / "proc").exists():
        (tree / "proc").symlink_to("/proc")
        (tree / "etc/os-release").symlink_to("/etc/os-release")
    sudo = folder / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    program = folder / "gate"
    source = (ROOT / "apps/servers/gate/gate.py").read_text()
    source = source.replace('ROOT = ""', f"ROOT = {str(tree)!r}", 1).replace('"/usr/bin/sudo"', repr(str(sudo)))
    source = source.replace('GATE = "/usr/local/lib/mainstay/gate"', f"GATE = {str(program)!r}", 1)
    program.write_text(source)
    program.chmod(0o755)
    return program
