"""What the benches of backups run against: a PostgreSQL with a shop in it, an S3 store, and a plan between them."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

from config.bench.data import fill
from config.command.say import Refusal


@dataclass(frozen=True, slots=True)
class Rig:
    """The plan's id, and the bytes of the database as the server counts them."""

    plan: str
    size: int


@contextmanager
def rig(size_mb: int) -> Iterator[Rig]:
    """Start both servers, fill the database, and make the plan; all is gone afterwards."""
    from apps.backups.scratch.installs import installs
    from tests.servers.postgres import server
    from tests.servers.s3 import s3_server

    major = next((one.major for one in installs() if one.server), 0)
    if not major:
        raise Refusal("This bench needs a PostgreSQL server, and this machine has none: install postgresql.")
    with s3_server() as objects, server(major) as source:
        began = time.monotonic()
        target = source.make("shop")
        with source.connect("shop") as connection:
            size = fill(connection, size_mb)
            connection.execute("CHECKPOINT")
        note(f"PostgreSQL {major} with {size / 1e6:,.0f} MB of a shop, made in {time.monotonic() - began:.0f} s")
        yield Rig(_plan(dict(target.config), dict(target.secret), objects.place(objects.bucket())), size)


def _plan(config: dict[str, Any], secret: dict[str, str], place: Any) -> str:
    from apps.backups import services as backups
    from apps.backups.schedule import Schedule
    from apps.backups.services import PlanSpec
    from apps.core.identity import identity_path, make_identity
    from apps.people.models import Person, Role

    if not identity_path().exists():
        make_identity(identity_path())
    now = datetime.now(UTC)
    owner, _ = Person.objects.get_or_create(email="ana@example.com", defaults={"name": "Ana", "role": Role.OWNER})
    name = f"Shop {os.urandom(3).hex()}"
    source = backups.add_source(
        actor=owner, name=name, kind="postgresql", config=config, secret=secret, domain={"site": "here"}, now=now
    )
    store = backups.add_store(
        actor=owner, name=name, kind="s3", config=dict(place.config), secret=dict(place.secret),
        domain={"site": "elsewhere"}, now=now,
    )  # fmt: skip
    daily = Schedule.days(clock_time(2, 5))
    spec = PlanSpec(name=name, source=source, store=store, owner=owner, schedule=daily)
    return str(backups.plan(actor=owner, spec=spec, now=now).pk)


def store_of_plan(plan_id: str) -> Any:
    """Return the plan's store, with its client loaded as in a worker that has done a backup before."""
    from apps.backups.models import Plan
    from apps.backups.stores import store_of

    store = store_of(Plan.objects.get(pk=plan_id).store.place())
    store.stat("none")
    return store


def back_up(plan_id: str) -> Any:
    """Take a backup as a worker does and return its row. Raises Refusal with the reason when it fails."""
    from apps.backups import services as backups
    from apps.backups.models import Backup, Plan

    plan = Plan.objects.get(pk=plan_id)
    asked = backups.back_up_now(actor=plan.owner, plan=plan, now=datetime.now(UTC))
    backups.perform(asked.pk)
    done = Backup.objects.get(pk=asked.pk)
    if done.state != "done":
        raise Refusal(f"The bench's backup failed: {done.error}")
    return done


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the children that have ended (user and system)."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def peak_mb() -> float:
    """Return the most memory this process ever had resident, in MB of 10^6 bytes (Linux, VmHWM; shared pages count)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def note(text: str) -> None:
    """Tell whoever waits what is going on, beside the figures."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()
