"""./mainstay bench NAME [--json]: measures and prints one object a line; ratios are against the same run."""

import importlib
import inspect
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from config.bench import BENCHES
from config.bench.figure import Figure
from config.command.say import complain, say


def run(arguments: list[str]) -> int:
    """Run one bench, or every bench for the name `all`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    as_json = "--json" in arguments
    try:
        name, options = parsed([word for word in arguments if word != "--json"])
    except ValueError as error:
        complain(str(error))
        return 2
    for each in BENCHES if name == "all" else [name]:
        for figure in bench(each)(**options):
            say(json.dumps(figure.as_json()) if as_json else figure.as_line())
    return 0


def bench(name: str) -> Callable[..., Iterable[Figure]]:
    """Return the function of a bench."""
    module, _, function = BENCHES[name].partition(":")
    found: Callable[..., Iterable[Figure]] = getattr(importlib.import_module(module), function)
    return found


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return a bench's name and its options: whole numbers and switches, named as its function's arguments are.

    Raises ValueError with a sentence for anything else.
    """
    usage = f"./mainstay bench NAME [--json]; NAME is one of: {', '.join([*BENCHES, 'all'])}."
    names = [word for at, word in enumerate(words) if not word.startswith("-") and not _is_value(words, at)]
    if len(names) != 1 or names[0] not in {*BENCHES, "all"}:
        raise ValueError(usage)
    known = {} if names[0] == "all" else {f"--{n.replace('_', '-')}": p for n, p in _parameters(names[0]).items()}
    options: dict[str, Any] = {}
    for at, word in enumerate(words):
        if not word.startswith("-"):
            continue
        option, _, value = word.partition("=")
        if option not in known:
            has = f"{names[0]} takes {', '.join(['--json', *known])}"
            raise ValueError(f"There is no option {option}; {has}. {usage}")
        if isinstance(known[option].default, bool):
            options[known[option].name] = True
            continue
        value = value or (words[at + 1] if _is_value(words, at + 1) else "")
        if not value.isascii() or not value.isdigit() or int(value) < 1:
            raise ValueError(f"{option} takes a whole number above 0. Nothing was measured.")
        options[known[option].name] = int(value)
    return names[0], options


def _is_value(words: list[str], at: int) -> bool:
    """Return whether a word is the number behind an option."""
    return 0 < at < len(words) and words[at].isdigit() and words[at - 1].startswith("--")


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(bench(name)).parameters)
