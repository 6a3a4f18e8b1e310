"""./mainstay check: lint, strict types, import contracts, migrations, Django's deploy check and the house tests."""

import sys
import tempfile

from config.command.running import BIN, Job, side_by_side
from config.command.say import complain, say

# A deployment as it should be: https in front. The settings' own checks then hold without an exception.
DEPLOYED = {"MAINSTAY_URL": "https://mainstay.example.com", "DATABASE_URL": "", "REDIS_URL": ""}
TYPED = ("apps", "config", "tests", "manage.py")


def run(arguments: list[str]) -> int:
    """Run every check, two at a time; the slow one begins first."""
    if arguments:
        complain("./mainstay check takes no further words.")
        return 2
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="mainstay-check-") as data:
        own = {"MAINSTAY_DATA": data}
        deployed = {**DEPLOYED, **own}
        well = side_by_side((
            (Job("types: mypy --strict", [python, "-m", "mypy", "--no-error-summary", *TYPED], own),),
            (
                Job("lint: ruff", [str(BIN / "ruff"), "check", "--quiet", "."]),
                Job("import contracts", [str(BIN / "lint-imports"), "--no-cache"], own),
                Job("migrations", [python, "manage.py", "makemigrations", "--check", "--dry-run"], own),
                Job("deploy check", [python, "manage.py", "check", "--deploy", "--fail-level", "WARNING"], deployed),
                Job("house tests", [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/house"], own),
            ),
        ))  # fmt: skip
    say("Everything checked is in order." if well else "Something is not in order; the lines above say what.")
    return 0 if well else 1
