"""./mainstay bench NAME [--json]: measures and prints one object a line; ratios are against the same run."""

import importlib
import json
import os
from collections.abc import Callable, Iterable

from config.bench import BENCHES
from config.bench.figure import Figure
from config.command.say import complain, say


def run(arguments: list[str]) -> int:
    """Run one bench, or every bench for the name `all`."""
    names = [word for word in arguments if not word.startswith("-")]
    unknown = [word for word in arguments if word.startswith("-") and word != "--json"]
    if len(names) != 1 or unknown or names[0] not in {*BENCHES, "all"}:
        complain(f"./mainstay bench NAME [--json]; NAME is one of: {', '.join([*BENCHES, 'all'])}.")
        return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    for name in BENCHES if names[0] == "all" else names:
        for figure in bench(name)():
            say(json.dumps(figure.as_json()) if "--json" in arguments else figure.as_line())
    return 0


def bench(name: str) -> Callable[[], Iterable[Figure]]:
    """Return the function of a bench."""
    module, _, function = BENCHES[name].partition(":")
    found: Callable[[], Iterable[Figure]] = getattr(importlib.import_module(module), function)
    return found
