"""Dispatches ./mainstay COMMAND; each command is one module with run(arguments) -> exit code."""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = {
    "up": "start Mainstay; --data DIR, --port N",
    "manage": "Django's own commands, for example: manage migrate",
    "check": "lint, types, contracts and house tests",
    "test": "the whole suite; further words go to pytest",
    "claims": "what the first page claims; --json",
    "bench": "measure: bench NAME, --json",
    "lock": "pin the packages of requirements.txt anew",
}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    sys.path[0] = str(ROOT)
    from config.command.say import Refusal, complain, say

    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name in {"help", "--help", "-h"}:
        say("./mainstay COMMAND\n" + "\n".join(f"  {word:<8}{what}" for word, what in COMMANDS.items()))
        return 0 if arguments else 2
    if name not in COMMANDS:
        complain(f"There is no command {name!r}; there are: {', '.join(COMMANDS)}.")
        return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        return int(importlib.import_module(f"config.command.{name}").run(rest))
    except Refusal as refusal:
        complain(str(refusal))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
