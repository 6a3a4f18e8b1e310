"""Where a disaster is played: a folder, a seed, real servers shared by all, a plan, and what people hear."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from apps.alerts.models import Incident
from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.facts import Trouble
from apps.backups.models import Backup
from apps.backups.services import PlanSpec
from apps.backups.stores.base import Place
from tests.backups.factories import APART, DAILY, Clock, World, person, sqlite_file
from tests.backups.own_key import have_identity
from tests.servers.postgres import Server, server
from tests.servers.s3 import S3Server, s3_server


class Servers:
    """Real servers, started when a case first asks, one of each kind."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._ends = ExitStack()
        self._postgres: dict[tuple[int, str], Server] = {}
        self._s3: S3Server | None = None

    def postgres(self, major: int = 17, which: str = "", settings: str = "") -> Server:
        """Return the running PostgreSQL of a major version; another word, another server with its own settings."""
        key = (major, which)
        if key not in self._postgres:
            self._postgres[key] = self._ends.enter_context(server(major, settings=settings))
        return self._postgres[key]

    def s3(self) -> S3Server:
        """Return the running S3 server."""
        if self._s3 is None:
            self._s3 = self._ends.enter_context(s3_server())
        return self._s3

    def close(self) -> None:
        """Stop all."""
        self._ends.close()


@dataclass
class Scene:
    """One playing of one case: `broken` is the disaster, otherwise its healthy twin. Everything ends with the block."""

    folder: Path
    servers: Servers
    broken: bool
    seed: int = 0
    said: list[str] = field(default_factory=list)
    ends: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        """Draw from the seed; disaster and twin draw the same."""
        self.random = random.Random(self.seed)

    @property
    def word(self) -> str:
        """Return a name that no other scene has."""
        return f"d{random.SystemRandom().randrange(16**12):012x}"

    def patched(self, where: Any, name: str, value: Any) -> None:
        """Put something else in a place until the scene ends."""
        self.ends.enter_context(patch.object(where, name, value))

    def say(self, *sentences: str) -> None:
        """Keep what a person is told directly: a refusal, a warning of "Test connection", a sentence on a page."""
        self.said += [one for one in sentences if one]

    def refused(self, call: Callable[[], Any]) -> Any:
        """Call, and keep the refusal; returns what the call returns, None when refused."""
        try:
            return call()
        except (backups.Refused, Trouble) as refusal:
            self.say(str(refusal))
            return None

    def world(
        self,
        source: Target | None = None,
        store: Place | None = None,
        spec: Callable[[PlanSpec], PlanSpec] = lambda spec: spec,
        *,
        rows: int = 500,
        domains: tuple[dict[str, str], dict[str, str]] = APART,
    ) -> World:
        """Make a plan of a source (a SQLite file when none is given) into a store (a folder), with a proven key."""
        have_identity()
        clock, owner = Clock(datetime.now(UTC)), person(f"Ana {self.word}".replace(" ", "."))
        backups.prove_recovery_key(
            actor=owner, word=backups.recovery_key().groups[backups.asked_word(owner) - 1], now=clock.at
        )
        file = self.folder / "source" / "shop.sqlite3"
        if source is None:
            sqlite_file(file, rows=rows)
            source = Target("sqlite", {"path": str(file)}, {})
        if store is None:
            (self.folder / "store").mkdir(mode=0o700, exist_ok=True)
            store = Place("local", {"path": str(self.folder / "store")}, {})
        name = f"Shop {self.word}"
        its_source = backups.add_source(
            actor=owner, name=name, kind=source.kind, config=source.config, secret=source.secret, domain=domains[0],
            now=clock.at,
        )  # fmt: skip
        its_store = backups.add_store(
            actor=owner, name=name, kind=store.kind, config=store.config, secret=store.secret, domain=domains[1],
            now=clock.at,
        )  # fmt: skip
        first = PlanSpec(name=name, source=its_source, store=its_store, owner=owner, schedule=DAILY)
        plan = backups.plan(actor=owner, spec=spec(first), now=clock.at)
        return World(self.folder, clock, owner, its_source, its_store, plan, file)

    def told(self, made: World, *, verdict: bool = True) -> list[str]:
        """Judge the plan and return every sentence that reaches a person; a twin has to end proven, too."""
        made.judge()
        found = [*self.said]
        found += [f"{one['said']} {one['todo']}" for one in made.reload().troubles]
        live = Incident.objects.filter(closed_at=None, mended_at=None)
        found += [f"{one.said} {one.advice}" for one in live]
        if not self.broken and verdict and made.plan.verdict != "ok":
            found.append(f"The twin is not proven: {made.plan.verdict_said}")
        return found


@contextmanager
def scene(folder: Path, servers: Servers, *, broken: bool, seed: int = 0) -> Iterator[Scene]:
    """Open a scene and undo what was patched at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Scene(folder, servers, broken, seed)
    with made.ends:
        yield made


def daily_proof(spec: PlanSpec) -> PlanSpec:
    """Prove every day."""
    return replace(spec, prove_every=timedelta(days=1))


def reconfigure(made: World, **config: Any) -> None:
    """Change settings of the source behind the forms' back, as a moved server or a changed file would."""
    made.source.config = {**made.source.config, **config}
    made.source.save(update_fields=["config"])
    made.reload()


def newer(made: World, *, hours: float = 1) -> Backup:
    """Take a backup some time later."""
    made.clock.on(hours=hours)
    return made.back_up()


def resecret(row: Any, **secret: str) -> None:
    """Change the sealed part of a source or store, as a rotation elsewhere does to ours."""
    row.secret = json.dumps({**row.secrets, **secret})
    row.save(update_fields=["secret"])
