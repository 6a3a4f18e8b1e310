"""A random walk never locks the last admin out: long on files with a real sshd -T, shorter on real servers."""

import os
import random
from pathlib import Path

import pytest

from tests.access.people import People
from tests.access.walk import STEPS, ModelWorld, RealWorld, ground, walk
from tests.fleet.server import Server

SEED = int(os.environ.get("WALK_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd")
@pytest.mark.parametrize("part", range(4))  # so that several processes may share them
def test_no_walk_on_files_locks_the_last_admin_out(part: int) -> None:
    steps = int(os.environ.get("WALK_STEPS", STEPS["model"])) // 4
    with ground() as folder:
        counts = walk(ModelWorld(folder / "server"), SEED + part, steps)
    assert sum(counts.values()) - counts.get("healed", 0) == steps
    assert steps < 100 or (counts["access commit"] > 0 and counts["access guard"] > 0)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd")
def test_a_gate_without_its_guard_is_caught_by_the_walk(tmp_path: Path) -> None:
    world = ModelWorld(tmp_path / "server")
    gate = world.model.gate
    real = gate.__dict__["guard"]

    def careless(*words: object, **more: object) -> object:
        try:
            return real(*words, **more)
        except gate.Refusal:
            return []

    gate.__dict__["guard"] = careless
    with pytest.raises(AssertionError, match="seed"):
        walk(world, SEED, 300)


@pytest.mark.parametrize("part", range(2))
def test_no_walk_on_a_real_server_locks_the_last_admin_out(server: Server, tmp_path: Path, part: int) -> None:
    steps = int(os.environ.get("WALK_REAL_STEPS", STEPS["real"])) // 2
    counts = walk(RealWorld(People(server, tmp_path / "keys")), SEED + part, steps)
    assert sum(counts.values()) - counts.get("healed", 0) == steps
    assert steps < 50 or counts.get("access commit", 0) > 0
