"""The gate in a tree of its own, and a panel that signs what a test wants it to sign."""

import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from apps.servers.gate.script import PARTS, Script, make, part_text
from tests.fleet.server import Answer, Server

SOURCE = Path(__file__).resolve().parents[2] / "apps/servers/gate/gate.py"
SERVER = "0198b2f4-0000-7000-8000-000000000001"


def bring(root: Path, server: str, level: str) -> None:
    """Write what the install script writes below a folder: the server's own description, and the gate's other files."""
    sums = {}
    folder = root / "usr/local/lib/mainstay"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (needs, _files, _why) in PARTS.items():
        if level in ("manage", needs):
            (folder / name).write_text(part_text(name))
            sums[name] = hashlib.sha256(part_text(name).encode()).hexdigest()
    (root / "etc/mainstay/server.json").write_text(json.dumps({"server": server, "level": level, "parts": sums}))


class Signer:
    """Key pairs in a folder; the one called panel signs, unless a test wants another."""

    def __init__(self, keys: Path) -> None:
        """Make the panel's key."""
        self.keys = keys
        keys.mkdir(parents=True)
        self.key = self.new_key("panel")

    @property
    def public(self) -> str:
        """The panel's public key, without a comment."""
        return " ".join(self.key.with_suffix(".pub").read_text().split()[:2])

    def new_key(self, name: str) -> Path:
        """Make an Ed25519 key pair."""
        path = self.keys / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def sign(self, text: str, key: Path | None = None, namespace: str = "mainstay-gate") -> str:
        """Return the armored signature of a text."""
        words = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key or self.key), "-n", namespace]
        done = subprocess.run(words, input=text.encode("utf-8", "surrogatepass"), capture_output=True, check=True)
        return done.stdout.decode()


class Tree(Signer):
    """One server's files below a folder, with the gate, its level and the only key it obeys."""

    def __init__(self, root: Path, level: str = "observe") -> None:
        """Make the files that the install script would make."""
        self.root = root
        for folder in ("etc/mainstay", "etc/ssh/mainstay/keys", "var/log/mainstay", "run"):
            (root / folder).mkdir(parents=True)
        super().__init__(root / "keys")
        self.log = root / "var/log/mainstay/gate.log"
        self.log.touch()
        (root / "etc/mainstay/signers").write_text(f'mainstay namespaces="mainstay-gate" {self.public}\n')
        self.gate = root / "gate"
        self.gate.write_text(SOURCE.read_text().replace('ROOT = ""', f"ROOT = {str(root)!r}"))
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write the server's own description."""
        bring(self.root, SERVER, level)

    def call(self, *words: str) -> "Call":
        """Start a conversation."""
        python = os.environ.get("GATE_PYTHON", sys.executable)
        return Call(self, [python, "-IS", str(self.gate), *words])


class Installed(Signer):
    """A real server on which the install script was run, and the panel that it was made for."""

    def __init__(self, server: Server, keys: Path) -> None:
        """Make the panel's key; install nothing yet."""
        super().__init__(keys)
        self.server = server
        self.panel = server.address.rsplit(".", 1)[0] + ".1"  # from where the server sees the tests

    def script(self, level: str = "observe", **changed: Any) -> Script:
        """Return the script of this server."""
        good = {"server": SERVER, "public_key": self.public, "level": level, "seen_from": [self.panel]}
        return make(**{**good, **changed})

    def install(self, level: str = "observe", *, check: bool = True, **changed: Any) -> Answer:
        """Run the script as root, as one who pastes it does."""
        return self.server.inside("sh", input=self.script(level, **changed).text, check=check)

    def ssh(self, *words: str, options: tuple[str, ...] = (), key: Path | None = None) -> list[str]:
        """Return the command line of an SSH client that comes as the panel."""
        return [*self.server.ssh_words("mainstay", key or self.key, *options), *words]

    def call(self) -> "Call":
        """Start a conversation over SSH."""
        return Call(self, self.ssh())

    def root(self) -> "Call":
        """Start a conversation and have its gate become root."""
        call = self.call()
        text = call.request("root")
        call.write(text, self.sign(text))
        call.greeting = call.line()
        return call


class Call:
    """One conversation with the gate."""

    def __init__(self, signer: Signer, words: list[str]) -> None:
        """Start the gate and read its greeting."""
        self.signer = signer
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"SSH_ORIGINAL_COMMAND": "id", "PATH": os.environ["PATH"]},
        )  # fmt: skip
        self.greeting: dict[str, Any] = self.line()

    def line(self, wait: float = 30) -> dict[str, Any]:
        """Return the next document; {} when there is none."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], wait)[0]:
            raise TimeoutError("the gate says nothing")
        text = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def request(self, verb: str, args: Any = None, **changed: Any) -> str:
        """Return the text of a request for this conversation, with anything about it changed."""
        asked = {"nonce": self.greeting["nonce"], "server": SERVER, "verb": verb, "args": {} if args is None else args}
        return json.dumps({**asked, **changed})

    def ask(self, verb: str, args: Any = None, **changed: Any) -> dict[str, Any]:
        """Sign and send one request; return the answer."""
        text = self.request(verb, args, **changed)
        return self.send(text, self.signer.sign(text))

    def send(self, text: str, signature: str) -> dict[str, Any]:
        """Send a request with its signature; return the answer."""
        return self.raw(json.dumps({"request": text, "signature": signature}).encode() + b"\n")

    def write(self, text: str, signature: str) -> None:
        """Send a request with its signature and wait for nothing."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"request": text, "signature": signature}).encode() + b"\n")
        self.process.stdin.flush()

    def raw(self, data: bytes, *, close: bool = False) -> dict[str, Any]:
        """Send bytes as they are; return the answer, after which nothing more may come."""
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()
            if close:
                self.process.stdin.close()
        answer = self.line()
        assert self.process.stdout.read() == b""
        assert self.process.stderr.read() == b""
        self.end()
        return answer

    def end(self) -> None:
        """Let go of the process."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process.wait(30)
