"""The first page and the list of plans with 1,000 plans and 100,000 runs, uncached, on SQLite and on PostgreSQL.

Signed in, through the whole middleware, in one process; the number of queries is held against that with two plans.
"""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from config.bench import apart
from config.bench.figure import Figure
from config.bench.rig import note

PAGES = {"first page": "/", "plan list": "/backups/", "plan list, searched": "/backups/?q=shop&verdict=bad"}
FEW, MANY = 2, 1000  # plans
LIMIT_MS = 100.0  # at the median
ASKED = 31  # requests of each page
BACKUPS, TESTS = 88, 12  # of each plan


def measure(*, plans: int = MANY, runs: int = ASKED) -> Iterator[Figure]:
    """Measure on both databases; `runs` requests of each page."""
    from config.command.postgres import server

    yield from apart.figures("config.bench.pages:ask", of="SQLite", plans=plans, runs=runs)
    with server() as running:
        of = f"PostgreSQL {running.version}"
        yield from apart.figures("config.bench.pages:ask", database=running.url, of=of, plans=plans, runs=runs)


def ask(*, of: str, plans: int, runs: int) -> Iterator[Figure]:
    """Yield milliseconds, queries and bytes of each page."""
    from django.conf import settings

    from apps.core.pulse import beat
    from apps.people.models import Person, Role
    from config.command.prepare import collect

    collect(settings)
    now = datetime.now(UTC)
    owner = Person.objects.create(email="ana@example.com", name="Ana", role=Role.OWNER)
    world = World(owner, now)
    world.add(FEW)
    beat(now)
    client = signed_in(owner)
    few = {name: _queries(client, url) for name, url in PAGES.items()}
    world.add(plans - FEW)
    note(f"{of}: {plans:,} plans, {world.runs:,} runs")
    for name, url in PAGES.items():
        many = _queries(client, url)
        walls, spent, size = [], [], 0
        for _ in range(runs):
            beat(datetime.now(UTC))
            began, cpu = time.perf_counter(), time.process_time()
            size = len(_get(client, url).content)
            walls.append((time.perf_counter() - began) * 1000)
            spent.append((time.process_time() - cpu) * 1000)
        title = f"{name}, {of}"
        yield Figure("pages", f"{title}: median", round(statistics.median(walls), 1), "ms", LIMIT_MS, runs)
        yield Figure("pages", f"{title}: CPU, median", round(statistics.median(spent), 1), "ms", None, runs)
        yield Figure("pages", f"{title}: queries", many, "queries", few[name])
        yield Figure("pages", f"{title}: HTML", size, "bytes")


def signed_in(person: Any) -> Any:
    """Return a browser in which a person is signed in."""
    from django.conf import settings
    from django.test import Client

    from apps.people.sessions import signed

    client = Client()
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    client.cookies[settings.SESSION_COOKIE_NAME] = signed(client.cookies[settings.SESSION_COOKIE_NAME].value)
    return client


def _get(client: Any, url: str) -> Any:
    """Ask for a page with nothing kept from before. Raises RuntimeError for any answer but the page."""
    from django.core.cache import cache

    cache.clear()
    answer = client.get(url)
    if answer.status_code != 200:
        raise RuntimeError(f"{url} answered {answer.status_code}")
    return answer


