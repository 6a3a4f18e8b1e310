"""A real server that this Mainstay manages: added, installed, pinned; with people of the team who have real keys."""

from datetime import datetime
from pathlib import Path

from django.utils import timezone

from apps.access import services
from apps.access.models import AccessState, Drift, KeyPush, PublicKey
from apps.core.runs import State
from apps.people.models import Person
from apps.servers.gate import script
from apps.servers.gate.wire import new_pair
from apps.servers.models import HostKey
from apps.servers.models import Server as Row
from tests.access.ssh_keys import made
from tests.fleet.server import Answer, Server


class Site:
    """One server of the fleet as a row, with the gate on it."""

    def __init__(self, server: Server, keys: Path) -> None:
        """Add it, run its script on it, pin its host keys."""
        self.server, self.keys = server, keys
        keys.mkdir(parents=True, exist_ok=True)
        private, public = new_pair()
        self.row: Row = Row.objects.create(
            name=server.name, address=server.address, port=server.port, level="manage", gate_level="manage",
            private_key=private, public_key=public, reached_at=timezone.now(),
        )  # fmt: skip
        gateway = server.address.rsplit(".", 1)[0] + ".1"
        text = script.make(server=str(self.row.pk), public_key=public, level="manage", seen_from=[gateway]).text
        server.inside("sh", input=text)
        for number, line in enumerate(server.host_keys):
            kind, blob = line.split()
            HostKey.objects.create(
                server=self.row, type=kind, blob=blob, fingerprint=f"SHA256:{number}{self.row.pk}", state="pinned"
            )

    @property
    def state(self) -> AccessState:
        """Return what is known of its access."""
        found: AccessState = AccessState.objects.select_related("server").get(server=self.row)
        return found

    def add_key(self, person: Person, name: str) -> PublicKey:
        """Let a person make a key pair called `name` and paste the public half."""
        public, private = made("ed25519", 0, name)
        path = self.keys / name
        path.write_text(private)
        path.chmod(0o600)
        kept = services.add_keys(actor=person, text=public, now=timezone.now())[0].kept
        assert kept
        return kept

    def carry(self, now: datetime | None = None) -> KeyPush | None:
        """Do what the clock and a worker do until nothing waits; return the last push."""
        services.look(now or timezone.now())
        last = None
        for run in KeyPush.objects.filter(state=State.WAITING, server=self.row):
            services.push(run_id=str(run.pk))
            last = KeyPush.objects.get(pk=run.pk)
        return last

    def done(self, now: datetime | None = None) -> KeyPush:
        """Carry what is wanted to the server; it must come about."""
        last = self.carry(now)
        assert last is not None
        assert last.state == State.DONE, last.error
        return last

    def login(self, user: str, key: str, command: str = "true") -> Answer:
        """Sign in for real."""
        return self.server.login(user, self.keys / key, command)

    def opens(self, user: str, key: str) -> bool:
        """Return whether a sign-in works."""
        return self.login(user, key).code == 0

    def found(self, kind: str) -> Drift:
        """Return the one open finding of a kind."""
        one: Drift = Drift.objects.open().get(server=self.row, kind=kind)
        return one
