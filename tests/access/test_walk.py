"""A random walk never locks the last admin out: long on files with a real sshd -T, shorter on real servers."""

import os
import random
from pathlib import Path

import pytest

from tests.access.walk import STEPS, ModelWorld, walk

SEED = int(os.environ.get("WALK_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd")
@pytest.mark.parametrize("part", range(4))
def test_no_walk_on_files_locks_the_last_admin_out(tmp_path: Path, part: int) -> None:
    steps = int(os.environ.get("WALK_STEPS", STEPS["model"])) // 4
    counts = walk(ModelWorld(tmp_path / "server"), SEED + part, steps)
    assert sum(counts.values()) == steps
    assert steps < 100 or (counts["access commit"] > 0 and counts["access guard"] > 0)
