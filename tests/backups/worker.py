"""A worker process of its own for the tests that kill it: `python -m tests.backups.worker DATA begin …|finish`.

`begin` makes a small world, performs (KIND backup), proves (KIND test) or restores (KIND restore), and at a stage
says so and waits to be killed. `finish` does what the next tick and worker do once the lease is over, and says what is
left.
"""

import json
import os
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from django.utils import timezone


def _django(data: Path) -> None:
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings", MAINSTAY_DATA=str(data), MAINSTAY_KEYS=str(data / "keys")
    )
    for name in ("DATABASE_URL", "DATABASE_URL_FILE"):
        os.environ.pop(name, None)
    import django  # noqa: PLC0415 the settings read the environment above

    django.setup()
    runs = import_module("apps.core.runs")
    runs._send = lambda *_: True  # type: ignore[attr-defined]  # no broker here: the rows are what is tested


def world_of(data: Path) -> Path:
    """Return where source and store of the small world are: beside the data folder, in which no store may be."""
    return data.with_name(f"{data.name}-world")


def _wait_to_be_killed(stage: str) -> None:
    print(json.dumps({"at": stage}), flush=True)  # noqa: T201 the parent reads it
    sys.stdin.read()


def prepare() -> None:
    """Make keys and tables."""
    from django.core.management import call_command  # noqa: PLC0415

    from apps.core.keys import KeyRing, new_key, ring_path, save_ring  # noqa: PLC0415

    save_ring(KeyRing((new_key(),)), ring_path())
    call_command("migrate", verbosity=0, skip_checks=True)


def begin(data: Path, kind: str, wanted: str, spent: int) -> None:
    """Do the work of one kind and wait at a stage; `spent` attempts were used before."""
    from apps.backups import services as backups  # noqa: PLC0415
    from apps.backups.engines.base import Target  # noqa: PLC0415
    from apps.backups.ledger import RunWork  # noqa: PLC0415
    from apps.backups.models import Backup, RestoreTest  # noqa: PLC0415
    from tests.backups.factories import world  # noqa: PLC0415

    made = world(world_of(data), rows=3000, at=timezone.now())  # files have the real time
    if kind == "backup":
        asked: Any = backups.back_up_now(actor=made.owner, plan=made.plan, now=made.now)
        Backup.objects.update(attempt=spent)
    else:
        backup = made.back_up()
        assert backup.state == "done", backup.error
        asked = RestoreTest.objects.get()
        if kind == "restore":
            target = Target("sqlite", {"path": str(world_of(data) / "new.sqlite3")}, {})
            asked = backups.ask_restore(actor=made.owner, backup=backup, target=target, now=made.now)
    real = RunWork.progress

    def progress(self: RunWork, stage: str, done: int | None = None, total: int | None = None) -> None:
        real(self, stage, done, total)
        if stage == wanted:
            _wait_to_be_killed(stage)

    RunWork.progress = progress  # type: ignore[method-assign]
    perform = import_module("apps.backups.services.perform")
    if wanted == "catalogue":
        perform._catalogue = lambda *_: _wait_to_be_killed(wanted)  # type: ignore[attr-defined]
    {"backup": backups.perform, "test": backups.prove, "restore": backups.restore}[kind](asked.pk, clock=made.clock)
    print(json.dumps({"at": "the end"}), flush=True)  # noqa: T201


def tick() -> None:
    """Say that it is ready, wait for the word, and do what every tick does first."""
    from apps.backups import services as backups  # noqa: PLC0415
    from apps.backups.models import Backup, Plan  # noqa: PLC0415

    now = timezone.now()
    print(json.dumps({"at": "ready"}), flush=True)  # noqa: T201
    sys.stdin.readline()
    for _ in range(5):
        backups.protect_self(now)
        backups.take_slots(now)
        backups.take_slots(now + timedelta(days=40))
        backups.ask_inspections(now)
    found = {"plans": Plan.objects.count(), "backups": Backup.objects.count(), "missed": Backup.objects.get().missed}
    print(json.dumps(found), flush=True)  # noqa: T201


def finish(data: Path) -> None:
    """Do what comes after the lease: sweep, take over, judge; print what is left."""
    from apps.alerts.models import Incident  # noqa: PLC0415
    from apps.backups import services as backups  # noqa: PLC0415
    from apps.backups.ledger import scratch_folder  # noqa: PLC0415
    from apps.backups.models import Backup, Leftover, Plan, Restore, RestoreTest  # noqa: PLC0415
    from tests.backups.factories import Clock  # noqa: PLC0415

    clock = Clock(timezone.now() + timedelta(minutes=5))
    backups.sweep(clock())
    verbs = ((Backup, backups.perform), (RestoreTest, backups.prove), (Restore, backups.restore))
    for kind, verb in verbs:
        for run in kind.objects.due(clock()):
            verb(run.pk, clock=clock)
    backups.sweep(clock.on(minutes=5))
    Plan.objects.update(judge_at=clock())
    backups.watch(clock())
    store = world_of(data) / "store"
    promised = {str(store / key) for key in Backup.objects.good().values_list("object_key", flat=True)}
    there = {str(path) for path in store.rglob("*") if path.is_file()}
    scratch = scratch_folder()
    test = RestoreTest.objects.first()
    restore = Restore.objects.first()
    left = {
        "backup": [Backup.objects.get().state, Backup.objects.get().attempt, Backup.objects.get().error],
        "test": [test.state, test.verdict] if test else None,
        "restore": [restore.state, restore.error] if restore else None,
        "strays": sorted(there - promised),
        "missing": sorted(promised - there),
        "ledger": [str(row) for row in Leftover.objects.filter(removed_at=None)],
        "scratch": sorted(str(path) for path in scratch.rglob("*")) if scratch.exists() else [],
        "incidents": sorted(Incident.objects.filter(closed_at=None).values_list("code", flat=True)),
        "new": (world_of(data) / "new.sqlite3").exists(),
    }
    print(json.dumps(left), flush=True)  # noqa: T201


def main() -> None:
    """Read the arguments and do it."""
    data, what, *rest = sys.argv[1:]
    _django(Path(data))
    if what == "prepare":
        prepare()
    elif what == "tick":
        tick()
    elif what == "begin":
        begin(Path(data), rest[0], rest[1], int(rest[2]))
    else:
        finish(Path(data))


if __name__ == "__main__":
    main()
