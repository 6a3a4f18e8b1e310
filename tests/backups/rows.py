"""Rows for tests of pages: plans, backups and tests as they look after real runs, without running anything."""

import json
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.utils import timezone

from apps.backups.facts import RUNGS
from apps.backups.models import Backup, Plan, Restore, RestoreTest, Source, Store
from apps.people.models import Person

PASSWORD, ACCESS, SECRET = "pw-Canary-7f3a", "ak-Canary-91bc", "sk-Canary-55de"
CANARIES = (PASSWORD, ACCESS, SECRET)
_number = count(1)


def source(**fields: Any) -> Source:
    """Return a PostgreSQL source with a sealed canary."""
    config = {"host": "db.example.com", "port": 5432, "database": "shop", "user": "backup"}
    made = Source(**{"name": f"Source {next(_number)}", "kind": "postgresql", "config": config, **fields})
    if made.kind == "postgresql":
        made.secret = json.dumps({"password": PASSWORD})
    made.save()
    return made


def store(**fields: Any) -> Store:
    """Return an S3 store with sealed canaries."""
    config = {"endpoint": "https://s3.example.com", "region": "north", "bucket": "safe", "prefix": ""}
    made = Store(**{"name": f"Store {next(_number)}", "kind": "s3", "config": config, **fields})
    made.secret = json.dumps({"access_key": ACCESS, "secret_key": SECRET})
    made.save()
    return made


def plan(owner: Person | None = None, **fields: Any) -> Plan:
    """Return a plan that runs daily at 02:05 UTC."""
    made = Plan(
        **{
            "name": f"Plan {next(_number)}",
            "source": fields.pop("source", None) or source(),
            "store": fields.pop("store", None) or store(),
            "owner": owner,
            "schedule": {"kind": "days", "time": "02:05", "weekdays": list(range(7))},
            "next_due_at": timezone.now() + timedelta(hours=3),
            **fields,
        }
    )
    made.save()
    return made


def manifest(at: datetime, members: int = 3) -> dict[str, Any]:
    """Return a manifest as a dump leaves it."""
    return {
        "engine": "postgresql",
        "version": "16.4",
        "taken_at": at.isoformat(),
        "source_bytes": 9_000_000,
        "members": [[f"public.t{n}", n * 10, "d" * 64] for n in range(members)],
        "facts": {"roles": ["app"], "sequences": {f"s{n}": n for n in range(9)}},
        "tools": {"pg_dump": "18.6"},
    }


def backup(plan: Plan, at: datetime | None = None, **fields: Any) -> Backup:
    """Return a backup that was finished."""
    at = at or timezone.now() - timedelta(minutes=next(_number))
    made = Backup(
        **{
            "plan": plan,
            "slot": at,
            "created_at": at,
            "state": "done",
            "attempt": 1,
            "started_at": at,
            "finished_at": at + timedelta(seconds=90),
            "store": plan.store,
            "object_key": f"shop/{at:%Y%m%dT%H%M%S}.pgdump.zst.age",
            "size": 4_000_000,
            "sha256": "a" * 64,
            "recipients": ["age1canbeshown"],
            "manifest": manifest(at),
            "taken_at": at,
            "source_bytes": 9_000_000,
            "timings": {"dump": 80.0},
            **fields,
        }
    )
    made.save()
    return made


def rungs(held: int = 7, said: str = "It did not fit.") -> list[dict[str, Any]]:
    """Return a ladder climbed so far; below seven the next rung failed."""
    found = [
        {"name": name, "ok": True, "said": f"{name} held.", "seconds": 1.0, "figures": {"bytes": 9}, "log": []}
        for name in RUNGS[:held]
    ]
    if held < 7:
        log = ["pg_restore: error: no space left"]
        found.append({"name": RUNGS[held], "ok": False, "said": said, "seconds": 2.0, "figures": {}, "log": log})
    return found


def proof(backup: Backup, at: datetime | None = None, held: int = 7, **fields: Any) -> RestoreTest:
    """Return a restore test that came to a verdict."""
    at = at or backup.slot + timedelta(minutes=5)
    made = RestoreTest(
        **{
            "plan": backup.plan,
            "backup": backup,
            "created_at": at,
            "state": "done",
            "started_at": at,
            "finished_at": at + timedelta(seconds=40),
            "verdict": "proven" if held == 7 else "failed",
            "rungs": rungs(held),
            "compared": [["public.t1", 10, 10, True], ["public.t2", 20, 20 if held == 7 else 19, held == 7]],
            "compared_total": 2,
            "tools": {"pg_restore": "18.6"},
            "restore_seconds": 33.0 if held == 7 else None,
            "data_age_seconds": 300.0,
            **fields,
        }
    )
    made.save()
    return made


def restore(backup: Backup, **fields: Any) -> Restore:
    """Return a restore with a sealed canary."""
    made = Restore(
        **{
            "backup": backup,
            "state": "done",
            "config": {"host": "new.example.com", "port": 5432, "database": "empty", "user": "app"},
            **fields,
        }
    )
    made.secret = json.dumps({"password": PASSWORD})
    made.save()
    return made
