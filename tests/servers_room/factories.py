"""Servers as rows for tests: answering, silent, failing, with samples."""

import itertools
import math
from datetime import datetime, timedelta
from typing import Any

from apps.servers import samples
from apps.servers.gate.wire import new_pair
from apps.servers.models import Facts, HostKey, Sample, Server

NUMBER = itertools.count(1)
BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
VALUES = {"cpu": 0.2, "memory": 0.55, "swap": 0.01, "load": 0.4, "disk:/": 0.47, "disk:/srv": 0.6, "inodes:/": 0.1,
          "pressure_io": 0.02}  # fmt: skip
FACTS: dict[str, Any] = {
    "system": "Debian 12", "support_said": "Debian 12 gets security updates until 30 Jun 2028, from Debian LTS.",
    "end_of_life": "2028-06-30", "cpus": 2, "memory": 4 * 1024**3, "reboot": "", "lacks": [],
    "updates": {"pending": 3, "security": 0, "names": ["curl"], "lists_at": None},
    "services": [{"name": "nginx.service", "state": "active", "result": "success", "restart": "on-failure",
                  "enabled": "enabled", "restarts": 0}],
    "listeners": [{"port": 443, "proto": "tcp", "address": "0.0.0.0", "program": "nginx"}],
}  # fmt: skip


def server_of(now: datetime, **fields: Any) -> Server:
    """Make a server that answered a moment ago; any field may be given, `facts` and `pinned` too."""
    facts, pinned = fields.pop("facts", FACTS), fields.pop("pinned", True)
    private, public = new_pair()
    given = {
        "name": f"web-{next(NUMBER)}", "address": "192.0.2.7", "private_key": private, "public_key": public,
        "reached_at": now, "gate_version": "1.0", "gate_level": "observe", "verdict": "ok", "clock_skew": 0.0,
        "next_sample_at": now, "next_facts_at": now + timedelta(hours=1), "judge_at": now,
        "verdict_said": "It answers, and nothing is wrong.", "booted_at": now - timedelta(days=40),
        "latest": {"at": now.timestamp(), "values": VALUES, "totals": {"disk:/": 50 * 10**9}, "cores": 2},
    }  # fmt: skip
    server: Server = Server.objects.create(**{**given, **fields})
    if pinned:
        key_of(server, "pinned", now)
    if facts is not None:
        Facts.objects.create(server=server, taken_at=now, changed_at=now, data=facts)
    return server


def key_of(server: Server, state: str, now: datetime, fingerprint: str = "", kind: str = "ssh-ed25519") -> HostKey:
    """Give a server a host key."""
    prints = fingerprint or f"SHA256:{state}-{server.pk}"
    key: HostKey = HostKey.objects.create(
        server=server, type=kind, blob=BLOB, fingerprint=prints, state=state, seen_at=now
    )
    return key


def sampled(server: Server, now: datetime, *, days: int, step: int, metrics: tuple[str, ...] = tuple(VALUES)) -> None:
    """Give a server a sample of each step of so many days: a wave for each metric."""
    end = samples.start(now.timestamp(), step)
    names, rows = list(server.series), []
    for at in range(end - days * 86400, end, step):
        row = {}
        for place, metric in enumerate(metrics):
            mean = 0.5 + 0.3 * math.sin(at / 20000 + place)
            row[metric] = samples.Figure(mean - 0.1, mean, mean + 0.1, 1 if step == 60 else step // 60)
        packed, names = samples.pack(row, names)
        rows.append(Sample(server=server, step=step, at=at, packed=packed))
    Sample.objects.bulk_create(rows, batch_size=2000)
    Server.objects.filter(pk=server.pk).update(series=names)
    server.series = names
