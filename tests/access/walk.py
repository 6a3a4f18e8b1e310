"""A random walk of grants, revocations, edits of sshd, kills and full disks, after each of which somebody must get in.

The suite and `./mainstay bench walk` take the same steps from here; only how many differs.
"""

import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tests.access.model import Model, account, key, public, wanted
from tests.access.people import People

STEPS = {"model": 2_000, "real": 100}
PEOPLE = ("alice", "bob", "carol")
FOUND = "dave"  # an admin whom Mainstay did not make
EDITS = (
    "", "", "", "AllowUsers alice bob mainstay\n", "AllowUsers dave mainstay root\n", "DenyUsers alice\n",
    "DenyUsers bob carol\n", "AllowGroups ops mainstay root\n", "Match User alice\n  PubkeyAuthentication no\n",
    "Match User bob,carol\n  AuthorizedKeysFile .ssh/authorized_keys\n", "Match User b*\n  ForceCommand /bin/true\n",
    "Match User alice,bob\n  AuthenticationMethods publickey,password\n", "UsePAM no\n", "NoSuchOption yes\n",
    "Match User dave\n  RevokedKeys /etc/ssh/missing\n", "AuthorizedKeysFile /etc/theirs/%u .ssh/authorized_keys\n",
    "PubkeyAcceptedAlgorithms rsa-sha2-512\n", "Match User mainstay\n  PubkeyAuthentication no\n",
)  # fmt: skip


