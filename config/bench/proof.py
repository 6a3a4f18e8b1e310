"""A proof up to "correct" against the whole backup (dump, manifest, upload, read-back) that it proves, in one run."""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from config.bench import apart
from config.bench.figure import Figure
from config.bench.rig import back_up, note, peak_mb, rig, store_of_plan
from config.command.say import Refusal


def measure(*, size_mb: int = 1000, runs: int = 3) -> Iterator[Figure]:
    """Back up and prove, again and again."""
    return apart.figures("config.bench.proof:compare", size_mb=size_mb, runs=runs)


def compare(*, size_mb: int, runs: int) -> Iterator[Figure]:
    """Yield the medians: each rung, and the whole proof against the whole backup."""
    with rig(size_mb) as made:
        found = []
        for _ in range(runs):
            found.append(apart.one("config.bench.proof:prove", plan=made.plan))
            note(", ".join(f"{name} {value:,.2f}" for name, value in found[-1].items()))
    middle = {name: round(statistics.median(run[name] for run in found), 2) for name in found[0]}
    whole, proof, peak = (middle.pop(name) for name in ("whole backup", "proof", "peak"))
    yield Figure("proof", "size of the database", round(made.size / 1e6, 2), "MB", runs=runs)
    yield Figure("proof", "whole backup", whole, "s", runs=runs)
    for name, seconds in middle.items():
        yield Figure("proof", name, seconds, "s", runs=runs)
    yield Figure("proof", "proof up to correct", proof, "s", whole, runs)
    yield Figure("proof", "peak memory of the worker", peak, "MB", runs=runs)


def prove(*, plan: str) -> Iterator[dict[str, float]]:
    """Back up and prove as a worker does; yield the seconds of both and of each rung."""
    from apps.backups import services as backups
    from apps.backups.models import RestoreTest

    store = store_of_plan(plan)
    began = time.monotonic()
    done: Any = back_up(plan)
    whole = time.monotonic() - began
    waiting = RestoreTest.objects.active().filter(backup=done).first()
    if waiting is None:
        waiting = backups.test_now(actor=done.plan.owner, backup=done, now=datetime.now(UTC))
    began = time.monotonic()
    backups.prove(waiting.pk)
    proof = time.monotonic() - began
    test = RestoreTest.objects.get(pk=waiting.pk)
    if test.verdict != "proven":
        raise Refusal(f"The bench's proof did not hold: {test.said}")
    store.delete(done.object_key)
    rungs = {rung["name"]: rung["seconds"] for rung in test.rungs if rung["seconds"] > 0.05}
    yield {"whole backup": whole, **rungs, "proof": proof, "peak": peak_mb()}
