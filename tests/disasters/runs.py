"""Disasters of time and work: nothing runs, the tester died, the clock jumped, a worker was killed, a full disk."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from django.test import Client

from apps.backups import services as backups
from apps.backups.models import Backup, Leftover, Plan, RestoreTest
from apps.backups.services.prune import held
from apps.backups.stores import local
from apps.core.models import Pulse
from apps.core.pulse import beat
from tests.backups.factories import World, changed
from tests.disasters.registry import case
from tests.disasters.scene import Scene, daily_proof, newer
from tests.people.fixtures import client_of

ROOT = Path(__file__).resolve().parents[2]
DAY = timedelta(days=1)


def nights(made: World, count: int) -> None:
    """Let so many nights pass as they should: slots taken, backups and tests done, the store looked at."""
    for _ in range(count):
        made.clock.at = made.due
        backups.take_slots(made.now)
        for run in Backup.objects.active().filter(plan=made.plan):
            backups.perform(run.pk, clock=made.clock)
        for test in RestoreTest.objects.active().filter(plan=made.plan):
            backups.prove(test.pk, clock=made.clock)
        made.clock.on(minutes=5)


@case("D06", "nobody said how much may be lost, and it is more", mechanism="goal: age of the newest proven point",
      cause="of data would be gone.*goal", step="back up and prove more often")  # fmt: skip
def loss_beyond_the_goal(scene: Scene) -> list[str]:
    made = scene.world(spec=changed(goal_loss=timedelta(hours=30), prove_every=DAY))
    made.proven()
    if scene.broken:
        made.clock.on(hours=40)
    else:
        nights(made, 2)
    return scene.told(made)


@case("D09", "a restore takes longer than the goal", mechanism="goal: measured restore time",
      cause="restore took", step="faster store|smaller source")  # fmt: skip
def slow_restore(scene: Scene) -> list[str]:
    goal = timedelta(microseconds=1) if scene.broken else timedelta(hours=1)
    made = scene.world(spec=changed(goal_back=goal))
    made.proven()
    return scene.told(made)


@case(
    "D29-schedule", "the schedule lost the plan", mechanism="deadline of the plan", cause="late by", step="back up now"
)
def schedule_row_removed(scene: Scene) -> list[str]:
    made = scene.world(spec=daily_proof)
    made.proven()
    if scene.broken:
        Plan.objects.filter(pk=made.plan.pk).update(next_due_at=None)
        made.clock.on(hours=scene.random.randrange(40, 90))
    else:
        nights(made, 2)
    return scene.told(made)


@case("D29-worker", "the scheduler runs and no worker does", mechanism="deadline of the plan",
      cause="late by.*a run waits since", step="check that a worker runs")  # fmt: skip
def worker_stopped(scene: Scene) -> list[str]:
    made = scene.world(spec=changed(prove_every=7 * DAY))  # whatever the hour, the proof is no matter here
    made.proven()
    if scene.broken:
        made.clock.at = made.due
        backups.take_slots(made.now)
    else:
        nights(made, 1)
    made.clock.on(hours=scene.random.randrange(7, 20))
    return scene.told(made)


@case(
    "D29-never",
    "a plan that never ran",
    mechanism="deadline of the plan",
    cause="no backup was ever finished",
    step="worker",
)
def never_ran(scene: Scene) -> list[str]:
    made = scene.world()
    if scene.broken:
        made.clock.on(days=3)
    else:
        nights(made, 3)
    return scene.told(made)


@case("D12-tests", "restore tests are not done any more", mechanism="age of the proof",
      cause="last proof is of .* older than its policy", step="test a restore now")  # fmt: skip
def tester_died(scene: Scene) -> list[str]:
    made = scene.world(spec=daily_proof)
    made.proven()
    for _ in range(4):
        made.clock.at = made.due
        backups.take_slots(made.now)
        for run in Backup.objects.active().filter(plan=made.plan):
            backups.perform(run.pk, clock=made.clock)
        for test in RestoreTest.objects.active().filter(plan=made.plan):
            if not scene.broken:
                backups.prove(test.pk, clock=made.clock)
    return scene.told(made)


@case("D12-tick", "the watcher itself died", mechanism="heartbeat on every page, and /healthz for a watchdog outside",
      cause="healthz answers 503.*nothing has been looked at", step="look at the log")  # fmt: skip
def watcher_died(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    beat(made.now)
    if scene.broken:
        Pulse.objects.update(at=made.now - timedelta(minutes=10))
    health = Client().get("/healthz").status_code
    page = client_of(made.owner).get("/").content.decode()
    warned = re.search(r'id="stale".*?</div></div>', page, re.DOTALL)
    if health != 200 or warned:
        scene.say(f"/healthz answers {health}. {re.sub('<.*?>', ' ', warned.group(0)) if warned else ''}")
    return scene.told(made)


@case("D04", "pruning goes on while new backups fail", mechanism="pruning is held while anything is wrong",
      cause="failed: there is no file", step="earlier backups were not touched")  # fmt: skip
def forty_failing_days(scene: Scene) -> list[str]:
    made = scene.world(spec=changed(keep_daily=3, keep_weekly=0, keep_monthly=0), rows=20)
    made.clock.on(days=10)
    newest = made.proven()
    for ago in range(1, 10):
        made.copy(newest, days=ago)
    if not scene.broken:
        backups.prune(plan=made.plan, now=made.now)
        assert made.plan.backups.good().count() == 3
        return scene.told(made)
    made.file.rename(scene.folder / "aside")
    for _ in range(40):
        newer(made, hours=24)
        backups.prune(plan=made.reload(), now=made.now)
    left = len(made.objects())
    return scene.told(made) if left == 10 else [f"{left} of 10 backups are left."]


@case("D25", "retention with a clock that ran ahead", mechanism="pruning is held while a backup is late",
      cause="late; nothing is pruned", step="until one ends well")  # fmt: skip
def prune_with_a_skewed_clock(scene: Scene) -> list[str]:
    made = scene.world(spec=changed(keep_daily=3, keep_weekly=0, keep_monthly=0), rows=20)
    made.clock.on(days=10)
    newest = made.proven()
    for ago in range(1, 6):
        made.copy(newest, days=ago)
    at = made.now + timedelta(days=scene.random.randrange(30, 900)) if scene.broken else made.now
    backups.prune(plan=made.plan, now=at)
    scene.say(held(made.plan, at))
    left = len(made.objects())
    assert left == (6 if scene.broken else 3), left
    return scene.told(made)


@case("D49-goal", "a daily plan for a goal of twelve hours", mechanism="goal against what the schedule can do",
      cause="of data would be gone", step="more often, or change the goal")  # fmt: skip
def schedule_too_rare(scene: Scene) -> list[str]:
    goal = timedelta(hours=12 if scene.broken else 30)
    made = scene.world(spec=changed(goal_loss=goal, prove_every=DAY))
    made.proven()
    nights(made, 2)
    made.clock.at = made.due - timedelta(hours=1)
    return scene.told(made)


@case("D49-clock", "the clock ran a year ahead for an hour", mechanism="moments from the future excuse nothing",
      cause="late by|older than its policy", step="back up now|test a restore now|a worker runs")  # fmt: skip
def clock_jumped(scene: Scene) -> list[str]:
    made = scene.world(spec=daily_proof)
    made.proven()
    if scene.broken:
        then = made.now
        made.clock.on(days=365)
        made.proven()
        made.clock.at = then + timedelta(days=3)
        Plan.objects.filter(pk=made.plan.pk).update(next_due_at=then + 365 * DAY)
    else:
        nights(made, 3)
    return scene.told(made)


@case("D49-missed", "everything was down over several slots", mechanism="slots are caught up once and counted",
      cause="late by", step="back up now")  # fmt: skip
def everything_was_down(scene: Scene) -> list[str]:
    made = scene.world(spec=daily_proof)
    made.proven()
    made.clock.at = made.due + timedelta(days=5)
    if not scene.broken:  # it comes back: one run catches up
        backups.take_slots(made.now)
        (run,) = Backup.objects.active().filter(plan=made.plan)
        assert run.missed == 5
        backups.perform(run.pk, clock=made.clock)
        for test in RestoreTest.objects.active().filter(plan=made.plan):
            backups.prove(test.pk, clock=made.clock)
    return scene.told(made)


@case("race", "a second run of one plan", mechanism="one run of a plan at a time, by constraint",
      cause="a backup of .* is on", step="watch it, or stop it")  # fmt: skip
def second_run(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    first = backups.back_up_now(actor=made.owner, plan=made.plan, now=made.clock.on(seconds=5))
    if not scene.broken:
        backups.perform(first.pk, clock=made.clock)
    second = scene.refused(lambda: backups.back_up_now(actor=made.owner, plan=made.plan, now=made.clock.on(seconds=5)))
    for run in (first, second):
        if run is not None:
            backups.perform(run.pk, clock=made.clock)
    return scene.told(made)


@case("disk-full", "the disk of the store fills up in the middle of a run", mechanism="every write is checked",
      cause="disk of .* is full", step="free space|another store")  # fmt: skip
def disk_full(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    if scene.broken:
        scene.patched(local, "SPARE", 1 << 60)
    run = newer(made)
    while run.state == "waiting":
        made.clock.at = run.due_at
        backups.perform(run.pk, clock=made.clock)
        run.refresh_from_db()
    return scene.told(made)


@case("D45-leftover", "something of a run cannot be removed", mechanism="ledger with deadlines",
      cause="should have been removed by now", step="remove it by hand")  # fmt: skip
def leftover(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    row = Leftover.objects.create(
        run_id=made.plan.pk, kind="folder", where="/nowhere/at/all", created_at=made.now, deadline=made.now
    )
    if not scene.broken:
        Leftover.objects.filter(pk=row.pk).update(removed_at=made.now)
    backups.watch(made.clock.on(hours=3))
    return scene.told(made)


@case("D45-killed", "the worker is killed each time (kill -9)", mechanism="lease, ledger and sweep",
      cause="worker stopped in the middle", step="find what ends it")  # fmt: skip
def killed_worker(scene: Scene) -> list[str]:
    data = scene.folder / "data"
    _worker(data, "prepare").communicate()
    child = _worker(
        data, "begin", "backup", scene.random.choice(["copying", "catalogue"]), "2" if scene.broken else "0"
    )
    assert child.stdout is not None
    child.stdout.readline()
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    handles = [os.pidfd_open(int(pid)) for pid in children]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a process of the killed worker lives on"
        os.close(handle)
    left = json.loads(_worker(data, "finish").communicate()[0])
    shutil.rmtree(data)
    dirty = [f"Left behind: {left[kind]}" for kind in ("strays", "ledger", "scratch") if left[kind]]
    failed = [left["backup"][2]] if left["backup"][0] == "failed" and "backups.failed" in left["incidents"] else []
    return dirty + failed


def _worker(data: Path, *words: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "MAINSTAY_"))}
    command = [sys.executable, "-m", "tests.backups.worker", str(data), *words]
    data.mkdir(exist_ok=True)
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean)


@case("paused", "a plan was paused and forgotten", mechanism="paused for more than a week is said",
      cause="paused since", step="resume it")  # fmt: skip
def paused_and_forgotten(scene: Scene) -> list[str]:
    made = scene.world(spec=lambda spec: replace(spec, prove_every=timedelta(days=60)))
    made.proven()
    backups.pause(actor=made.owner, plan=made.plan, now=made.now)
    made.clock.on(days=9 if scene.broken else 2)
    return scene.told(made)
