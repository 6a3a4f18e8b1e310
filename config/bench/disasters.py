"""Each disaster and its healthy twin, played for real: the table, the mutation score and the rate of false alarms.

The cases are those of tests/disasters; each scene runs in a transaction that is rolled back.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from config.bench import apart
from config.bench.figure import Figure
from config.bench.rig import note

SEEDS = 1


def measure(*, seeds: int = SEEDS) -> Iterator[Figure]:
    """Play every case with so many seeds; one figure a scene (1 is right), then the two scores."""
    return apart.figures("config.bench.disasters:play", seeds=seeds)


def play(*, seeds: int, only: str = "") -> Iterator[Figure]:
    """Play everything, or what begins with `only`, in this process, on its own Mainstay."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import transaction

    settings.ALLOWED_HOSTS = ["*"]  # the cases ask the pages as a test does
    call_command("collectstatic", interactive=False, verbosity=0)
    import_module("tests.people.cookies").sign_cookies_of_the_test_client()
    cases: list[Any] = [each for each in import_module("tests.disasters.cases").CASES if each.id.startswith(only)]
    scene = import_module("tests.disasters.scene")
    servers = scene.Servers()
    flagged = alarms = 0
    with tempfile.TemporaryDirectory(prefix="mainstay-disasters-") as folder, closing(servers):
        for number, (case, seed) in enumerate((case, seed) for case in cases for seed in range(seeds)):
            for broken in (True, False):
                began = time.monotonic()
                with transaction.atomic():
                    place = Path(folder) / f"{number}-{broken:d}"
                    heard = _heard(case, scene, place, servers, broken=broken, seed=seed)
                    transaction.set_rollback(True)
                right = bool(case.flag(heard)) if broken else not heard
                flagged += broken and right
                alarms += not broken and not right
                what = f"{case.id} {'disaster flagged' if broken else 'twin quiet'} ({time.monotonic() - began:.0f} s)"
                yield Figure("disasters", what, float(right), "", 1.0)
    total = len(cases) * seeds
    score = round(flagged / total, 4)
    yield Figure("disasters", f"mutation score: {flagged} of {total} flagged", score, "", 1.0, seeds)
    yield Figure("disasters", f"false alarms: {alarms} of {total} twins", round(alarms / total, 4), "", None, seeds)


def _heard(case: Any, scene: Any, folder: Path, servers: Any, *, broken: bool, seed: int) -> list[str]:
    """Play one scene. A scene that breaks is right neither way."""
    try:
        with scene.scene(folder, servers, broken=broken, seed=seed) as played:
            heard: list[str] = case.play(played)
    except Exception as error:  # noqa: BLE001 one case must not end the table; what broke is not flagged
        note(f"{case.id}: {type(error).__name__}: {error}")
        return [f"({type(error).__name__})"]
    return heard
