"""Real rows to try the work row on, and other processes that work on the same database."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import connection

from apps.backups.models import Backup, Plan, Restore, Source, Store

START = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
from django.conf import settings
settings.DATABASES["default"]["NAME"] = os.environ["TRIED_DATABASE"]
import django
django.setup()
"""


def plan(now: datetime) -> Plan:
    """Return a plan of a source and a store that nobody opens."""
    source = Source.objects.create(name="shop", kind="sqlite", config={"path": "/srv/shop.sqlite3"})
    store = Store.objects.create(name="folder", kind="local", config={"path": "/srv/backups"})
    made: Plan = Plan.objects.create(name="shop", source=source, store=store, schedule={}, next_due_at=now)
    return made


def backup(now: datetime, of: Plan | None = None) -> Backup:
    """Return a backup that is due."""
    made: Backup = Backup.objects.create(plan=of or plan(now), slot=now, due_at=now)
    return made


def restores(count: int, now: datetime) -> list[Restore]:
    """Return so many runs that are due and independent of each other."""
    of = backup(now)
    return list(Restore.objects.bulk_create([Restore(backup=of, due_at=now) for _ in range(count)]))


def process(script: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start Python on the test's own database and data folder; it hears us on standard input."""
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(settings.BASE_DIR),
        env={
            **os.environ,
            "MAINSTAY_DATA": str(settings.MAINSTAY_DATA),
            "MAINSTAY_KEYS": str(settings.MAINSTAY_KEYS),
            "TRIED_DATABASE": str(connection.settings_dict["NAME"]),
        },
    )
