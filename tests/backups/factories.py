"""A small world for tests of backups: a real SQLite file, a real folder as store, an owner, a plan, and a clock."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.models import Backup, Inspection, Plan, Restore, RestoreTest, Source, Store
from apps.backups.schedule import Schedule
from apps.backups.services import PlanSpec
from apps.backups.services.perform import key_of
from apps.core.ids import uuid7
from apps.people.models import Person, Role
from tests.backups.own_key import have_identity

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
DAILY = Schedule.days(time(2, 5))
APART = ({"provider": "here", "site": "office"}, {"provider": "elsewhere", "account": "1", "region": "north"})


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        """Return the moment."""
        return self.at

    def on(self, **of: float) -> datetime:
        """Move on and return the new moment."""
        self.at += timedelta(**of)
        return self.at


def person(name: str = "Ana", role: str = Role.OWNER) -> Person:
    """Return a person who may sign in."""
    found: Person = Person.objects.create(email=f"{name.lower()}@example.com", name=name, role=role)
    return found


def sqlite_file(path: Path, *, rows: int = 500, tables: int = 2) -> Path:
    """Write a SQLite database with so many rows in each of so many tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as database:
        for number in range(tables):
            database.execute(f"CREATE TABLE things_{number} (id INTEGER PRIMARY KEY, name TEXT, at REAL)")
            database.executemany(
                f"INSERT INTO things_{number} VALUES (?, ?, ?)", ((n, f"thing {n * 7919}", n / 3) for n in range(rows))
            )
    database.close()
    return path


def execute(path: Path, *statements: str) -> None:
    """Run statements on a SQLite file."""
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


@dataclass
class World:
    """One plan with all that it needs, and the few moves that tests make."""

    folder: Path
    clock: Clock
    owner: Person
    source: Source
    store: Store
    plan: Plan
    file: Path
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """Return the clock's moment."""
        return self.clock.at

    @property
    def due(self) -> datetime:
        """Return the moment at which the plan is due next."""
        due = self.reload().next_due_at
        assert due is not None
        return due

    def newest(self) -> Backup:
        """Return the newest good backup."""
        found: Backup = self.plan.backups.good()[0]
        return found

    def reload(self) -> Plan:
        """Return the plan as the database has it."""
        self.plan = Plan.everything.select_related("source", "store", "owner").get(pk=self.plan.pk)
        return self.plan

    def back_up(self) -> Backup:
        """Ask for a backup and take it."""
        asked = backups.back_up_now(actor=self.owner, plan=self.plan, now=self.clock.on(seconds=1))
        backups.perform(asked.pk, clock=self.clock)
        self.reload()
        done: Backup = Backup.objects.get(pk=asked.pk)
        return done

    def prove(self, backup: Backup | None = None) -> RestoreTest:
        """Do the restore test that is waiting, or ask for one of a backup."""
        waiting = RestoreTest.objects.active().filter(plan=self.plan).first()
        if waiting is None or (backup is not None and waiting.backup_id != backup.pk):
            assert backup is not None, "no restore test is waiting"
            waiting = backups.test_now(actor=self.owner, backup=backup, now=self.clock.on(seconds=1))
        self.clock.at = max(self.clock.at, waiting.due_at)
        backups.prove(waiting.pk, clock=self.clock)
        self.reload()
        done: RestoreTest = RestoreTest.objects.get(pk=waiting.pk)
        return done

    def proven(self) -> Backup:
        """Take a backup and prove it."""
        backup = self.back_up()
        assert backup.state == "done", backup.error
        test = self.prove(backup)
        assert test.verdict == "proven", test.said
        backup.refresh_from_db()
        return backup

    def copy(self, backup: Backup, *, days: int) -> Backup:
        """Put a copy of a backup, so many days older and not proven, into store and catalogue."""
        root, at = Path(self.store.config["path"]), timedelta(days=days)
        older: Backup = Backup.objects.get(pk=backup.pk)
        older.pk, older.slot, older.proven_at = uuid7(), backup.slot - at, None
        assert older.taken_at is not None
        older.taken_at -= at
        older.object_key = key_of(older, ".sqlite3")
        shutil.copy(root / backup.object_key, root / older.object_key)
        older.save(force_insert=True)
        return older

    def restore(self, backup: Backup, path: Path) -> Restore:
        """Ask for a restore into a path and do it."""
        assert backup.manifest is not None
        target = Target(backup.manifest["engine"], {"path": str(path)}, {})
        asked = backups.ask_restore(actor=self.owner, backup=backup, target=target, now=self.clock.on(seconds=1))
        backups.restore(asked.pk, clock=self.clock)
        done: Restore = Restore.objects.get(pk=asked.pk)
        return done

    def inspect(self) -> Inspection:
        """Look at the store."""
        self.clock.on(minutes=61)
        backups.ask_inspections(self.now)
        found: Inspection = Inspection.objects.get(store=self.store)
        backups.inspect(found.pk, clock=self.clock)
        self.reload()
        self.store.refresh_from_db()
        found.refresh_from_db()
        return found

    def judge(self) -> list[str]:
        """Judge the plan and return the codes of what is wrong."""
        backups.judge_plan(self.reload(), now=self.now)
        return [one["code"] for one in self.reload().troubles]

    def objects(self) -> list[Path]:
        """Return every file in the store."""
        root = Path(self.store.config["path"])
        return sorted(path for path in root.rglob("*") if path.is_file()) if root.exists() else []


def world(
    tmp_path: Path,
    *,
    kind: str = "sqlite",
    spec: Callable[[PlanSpec], PlanSpec] = lambda spec: spec,
    rows: int = 500,
    at: datetime = NOW,
) -> World:
    """Make a plan of a SQLite file (or a folder) that is kept apart from it, daily at 02:05 UTC."""
    have_identity()
    clock, owner = Clock(at), person()
    file = tmp_path / "source" / "shop.sqlite3"
    sqlite_file(file, rows=rows)
    (tmp_path / "store").mkdir(mode=0o700)
    config = {"path": str(file if kind == "sqlite" else file.parent)}
    source = backups.add_source(
        actor=owner, name="Shop", kind=kind, config=config, secret={}, domain=APART[0], now=clock.at
    )
    store = backups.add_store(
        actor=owner,
        name="Safe",
        kind="local",
        config={"path": str(tmp_path / "store")},
        secret={},
        domain=APART[1],
        now=clock.at,
    )
    first = PlanSpec(name="Shop", source=source, store=store, owner=owner, schedule=DAILY)
    plan = backups.plan(actor=owner, spec=spec(first), now=clock.at)
    return World(tmp_path, clock, owner, source, store, plan, file)


def changed(**fields: Any) -> Callable[[PlanSpec], PlanSpec]:
    """Return what `world` takes to make another plan."""
    return lambda spec: replace(spec, **fields)
