"""./mainstay test: what the tests need, the whole suite on SQLite, and what differs between databases on PostgreSQL."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from config.command import packages, postgres
from config.command.running import ROOT
from config.command.say import say

NOTHING_SELECTED = 5  # pytest's exit code
OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "EMAIL_URL", "ADMIN_", "MAINSTAY_")  # how these settings begin


@dataclass(frozen=True, slots=True)
class Tally:
    """What one run of the suite came to."""

    code: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def run(arguments: list[str]) -> int:
    """Run the suite twice and close with one line. Words after `test` go to pytest in both runs."""
    began = time.monotonic()
    strict = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    packages.ensure(strict=strict)
    with tempfile.TemporaryDirectory(prefix="mainstay-tests-") as folder:
        say("On SQLite …")
        lite = suite(arguments, Path(folder), strict=strict, more={})
        say("What differs between databases, on PostgreSQL …")
        with postgres.server() as server:
            full = suite(only_db(arguments), Path(folder), strict=strict, more={"DATABASE_URL": server.url})
    say(
        f"Tested: {lite.passed} passed on SQLite and {full.passed} on PostgreSQL {server.version}, "
        f"{lite.failed + full.failed} failed, {lite.skipped + full.skipped} skipped, "
        f"in {(time.monotonic() - began) / 60:.1f} min."
    )
    nothing = {lite.code, full.code} == {NOTHING_SELECTED}
    return 1 if nothing or any(tally.code not in {0, NOTHING_SELECTED} for tally in (lite, full)) else 0


def suite(arguments: Sequence[str], folder: Path, *, strict: bool, more: dict[str, str]) -> Tally:
    """Run pytest once, on two cores, with a fresh data folder, and count."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    words = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *arguments]
    if not any(word == "-n" or word.startswith(("-n=", "--numprocesses", "-p=no:xdist")) for word in arguments):
        words[4:4] = ["-n", "2", "--dist", "worksteal"]  # files stay together until a worker has nothing left to do
    if strict:
        words[4:4] = ["-p", "config.command.strict"]
    data = tempfile.mkdtemp(prefix="data-", dir=folder)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(words, cwd=ROOT, env={**clean, "MAINSTAY_DATA": data, **more}, check=False)
    return count(report, done.returncode)


def count(report: Path, code: int) -> Tally:
    """Return the tally of a run from its JUnit report; a run without one has failed."""
    if not report.is_file():
        return Tally(code or 1)
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 pytest wrote it just now
    tests, failed, skipped = (
        sum(int(node.get(name, "0")) for node in suites for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return Tally(code, passed=tests - failed - skipped, failed=failed, skipped=skipped)


def only_db(arguments: Sequence[str]) -> list[str]:
    """Return the words with the selection narrowed to tests that are marked `db`."""
    words, rest = [], iter(arguments)
    chosen = ""
    for word in rest:
        if word == "-m":
            chosen = next(rest, "")
        elif word.startswith("-m") and not word.startswith("--"):
            chosen = word.removeprefix("-m").removeprefix("=")
        else:
            words.append(word)
    return [*words, "-m", f"db and ({chosen})" if chosen else "db"]
