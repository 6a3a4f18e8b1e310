"""A backup of a shop's PostgreSQL into S3 against the same steps in a shell with the same upload client, in one run.

Both sides are timed from pg_dump's first byte to the upload that the store confirmed; each runs in a fresh process,
and the two take turns in going first.
"""

import os
import select
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import IO, cast

from config.bench import apart
from config.bench.figure import Figure
from config.bench.rig import back_up, cpu_seconds, note, peak_mb, rig, store_of_plan
from config.command.packages import program
from config.command.say import Refusal

LIMIT_MB = 200.0  # of memory for the worker, whatever the size
LARGER = 4  # times the size, for `--memory`


def measure(*, size_mb: int = 1000, runs: int = 3, memory: bool = False) -> Iterator[Figure]:
    """Measure both sides; with `memory` also the worker's peak at four times the size."""
    for name in ("age", "zstd"):  # of the shell's side: missed now rather than after the first half
        program(name)
    return apart.figures("config.bench.backup:compare", size_mb=size_mb, runs=runs, memory=memory)


def compare(*, size_mb: int, runs: int, memory: bool) -> Iterator[Figure]:
    """Run both sides in turn and yield the medians."""
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "shell": []}
    with rig(size_mb) as made:
        for number in range(runs):
            for side in ("ours", "shell") if number % 2 == 0 else ("shell", "ours"):
                found = apart.one(f"config.bench.backup:{side}", plan=made.plan)
                sides[side].append(found)
                note(f"{side}: " + ", ".join(f"{name} {value:,.2f}" for name, value in found.items()))
    ours, shell = (
        {name: statistics.median(run[name] for run in of) for name in of[0]} for of in (sides["ours"], sides["shell"])
    )
    peak = max(run["peak"] for run in sides["ours"])

    def figure(name: str, value: float, unit: str, baseline: float | None = None) -> Figure:
        return Figure("backup", name, round(value, 2), unit, None if baseline is None else round(baseline, 2), runs)

    mb = made.size / 1e6
    yield figure("size of the database", mb, "MB")
    yield figure("throughput, first byte to finished upload", mb / ours["copying"], "MB/s", mb / shell["copying"])
    yield figure("first byte to finished upload", ours["copying"], "s", shell["copying"])
    yield figure("manifest in the dump's snapshot", ours["counting"], "s")
    yield figure("read-back", ours["reading"], "s")
    yield figure("whole: dump, manifest, upload, read-back", ours["whole"], "s", shell["copying"])
    yield figure("CPU of the worker and pg_dump, whole", ours["cpu"], "s", shell["cpu"])
    yield figure("size in the store", ours["stored"] / 1e6, "MB", shell["stored"] / 1e6)
    yield figure("peak memory of the worker", peak, "MB", LIMIT_MB)
    if memory:
        with rig(LARGER * size_mb) as made:
            found = apart.one("config.bench.backup:ours", plan=made.plan)
        yield Figure("backup", "size of the larger database", round(made.size / 1e6, 2), "MB")
        yield Figure("backup", "peak memory of the worker, larger", round(found["peak"], 2), "MB", round(peak, 2))


def ours(*, plan: str) -> Iterator[dict[str, float]]:
    """Take one backup as a worker does and yield its seconds, CPU, memory and size; the object is deleted again."""
    store = store_of_plan(plan)
    began, cpu = time.monotonic(), cpu_seconds()
    done = back_up(plan)
    whole, cpu = time.monotonic() - began, cpu_seconds() - cpu
    store.delete(done.object_key)
    timings = done.timings
    yield {
        "whole": whole, "copying": timings["copying"], "counting": timings["counting"],
        "reading": timings["reading back"], "cpu": cpu, "peak": peak_mb(), "stored": done.size,
    }  # fmt: skip


def shell(*, plan: str) -> Iterator[dict[str, float]]:
    """Do `pg_dump -Fc -Z0 | zstd -3 | age -r … | upload` with our own upload client and yield the same."""
    from apps.backups import cipher
    from apps.backups.engines.pg.address import address
    from apps.backups.engines.pg.tools import lent
    from apps.backups.models import Plan
    from apps.backups.scratch.installs import installs

    store = store_of_plan(plan)
    where, client = address(Plan.objects.get(pk=plan).source.target()), installs()[0]
    key, cpu = f"shell/{os.urandom(4).hex()}.zst.age", cpu_seconds()
    dumped, into = os.pipe()
    packed, unsealed = os.pipe()
    with lent(where, client) as loan:
        dump = [client.program("pg_dump"), "-Fc", "-Z0", "--no-password", f"--dbname={loan.conninfo}"]
        with (
            subprocess.Popen([program("age"), "-r", cipher.recipient()], stdin=packed, stdout=subprocess.PIPE) as age,
            subprocess.Popen(dump, stdout=into, env=loan.env) as source,
        ):
            os.close(packed)
            os.close(into)
            select.select([dumped], [], [])
            began = time.monotonic()
            with subprocess.Popen([program("zstd"), "-3", "-q", "-c"], stdin=dumped, stdout=unsealed) as zstd:
                os.close(dumped)
                os.close(unsealed)
                stored = store.put(key, cast("IO[bytes]", age.stdout), progress=lambda _sent: None)
                seconds = time.monotonic() - began
    if failed := [name for name, one in (("pg_dump", source), ("zstd", zstd), ("age", age)) if one.returncode]:
        raise Refusal(f"The shell's side of the bench failed: {failed[0]}.")
    store.delete(key)
    yield {"copying": seconds, "cpu": cpu_seconds() - cpu, "stored": stored.size}
