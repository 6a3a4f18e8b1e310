"""A server's files below a folder with the gate of the level manage in them, and what people ask of it."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from apps.servers.gate.script import gate_text
from tests.access.ssh_keys import made
from tests.servers.gate import SERVER, bring

DROPIN = "etc/ssh/sshd_config.d/10-mainstay.conf"
MAIN = "Include /etc/ssh/sshd_config.d/*.conf\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM yes\n"


def public(name: str) -> str:
    """Return type and blob of somebody's key, made once."""
    return " ".join(made("ed25519", 0, name)[0].split()[:2])


def key(name: str, until: int | None = None) -> dict[str, Any]:
    """Return one key as a request names it."""
    sort, blob = public(name).split()
    return {"type": sort, "blob": blob, "id": name, "until": until}


def account(user: str, *keys: dict[str, Any], sudo: bool = False, admin: bool = False) -> dict[str, Any]:
    """Return one wanted account; without keys it has one of its own, without a lease."""
    return {"user": user, "person": f"person-{user}", "sudo": sudo, "admin": admin, "keys": list(keys) or [key(user)]}


def admin(user: str, *keys: dict[str, Any]) -> dict[str, Any]:
    """Return a human admin."""
    return account(user, *keys, sudo=True, admin=True)


def wanted(*accounts: dict[str, Any], mode: str = "adopt", gone: tuple[str, ...] = (), revoked: tuple[str, ...] = (),
           after: int = 60, **more: Any) -> dict[str, Any]:  # fmt: skip
    """Return the arguments of the verb access."""
    state = {"accounts": list(accounts), "revoked": list(revoked), "gone": list(gone), "mode": mode}
    return {"wanted": state, "rollback_after": after, **more}


class Model:
    """One server that is only files, on which a real sshd -T, useradd, visudo and ssh-keygen work."""

    def __init__(self, root: Path) -> None:
        """Make the files of a fresh server on which the install script has run."""
        self.root = root
        for folder in ("etc/mainstay", "etc/ssh/mainstay/keys", "etc/ssh/sshd_config.d", "etc/sudoers.d", "etc/default",
                       "var/log/mainstay", "var/lib/mainstay/.ssh", "run", "home", "root", "bin"):  # fmt: skip
            (root / folder).mkdir(parents=True)
        people = [("root", 0, "/root", "/bin/bash"), ("mainstay", 900, "/var/lib/mainstay", "/bin/sh")]
        people.append(("sshd", 105, "/run/sshd", "/usr/sbin/nologin"))
        self.write("etc/passwd", "".join(f"{u}:x:{n}:{n}::{home}:{shell}\n" for u, n, home, shell in people))
        self.write("etc/group", "root:x:0:\nmainstay:x:900:\nops:x:901:\n")
        self.write("etc/shadow", "root:*:20000:0:99999:7:::\nmainstay:*:20000:0:99999:7:::\n")
        self.write("etc/gshadow", "root:*::\nmainstay:!::\nops:!::\n")
        shutil.copy("/etc/login.defs", root / "etc/login.defs")
        for shell in ("bash", "sh"):
            self.write(f"bin/{shell}", "").chmod(0o755)
        self.write("etc/ssh/sshd_config", MAIN)
        bring(root, SERVER, "manage")
        line = f'restrict,from="127.0.0.1",command="/usr/local/lib/mainstay/gate" {public("panel")} mainstay\n'
        self.write("var/lib/mainstay/.ssh/authorized_keys", line)
        text = gate_text().replace('ROOT = ""', f"ROOT = {str(root)!r}")
        self.write("gate.py", text)
        self.gate = self.load()

    def load(self) -> ModuleType:
        """Return the gate, for which sudo lets those be root for whom Mainstay wrote a rule."""
        spec = importlib.util.spec_from_file_location(f"gate_{os.getpid()}_{id(self)}", self.root / "gate.py")
        assert spec
        assert spec.loader
        gate = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(gate)
        gate.part("access", "access")
        gate.__dict__["sudo_of"] = self.sudo_of
        return gate

    def sudo_of(self, user: str) -> str:
        """Return what a real sudo would say, as far as the model goes: a rule of Mainstay's, or the group ops."""
        ops = next(line for line in self.read("etc/group").split("\n") if line.startswith("ops:"))
        found = (self.root / f"etc/sudoers.d/mainstay-{user}").exists() or user in ops.rpartition(":")[2].split(",")
        return "all" if found else "none"

    def write(self, path: str, text: str) -> Path:
        """Write a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, path: str) -> str:
        """Return a file's text, "" where there is none."""
        file = self.root / path
        return file.read_text() if file.exists() else ""

    def person(self, user: str, uid: int = 1500, *, keys: str = "", ops: bool = False) -> None:
        """Make an account that Mainstay did not make, with keys below its home."""
        self.write("etc/passwd", self.read("etc/passwd") + f"{user}:x:{uid}:{uid}::/home/{user}:/bin/bash\n")
        self.write("etc/shadow", self.read("etc/shadow") + f"{user}:*:20000:0:99999:7:::\n")
        group = self.read("etc/group") + f"{user}:x:{uid}:\n"
        self.write("etc/group", group.replace("ops:x:901:", f"ops:x:901:{user}") if ops else group)
        if keys:
            self.write(f"home/{user}/.ssh/authorized_keys", keys + "\n")

    def sshd(self, text: str, name: str = "50-theirs.conf") -> None:
        """Let the server's owner write a part of sshd's configuration."""
        self.write(f"etc/ssh/sshd_config.d/{name}", text)

    def access(self, *accounts: dict[str, Any], commit: bool = True, **more: Any) -> dict[str, Any]:
        """Make a wanted state true and, if it is pending, keep it."""
        answer: dict[str, Any] = self.gate.access(wanted(*accounts, **more), {})
        if commit and answer["pending"]:
            self.gate.commit({"change": answer["change"]}, {})
        return answer

    def refused(self, *accounts: dict[str, Any], **more: Any) -> tuple[str, str]:
        """Return code and sentence with which a wanted state is refused; nothing may have changed by it."""
        before = self.files()
        try:
            answer = self.gate.access(wanted(*accounts, **more), {})
        except self.gate.Refusal as refusal:
            assert self.files() == before
            return refusal.code, refusal.said
        raise AssertionError(f"it was not refused: {answer}")

    def files(self) -> dict[str, tuple[str, int]]:
        """Return every file's content and mode, but for snapshots, locks and backups of passwd."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and not name.startswith(("var/", "run/")) and not name.endswith(("-", ".lock")):
                found[name] = (path.read_bytes().decode("latin-1"), path.stat().st_mode)
        return found

    def dies(self, work: Callable[[ModuleType], Any], name: str, after: int) -> bool:
        """Do some work in another process, killed at its call number `after` of a function; return whether it was."""
        child = os.fork()
        if not child:
            try:
                left, real = [after], self.gate.__dict__[name]

                def deadly(*words: Any, **more: Any) -> Any:
                    left[0] -= 1
                    if left[0] < 0:
                        os._exit(9)
                    return real(*words, **more)

                self.gate.__dict__[name] = deadly
                work(self.gate)
            except BaseException:  # noqa: BLE001 — whatever it is, this process ends here
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    def revoked(self, name: str) -> bool:
        """Return whether the real ssh-keygen finds somebody's key in the list of revoked ones."""
        file = self.write(f"run/{name}.pub", public(name) + "\n")
        words = ["ssh-keygen", "-Q", "-f", str(self.root / "etc/ssh/mainstay/revoked.krl"), str(file)]
        return subprocess.run(words, capture_output=True, check=False).returncode != 0
