"""People with keys of their own on a real server at the level manage, and its panel."""

from pathlib import Path
from typing import Any

from tests.access.model import wanted
from tests.access.ssh_keys import made
from tests.fleet.server import Answer, Server
from tests.servers.gate import Installed


class People(Installed):
    """A server at the level manage, its panel, and people with keys of their own."""

    def __init__(self, server: Server, keys: Path) -> None:
        """Run the install script."""
        super().__init__(server, keys)
        self.install("manage")

    def private(self, whose: str) -> Path:
        """Return the file of somebody's private key."""
        file = self.keys / f"person-{whose}"
        if not file.exists():
            file.write_text(made("ed25519", 0, whose)[1])
            file.chmod(0o600)
        return file

    def login(self, user: str, whose: str = "", command: str = "true", *options: str) -> Answer:
        """Log in as a user with somebody's key, as a rule with the user's own; `options` are those of ssh."""
        return self.server.login(user, self.private(whose or user), command, *options)

    def opens(self, user: str, whose: str = "") -> bool:
        """Return whether a login works."""
        return self.login(user, whose).code == 0

    def ask(self, verb: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Ask the root half of the gate."""
        call = self.root()
        return call.ask(verb, args, state=call.greeting["state"], **more)

    def access(self, *accounts: dict[str, Any], commit: bool = True, **more: Any) -> dict[str, Any]:
        """Make a wanted state true and prove it."""
        said = self.ask("access", wanted(*accounts, **more))
        assert said["ok"], said
        answer: dict[str, Any] = said["answer"]
        if commit and answer["pending"]:
            assert self.ask("commit", {"change": answer["change"]})["ok"]
        return answer
