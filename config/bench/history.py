"""A year of samples of fifty servers: what it takes on disk, and the page of one of them over each time, uncached.

SQLite; signed in, through the whole middleware, in one process. Rows come in the order of time, as collectors write
them, and only as many of each step as are kept.
"""

import math
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from config.bench import apart
from config.bench.figure import Figure

LIMIT_MS = 100.0  # of server time
METRICS = ("cpu", "load", "memory", "swap", "pressure_cpu", "pressure_memory", "pressure_io", "disk:/", "inodes:/",
           "disk:/srv", "inodes:/srv")  # fmt: skip
YEAR = 365 * 86400


def measure(servers: int = 50, runs: int = 21) -> Iterator[Figure]:
    """Measure in a process of its own, on an empty Mainstay."""
    yield from apart.figures("config.bench.history:played", servers=servers, runs=runs)


def played(servers: int, runs: int) -> Iterator[Figure]:
    """Write the year, weigh it, and ask for the page of one server."""
    from django.conf import settings
    from django.urls import reverse

    from apps.people.models import Person, Role
    from apps.servers.models import Server
    from apps.servers.pages.server import RANGES
    from apps.servers.services import watching
    from config.bench.pages import signed_in
    from config.command.prepare import collect

    collect(settings)
    now = datetime.now(UTC)
    owner = Person.objects.create(email="ana@example.com", name="Ana", role=Role.OWNER)
    made = [_server(number, now) for number in range(servers)]
    before = _bytes()
    rows = _year(made, now)
    size = _bytes() - before
    yield Figure("server-page", f"samples of {servers} servers for a year: rows", rows, "rows")
    yield Figure("server-page", "the same on disk, SQLite", round(size / 1e6, 1), "MB")
    client, chosen = signed_in(owner), made[servers // 2]
    full = watching.foretold(chosen, now)
    Server.objects.filter(pk=chosen.pk).update(full=full, full_at=now)
    asked = [*((key, said) for key, (_, said) in RANGES.items()), ("90d&all=1", "90 days, every chart and the table")]
    for key, said in asked:
        url = reverse("server", args=[chosen.pk]) + f"?range={key}"
        walls, spent, html = _asked(client, url, runs)
        title = f"page over {said}"
        yield Figure("server-page", f"{title}: median", round(statistics.median(walls), 1), "ms", LIMIT_MS, runs)
        yield Figure("server-page", f"{title}: CPU, median", round(statistics.median(spent), 1), "ms", None, runs)
        yield Figure("server-page", f"{title}: HTML", html, "bytes")


def _asked(client: Any, url: str, runs: int) -> tuple[list[float], list[float], int]:
    """Return milliseconds and CPU milliseconds of each request, and the bytes of the page."""
    from django.core.cache import cache

    from apps.core.pulse import beat

    walls, spent, html = [], [], 0
    for run in range(runs + 1):
        beat(datetime.now(UTC))
        cache.clear()
        began, cpu = time.perf_counter(), time.process_time()
        answer = client.get(url)
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        if answer.status_code != 200:
            raise RuntimeError(f"{url} answered {answer.status_code}")
        if run:  # templates are read once
            walls.append(wall * 1000)
            spent.append(used * 1000)
        html = len(answer.content)
    return walls, spent, html


def _server(number: int, now: datetime) -> Any:
    from apps.servers.gate.wire import new_pair
    from apps.servers.models import Facts, Server

    private, public = new_pair()
    values = dict.fromkeys(METRICS, 0.5)
    server = Server.objects.create(
        name=f"server-{number}", address=f"192.0.2.{number + 1}", private_key=private, public_key=public,
        reached_at=now, verdict="ok", verdict_said="It answers, and nothing is wrong.", gate_level="operate",
        booted_at=now - timedelta(days=90), series=list(METRICS),
        latest={"at": now.timestamp(), "values": values, "totals": {"disk:/": 8 * 10**10}, "cores": 2},
    )  # fmt: skip
    services = [
        {"name": f"service-{n}.service", "state": "active", "result": "success", "restart": "on-failure",
         "enabled": "enabled", "restarts": 0} for n in range(30)
    ]  # fmt: skip
    ports = [{"port": 1000 + n, "proto": "tcp", "address": "127.0.0.1", "program": "app"} for n in range(20)]
    data = {
        "system": "Debian 12", "cpus": 2, "memory": 4 * 1024**3, "reboot": "", "lacks": [], "services": services,
        "listeners": ports, "updates": {"pending": 9, "security": 0, "names": ["curl"] * 9, "lists_at": None},
    }  # fmt: skip
    Facts.objects.create(server=server, taken_at=now, changed_at=now, data=data)
    return server


def _year(made: list[Any], now: datetime) -> int:
    """Write every row that is kept after a year, in the order of time."""
    from django.db import connection, transaction

    from apps.servers import samples
    from apps.servers.services.collecting import KEEP

    ids = [server.pk.hex for server in made]
    end, rows = now.timestamp(), 0
    with transaction.atomic(), connection.cursor() as cursor:
        for step, kept in KEEP.items():
            first = samples.start(end - min(kept.total_seconds(), YEAR), step)
            for at in range(first, samples.start(end, step), step):
                packed = _row(at, step)
                some = [(one, step, at, packed) for one in ids]
                cursor.executemany(
                    "INSERT INTO servers_sample (server_id, step, at, packed) VALUES (%s, %s, %s, %s)", some
                )
                rows += len(some)
    return rows


def _row(at: int, step: int) -> bytes:
    from apps.servers import samples

    row = {}
    for place, metric in enumerate(METRICS):
        mean = 0.5 + 0.3 * math.sin(at / 20000 + place)
        row[metric] = samples.Figure(mean - 0.1, mean, mean + 0.1, step // 60)
    return samples.pack(row, METRICS)[0]


def _bytes() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0]
        cursor.execute("PRAGMA page_size")
        return int(pages * cursor.fetchone()[0])