def _queries(client: Any, url: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    _get(client, url)  # templates are read once
    with CaptureQueriesContext(connection) as found:
        _get(client, url)
    return len(found)


class World:
    """Plans with their runs and incidents, written in bulk: one in twenty is at risk, one in twenty needs a look."""

    def __init__(self, owner: Any, now: datetime) -> None:
        """Take the owner and the moment at which all of it plays."""
        self.owner, self.now = owner, now
        self.plans = self.runs = 0

    def add(self, number: int) -> None:
        """Add so many plans, each with its runs."""
        from apps.backups.models import Backup, Plan, RestoreTest, Source, Store

        numbers = range(self.plans, self.plans + number)
        stores = [Store(name=f"Safe {n}", kind="s3", config={"bucket": "safe"}) for n in numbers if n % 25 == 0]
        Store.objects.bulk_create(stores)
        stores = list(Store.objects.all())
        sources = [
            Source(name=f"Database {n}", kind="postgresql", config={"host": "db.example.com", "database": f"shop{n}"})
            for n in numbers
        ]
        Source.objects.bulk_create(sources)
        pairs = zip(numbers, sources, strict=True)
        plans = [self.plan(n, source, stores[n // 25 % len(stores)]) for n, source in pairs]
        Plan.everything.bulk_create(plans)
        for start in range(0, number, 20):
            some = plans[start : start + 20]
            backups = [self.backup(plan, days) for plan in some for days in range(BACKUPS, 0, -1)]
            Backup.objects.bulk_create(backups, batch_size=500)
            weekly = [backup for backup in backups if backup.slot.toordinal() % 7 == 0]
            tests = [self.test(backup) for backup in weekly[: TESTS * len(some)]]
            RestoreTest.objects.bulk_create(tests, batch_size=500)
            self.runs += len(backups) + len(tests)
        self.incidents([plan for plan in plans if plan.verdict in {"bad", "warn"}])
        self.plans += number

    def plan(self, number: int, source: Any, store: Any) -> Any:
        """Return a plan as the services leave it."""
        from apps.backups.models import Plan

        kind = {0: "bad", 1: "warn", 2: "none"}.get(number % 20, "ok")
        proven = kind != "none"
        daily = {"kind": "days", "time": f"{number % 24:02}:05", "weekdays": list(range(7))}
        hourly = {"kind": "hourly", "minute": number % 60}
        since = self.now - timedelta(hours=number % 50)
        late = {"code": "backups.late", "bad": kind == "bad", "said": "It is late.", "todo": "Look.", "since": None}
        return Plan(
            name=f"Shop {number:04}", source=source, store=store, owner=self.owner,
            schedule=hourly if number % 10 == 9 else daily,
            next_due_at=self.now + timedelta(minutes=7 * (number % 200)),
            expected_from=self.now - timedelta(days=100), last_backup_at=self.now - timedelta(hours=number % 24),
            last_bytes=40_000_000 + number, proof_due_at=self.now + timedelta(hours=number % 160),
            proven_at=self.now - timedelta(hours=number % 160) if proven else None,
            proven_taken_at=self.now - timedelta(hours=number % 160 + 1) if proven else None,
            proven_seconds=20.0 + number % 600 if proven else None, proven_rungs=7 if proven else 0,
            failed_rung=5 if kind == "bad" else None, verdict=kind, verdict_since=since,
            verdict_said="The last backup is late." if kind in {"bad", "warn"} else "",
            troubles=[late] if kind in {"bad", "warn"} else [], judge_at=self.now + timedelta(hours=1),
        )  # fmt: skip

    def backup(self, plan: Any, days: int) -> Any:
        """Return a good backup of so many days ago."""
        from apps.backups.models import Backup

        at = self.now - timedelta(days=days)
        members = [[f"public.table{n}", n * 1000, "d" * 20] for n in range(6)]
        return Backup(
            plan=plan, slot=at, created_at=at, due_at=at, started_at=at, finished_at=at + timedelta(minutes=2),
            state="done", attempt=1, store=plan.store, object_key=f"shop/{plan.pk.hex}-{days}.pgdump.zst.age",
            size=40_000_000 + days, sha256="a" * 64, recipients=["age1bench"], taken_at=at, source_bytes=90_000_000,
            raw_bytes=80_000_000, members=6, rows=15_000, timings={"copying": 80.0, "counting": 9.0},
            manifest={"engine": "postgresql", "version": "18.6", "members": members, "facts": {}, "tools": {}},
        )  # fmt: skip

    def test(self, backup: Any) -> Any:
        """Return a test that proved a backup."""
        from apps.backups.models import RestoreTest

        at = backup.finished_at + timedelta(minutes=1)
        rung = {"ok": True, "said": "It held.", "seconds": 1.0, "figures": {}, "log": []}
        return RestoreTest(
            plan=backup.plan, backup=backup, created_at=at, due_at=at, started_at=at, state="done", attempt=1,
            finished_at=at + timedelta(minutes=1), verdict="proven",
            rungs=[{"name": f"rung {n}", **rung} for n in range(7)],
            compared=[[f"public.table{n}", 1000, 1000, True] for n in range(6)], compared_total=6, tools={},
            said="Restored in 33 s.", restore_seconds=33.0, data_age_seconds=300.0,
        )  # fmt: skip

    def incidents(self, plans: list[Any]) -> None:
        """Open an incident for each plan, and close one of each from before."""
        from apps.alerts.models import Incident

        def incident(plan: Any, closed_at: datetime | None) -> Any:
            return Incident(
                code="backups.late", severity=plan.verdict, subject_key=f"backups.plan:{plan.pk}", subject=plan.name,
                url=plan.url, title=f"{plan.name} is late", said="The last backup is late.", advice="Look at it.",
                seen_at=plan.verdict_since, tell_at=plan.verdict_since, opened_at=plan.verdict_since,
                closed_at=closed_at,
            )  # fmt: skip

        before = self.now - timedelta(days=3)
        Incident.objects.bulk_create(incident(plan, at) for plan in plans for at in (None, before))
