"""A long random walk of changes of access, on files and on real servers: it counts lock-outs, of which none may be."""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from config.bench.figure import Figure
from config.command.say import Refusal

EACH = 100  # real steps on one server, then a clean one


def measure(steps: int = 10_000, real: int = 1_000, seed: int = 0, *, no_real: bool = False) -> Iterator[Figure]:
    """Walk on files with a real sshd -T, then on real servers, each world with a seed that is said; 0 draws one."""
    try:
        from tests.access.walk import ModelWorld, RealWorld, ground
    except ImportError as error:
        raise Refusal(f"This bench needs the servers of the tests ({error.name}): run ./mainstay test once.") from error
    from tests.access.people import People
    from tests.fleet.fleet import Fleet
    from tests.fleet.machine import lacks

    if lacks():
        raise Refusal(f"{lacks()} Nothing was measured.")
    seed = seed or random.SystemRandom().randrange(1, 10**9)
    with ground() as folder:
        yield from _walked("model", ModelWorld(folder / "server"), seed, steps)
    if no_real:
        return
    with ExitStack() as stack:
        fleet = Fleet.begin()
        stack.callback(fleet.close)
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mainstay-bench-")))
        for number, first in enumerate(range(0, real, EACH)):
            with fleet.lend() as lent:
                world = RealWorld(People(lent[0], keys / str(number)))
                yield from _walked("real", world, seed + number, min(EACH, real - first))


def _walked(name: str, world: Any, seed: int, steps: int) -> Iterator[Figure]:
    """Walk once; a lock-out ends the walk and is told where it was found."""
    from tests.access.walk import walk

    began, found = time.monotonic(), 0
    try:
        walk(world, seed, steps, said=lambda _sentence: None)
    except AssertionError as error:
        found = 1
        sys.stderr.write(f"{error}\n")
    took = (time.monotonic() - began) / steps
    yield Figure("walk", f"{name}: lock-outs, seed {seed}", found, "lock-outs", runs=steps)
    yield Figure("walk", f"{name}: a step, seed {seed}", round(took, 3), "s", runs=steps)
