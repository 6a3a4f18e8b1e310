"""Runs one function of a bench in a process of its own, on a data folder of its own, and hands back what it yields."""

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config.bench.figure import Figure
from config.bench.running import OURS
from config.command.running import ROOT
from config.command.say import Refusal


def figures(where: str, *, database: str = "", **options: Any) -> Iterator[Figure]:
    """Run `module:function` on a new, empty Mainstay and yield its figures; the folder is gone afterwards.

    `database` is a DATABASE_URL; without one it is the built-in SQLite.
    """
    with _environment(database) as env:
        for found in _lines(where, env, options):
            yield Figure(**found)


def one(where: str, **options: Any) -> dict[str, Any]:
    """Run `module:function` in a fresh process on this process's own Mainstay and return the one object it yields."""
    (found,) = _lines(where, dict(os.environ), options)
    return found


@contextmanager
def _environment(database: str) -> Iterator[dict[str, str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        more = {"DATABASE_URL": database} if database else {}
        yield {**clean, **more, "MAINSTAY_DATA": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}


def _lines(where: str, env: dict[str, str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    words = [sys.executable, "-m", "config.bench.apart", where, json.dumps(options)]
    with subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                yield json.loads(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise Refusal(f"The bench stopped ({where}); its reason stands above. Nothing but its own folders was touched.")


def main(where: str, options: dict[str, Any]) -> int:
    """Set Mainstay up, make keys and tables if there are none, and print each thing that the function yields."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped and folders removed
    import django

    django.setup()
    from django.core.management import call_command

    from apps.core.keys import KeyRing, new_key, ring_path, save_ring

    if not ring_path().exists():
        ring_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_ring(KeyRing((new_key(),)), ring_path())
        call_command("migrate", verbosity=0, skip_checks=True)
    importlib.import_module("config.celery")  # a worker has it in memory, so a bench of a worker has it too
    logging.getLogger("apps.core.runs").setLevel(logging.ERROR)  # there is no broker here, and none is needed
    module, _, function = where.partition(":")
    try:
        for found in getattr(importlib.import_module(module), function)(**options):
            sys.stdout.write(json.dumps(asdict(found) if isinstance(found, Figure) else found) + "\n")
            sys.stdout.flush()
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path(ROOT))
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
