"""The gate in a tree of its own, and a panel that signs what a test wants it to sign."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "apps/servers/gate/gate.py"
SERVER = "0198b2f4-0000-7000-8000-000000000001"


class Tree:
    """One server's files below a folder, with the gate, its level and the only key it obeys."""

    def __init__(self, root: Path, level: str = "observe") -> None:
        """Make the files that the install script would make."""
        self.root = root
        for folder in ("etc/mainstay", "etc/ssh/mainstay/keys", "var/log/mainstay", "run", "keys"):
            (root / folder).mkdir(parents=True)
        self.log = root / "var/log/mainstay/gate.log"
        self.log.touch()
        self.key = self.new_key("panel")
        public = self.key.with_suffix(".pub").read_text().split()
        signers = f'mainstay namespaces="mainstay-gate" {public[0]} {public[1]}\n'
        (root / "etc/mainstay/signers").write_text(signers)
        self.gate = root / "gate"
        self.gate.write_text(SOURCE.read_text().replace('ROOT = ""', f"ROOT = {str(root)!r}"))
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write the server's own description."""
        config = {"server": SERVER, "level": level, "panel": "https://mainstay.example.com"}
        (self.root / "etc/mainstay/server.json").write_text(json.dumps(config))

    def new_key(self, name: str) -> Path:
        """Make an Ed25519 key pair."""
        path = self.root / "keys" / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def sign(self, text: str, key: Path | None = None, namespace: str = "mainstay-gate") -> str:
        """Return the armored signature of a text."""
        words = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key or self.key), "-n", namespace]
        done = subprocess.run(words, input=text.encode("utf-8", "surrogatepass"), capture_output=True, check=True)
        return done.stdout.decode()

    def call(self, *words: str) -> "Call":
        """Start a conversation."""
        return Call(self, words)


class Call:
    """One conversation with the gate."""

    def __init__(self, tree: Tree, words: tuple[str, ...] = ()) -> None:
        """Start the gate and read its greeting."""
        self.tree = tree
        self.process = subprocess.Popen(
            [os.environ.get("GATE_PYTHON", sys.executable), "-IS", tree.gate, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"SSH_ORIGINAL_COMMAND": "id"},
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
        return self.send(text, self.tree.sign(text))

    def send(self, text: str, signature: str) -> dict[str, Any]:
        """Send a request with its signature; return the answer."""
        return self.raw(json.dumps({"request": text, "signature": signature}).encode() + b"\n")

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