class World(Protocol):
    """A server on which the walk can be walked."""

    def ask(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Ask the gate; return its answer, or {"code": …} where it refuses."""

    def edit(self, name: str, text: str) -> None:
        """Let the owner of the server write a part of sshd's configuration."""

    def meddle(self, rng: random.Random) -> str:
        """Let the owner do something else to an account or a file; return what."""

    def heal(self) -> None:
        """Let the owner take back all that the owner did, and Mainstay's part of sshd's configuration with it."""

    def killed(self, args: dict[str, Any], rng: random.Random) -> None:
        """Ask for a change and kill the gate somewhere in it; then its timer does what it does."""

    def full(self, args: dict[str, Any]) -> None:
        """Ask for a change while the disk is full."""

    def admins(self) -> set[str]:
        """Return the humans who get in and may become root."""

    def panel(self) -> bool:
        """Return whether the panel gets in."""


def state(rng: random.Random) -> dict[str, Any]:
    """Return some wanted state; most have an admin."""
    now, accounts, chosen = int(time.time()), [], rng.sample(PEOPLE, rng.randint(0, 3))
    for user in chosen:
        until = rng.choice([None, None, now + 72 * 3600, now + 90 * 86400, now - 3600])
        sudo = rng.random() < 0.7
        accounts.append(account(user, key(rng.choice([user, f"{user}-2"]), until), sudo=sudo, admin=sudo))
    gone = tuple(user for user in PEOPLE if user not in chosen and rng.random() < 0.5)
    revoked = tuple(public(name) for name in (*gone, *rng.choice([(), (), ("alice",), ("dave",), ("bob-2",)])))
    mode = rng.choice(["adopt", "adopt", "enforced"])
    return wanted(*accounts, mode=mode, gone=gone, revoked=tuple(dict.fromkeys(revoked)))


def walk(world: World, seed: int, steps: int, *, said: Callable[[str], None] = print) -> dict[str, int]:
    """Take steps; AssertionError when one of the gate's own locked the last admin or the panel out. Return counts."""
    rng, counts = random.Random(seed), dict[str, int]()
    said(f"walk: seed {seed}, {steps} steps")
    before = (world.admins(), world.panel())
    for number in range(steps):
        if not all(before):  # its owner has locked everybody out, and mends that
            world.heal()
            before = (world.admins(), world.panel())
            assert all(before), f"seed {seed}, step {number}: nobody gets in even now: {before}"
            counts["healed"] = counts.get("healed", 0) + 1
        kind = rng.choices(("access", "edit", "meddle", "killed", "full"), (55, 15, 8, 15, 7))[0]
        what, by_gate = kind, kind not in {"edit", "meddle"}
        if kind == "edit":
            world.edit(rng.choice(["05-theirs", "50-theirs"]), rng.choice(EDITS))
        elif kind == "meddle":
            what = world.meddle(rng)
        else:
            args = state(rng)
            if kind == "killed":
                world.killed(args, rng)
            elif kind == "full":
                world.full(args)
            else:
                answer = world.ask("access", args)
                what = f"access {answer.get('code', 'done')}"
                if answer.get("pending"):
                    end = rng.choice(["commit", "commit", "rollback"])
                    world.ask(end, {"change": answer["change"]})
                    what = f"access {end}"
        after = (world.admins(), world.panel())
        where = f"seed {seed}, step {number}, {what}: {before} became {after}"
        assert not by_gate or after[0] or not before[0], where
        assert not by_gate or after[1] or not before[1], where
        before = after
        counts[what] = counts.get(what, 0) + 1
    return counts


@contextmanager
def ground() -> Iterator[Path]:
    """Lend a folder in memory, where there is one: nothing of a walk outlives it, so it need not wait for disks."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mainstay-walk-", dir=memory) as name:
        yield Path(name)


class Remembered:
    """Programs that only read, asked once about the same content: the gate's own sshd -T and -t, visudo and ssh -V."""

    def __init__(self, gate: ModuleType) -> None:
        """Stand between a gate and what it runs."""
        self.real, self.known = gate.__dict__["run"], dict[str, Any]()
        gate.__dict__["run"] = self.run

    def run(self, words: list[str], *rest: Any, **more: Any) -> Any:
        """Run a program as the gate does, or return what it said of these very files."""
        if not (words[0].endswith("/sshd") or words[0] == "visudo" or words == ["ssh", "-V"]):
            return self.real(words, *rest, **more)
        about = repr([self.content(word) if word.startswith("/") else word for word in words[1:]])
        if about not in self.known:
            self.known[about] = self.real(words, *rest, **more)
        return self.known[about]

    def content(self, path: str) -> str:
        """Return a file's content, with that of what it includes in its place."""
        inside = re.compile(r"(?m)^Include (.*)$")
        return inside.sub(lambda line: f"<{[*map(self.content, line[1].split())]}>", Path(path).read_text())


class ModelWorld:
    """The walk on files, judged by a real sshd -T that sees them as its own /etc, and by nothing of the gate's."""

    def __init__(self, root: Path) -> None:
        """Make a server with an admin of its own."""
        self.model = Model(root)
        self.remembered = Remembered(self.model.gate)
        self.known: dict[tuple[str, ...], str] = {}
        self.revoked: dict[tuple[bytes, str], bool] = {}
        self.model.person(FOUND, keys=public(FOUND), ops=True)
        shutil.copy("/etc/ssh/ssh_host_ed25519_key", root / "etc/ssh/ssh_host_ed25519_key")
        self.model.gate.__dict__["arm"] = lambda *_words: None  # the walk is the timer
        self.answers: dict[str, str] = {}

    def ask(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Ask the gate."""
        try:
            answer: dict[str, Any] = self.model.gate.__dict__[verb](args, {})
        except self.model.gate.Refusal as refusal:
            return {"code": refusal.code}
        return answer

    def edit(self, name: str, text: str) -> None:
        """Write a part of sshd's configuration."""
        self.model.sshd(text, f"{name}.conf")

    def meddle(self, rng: random.Random) -> str:
        """Do what owners do."""
        root, user = self.model.root, rng.choice([*PEOPLE, FOUND])
        what = rng.choice(["lock", "unlock", "no list", "no line", "mode", "drop-in", "state"])
        if what in ("lock", "unlock"):
            old, new = ("*", "!*") if what == "lock" else ("!*", "*")
            self.model.write("etc/shadow", self.model.read("etc/shadow").replace(f"{user}:{old}:", f"{user}:{new}:"))
        elif what == "mode":
            (root / "etc/ssh/mainstay/keys").chmod(rng.choice([0o755, 0o755, 0o775]))
        else:
            names = {"no list": "revoked.krl", "no line": f"keys/{user}", "state": "state.json"}
            path = f"etc/ssh/mainstay/{names.get(what)}" if what in names else "etc/ssh/sshd_config.d/10-mainstay.conf"
            (root / path).unlink(missing_ok=True)
        return f"meddle {what}"

    def heal(self) -> None:
        """Undo what the owner did."""
        for name in ("05-theirs", "50-theirs"):
            self.edit(name, "")
        (self.model.root / "etc/ssh/mainstay/keys").chmod(0o755)
        (self.model.root / "etc/ssh/sshd_config.d/10-mainstay.conf").unlink(missing_ok=True)
        self.model.write("etc/shadow", self.model.read("etc/shadow").replace(f"{FOUND}:!*:", f"{FOUND}:*:"))

    def killed(self, args: dict[str, Any], rng: random.Random) -> None:
        """Kill the gate at one of its own steps."""
        function = rng.choice(["stage", "settle", "settle", "settle", "snapshot", "open_account", "guard", "put_back"])
        self.model.dies(lambda gate: gate.access(args, {}), function, rng.randint(0, 6))
        for change in self.model.gate.pending():
            self.model.gate.undo(change)

    def full(self, args: dict[str, Any]) -> None:
        """Let the disk be full from some write on."""
        gate, real, left = self.model.gate, self.model.gate.__dict__["stage"], [len(str(args)) % 5]

        def stage(*words: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise gate.Refusal("full", "The disk is full.")
            return real(*words)

        gate.__dict__["stage"] = stage
        try:
            answer = self.ask("access", args)
        finally:
            gate.__dict__["stage"] = real
        if answer.get("pending"):
            self.ask("commit", {"change": answer["change"]})
        for change in gate.pending():
            gate.undo(change)

    def admins(self) -> set[str]:
        """Return who gets in, by what sshd itself reads and by this file's own rules."""
        rows = dict(line.split(":")[:2] for line in self.model.read("etc/passwd").split())
        able = [user for user in (*PEOPLE, FOUND) if user in rows and self.model.sudo_of(user) == "all"]
        self.answers = self.asked([*able, "mainstay"])
        return {user for user in able if self.gets_in(user)}

    def panel(self) -> bool:
        """Return whether the panel's own account gets in."""
        return self.gets_in("mainstay")

    def asked(self, users: list[str]) -> dict[str, str]:
        """Return what sshd says of each of some users when these files are its own, "" where it takes no answer."""
        etc = self.model.root / "etc"
        files = [etc / "ssh/sshd_config", *sorted((etc / "ssh/sshd_config.d").glob("*.conf")), etc / "passwd"]
        read = (*(f"{file.name}: {file.read_text()}" for file in files), self.model.read("etc/group"))
        script = "".join(f"mount --bind {etc}/{name} /etc/{name}\n" for name in ("ssh", "passwd", "group"))
        news = [user for user in users if (user, *read) not in self.known]
        for user in news:
            spec = f"user={user},host=127.0.0.1,addr=127.0.0.1,laddr=127.0.0.1,lport=22"
            script += f"echo '== {user}'; /usr/sbin/sshd -T -C {spec} || :\n"
        words = ["unshare", "-m", "sh", "-ec", script]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout if news else ""
        for part in said.split("== ")[1:]:
            self.known[(part.partition("\n")[0], *read)] = part.partition("\n")[2]
        return {user: self.known[(user, *read)] for user in users}

    def gets_in(self, user: str) -> bool:
        """Return whether some key opens an account, by what sshd was last asked."""
        options: dict[str, list[str]] = {}
        for line in self.answers[user].splitlines():
            name, _, rest = line.partition(" ")
            options.setdefault(name, []).append(rest)
        groups = [line.split(":")[0] for line in self.model.read("etc/group").split() if user in re.split("[:,]", line)]
        shadow = next(line.split(":") for line in self.model.read("etc/shadow").split() if line.startswith(f"{user}:"))
        allow, allow_groups = options.get("allowusers"), options.get("allowgroups")
        if (
            not options
            or (shadow[1].startswith("!") and options["usepam"] == ["no"])
            or shadow[7] not in ("", "-1")
            or options["pubkeyauthentication"] != ["yes"]
            or options["authenticationmethods"] != ["any"]
            or options["forcecommand"] != ["none"]
            or "ssh-ed25519" not in options["pubkeyacceptedalgorithms"][0].split(",")
            or any(fnmatchcase(user, one) for one in options.get("denyusers", []))
            or (allow and not any(fnmatchcase(user, one) for one in allow))
            or (allow_groups and not set(groups) & set(allow_groups))
        ):
            return False
        home = "var/lib/mainstay" if user == "mainstay" else f"home/{user}"
        names = [word.replace("%u", user) for word in options["authorizedkeysfile"][0].split()]
        files = [self.model.root / (name[1:] if name.startswith("/") else f"{home}/{name}") for name in names]
        lines = [line for file in files if self.trusted(file) for line in file.read_text().splitlines()]
        return any(self.opens(line, options["revokedkeys"][0]) for line in lines)

    def trusted(self, file: Path) -> bool:
        """Return whether a file is there and nobody else may write it or its folder."""
        return file.is_file() and not (file.stat().st_mode | file.parent.stat().st_mode) & 0o022

    def opens(self, line: str, revoked: str) -> bool:
        """Return whether a line's key is in force."""
        end = re.match(r'expiry-time="(\d{14})Z" ', line)
        if end and end[1] <= time.strftime("%Y%m%d%H%M%S", time.gmtime()):
            return False
        if revoked == "none":
            return True
        public_key, list_ = " ".join(re.findall(r"ssh-ed25519 \S+", line)), Path(f"{self.model.root}{revoked}")
        about = (list_.read_bytes() if list_.exists() else b"", public_key)
        if about not in self.revoked:
            file = self.model.write("run/asked.pub", public_key + "\n")
            words = ["ssh-keygen", "-Q", "-f", str(list_), str(file)]
            self.revoked[about] = subprocess.run(words, capture_output=True, check=False).returncode != 0
        return not self.revoked[about]


class RealWorld:
    """The walk on a real server, judged by real logins alone."""

    def __init__(self, people: People) -> None:
        """Give the server an admin whom Mainstay did not make."""
        self.people, self.server = people, people.server
        self.server.inside(
            f"useradd -m -G sudo -s /bin/bash {FOUND} && usermod -p '*' {FOUND}\n"
            f"printf '{FOUND} ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/found && chmod 440 /etc/sudoers.d/found\n"
            f"groupadd -f ops; usermod -aG ops {FOUND}; install -d -o {FOUND} -g {FOUND} -m 700 ~{FOUND}/.ssh\n"
            f"printf '%s\\n' '{public(FOUND)}' >~{FOUND}/.ssh/authorized_keys"
        )

    def ask(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Ask the gate as the panel, if it gets in."""
        try:
            said = self.people.ask(verb, args)
        except KeyError:  # no gate greeted it
            return {"code": "unreachable"}
        answer: dict[str, Any] = said["answer"] if said["ok"] else said
        return answer

    def edit(self, name: str, text: str) -> None:
        """Write a part of sshd's configuration and have it read, if sshd takes it."""
        path = f"/etc/ssh/sshd_config.d/{name}.conf"
        self.server.write(path, text)
        if self.server.inside("sshd -t", check=False).code:
            self.server.inside(f"rm {path}")
        self.server.reload_sshd()

    def meddle(self, rng: random.Random) -> str:
        """Do what owners do."""
        user, what = rng.choice(PEOPLE), rng.choice(["lock", "unlock", "no line", "no list"])
        self.server.inside({
            "lock": f"usermod -L {user}", "unlock": f"usermod -U {user}",
            "no line": f"rm -f /etc/ssh/mainstay/keys/{user}",
            "no list": "rm -f /etc/ssh/mainstay/revoked.krl",
        }[what], check=False)  # fmt: skip
        return f"meddle {what}"

    def heal(self) -> None:
        """Undo what the owner did."""
        self.server.inside("rm -f /etc/ssh/sshd_config.d/*.conf")
        self.server.reload_sshd()

    def killed(self, args: dict[str, Any], rng: random.Random) -> None:
        """Kill the gate's root half somewhere, and let the timer's work be done at once."""
        with suppress(KeyError):  # no gate greeted it
            call = self.people.root()
            text = call.request("access", args, state=call.greeting["state"])
            call.write(text, self.people.sign(text))
            wait = f"timeout {rng.uniform(0.01, 1.5):.2f} tail -f /dev/null"
            self.server.inside(f"{wait}; pkill -9 -f 'gate root'", check=False)
            call.end()
        self.server.inside("/usr/local/lib/mainstay/gate rollback pending")

    def full(self, args: dict[str, Any]) -> None:
        """Ask while there is no room."""
        self.server.fill_disk()
        self.ask("access", args)
        self.server.inside("/usr/local/lib/mainstay/gate rollback pending")
        self.server.free_disk()

    def admins(self) -> set[str]:
        """Return who gets in and becomes root, with either key of theirs."""

        def may(user: str) -> bool:
            other = self.people.private(f"{user}-2")
            return self.people.login(user, user, "sudo -n true", "-i", str(other)).code == 0

        with ThreadPoolExecutor(4) as pool:
            return {user for user, so in zip((*PEOPLE, FOUND), pool.map(may, (*PEOPLE, FOUND)), strict=True) if so}

    def panel(self) -> bool:
        """Return whether the gate greets the panel."""
        done = subprocess.run(self.people.ssh(), input="", capture_output=True, text=True, check=False, timeout=60)
        return '"gate":1' in done.stdout
