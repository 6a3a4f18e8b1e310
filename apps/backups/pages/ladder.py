"""The restore ladder and its evidence in words: seven rungs, what failed, and what a restore test cannot see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.backups.facts import RUNGS
from apps.backups.models import RestoreTest, Source
from apps.core import words

HELD = {
    "ran": "It ran",
    "is there": "It is there",
    "bytes intact": "Its bytes are intact",
    "readable": "It can be read",
    "restored": "It was restored",
    "complete": "It is complete",
    "correct": "It is correct",
}
BROKE = {
    "ran": "It did not run to its end",
    "is there": "It is not there",
    "bytes intact": "Its bytes changed",
    "readable": "It cannot be read",
    "restored": "It could not be restored",
    "complete": "It is not complete",
    "correct": "It is not correct",
}
MEND = {
    "ran": "Read why the backup failed, mend that, and back up again.",
    "is there": "Somebody or something removed the object. Find out who may delete there, then back up again at once.",
    "bytes intact": "It was changed after it was stored. Back up again at once and look at who may write there.",
    "readable": "The archive cannot be opened with the keys that are here. Check the recovery key, then back up again.",
    "restored": "Read the lines above. Mend the cause, then test again: the backup itself may still be good.",
    "complete": "Something is missing in the restored copy. Do not rely on it; back up again and test that one.",
    "correct": "The restored copy differs from what was recorded. Do not rely on it; back up again and test that one.",
}
_NAMES = {"harmless": "harmless lines of pg_restore", "raw_bytes": "bytes dumped"}
_UNSEEN = {
    Source.Kind.POSTGRESQL: (
        "Whether the data was right before it was dumped: it proves that the copy equals the source at that moment.",
        "Passwords of roles, settings of the server, and files that the database only points to.",
        "How long a restore takes elsewhere: the time was measured here, on a server that does not wait for its disk.",
        "What a running application makes of the copy.",
    ),
    Source.Kind.SQLITE: (
        "Whether the data was right before it was copied: it proves that the copy equals the source at that moment.",
        "Files that the database only points to.",
        "How long a restore takes on another machine; the time was measured here.",
    ),
    Source.Kind.DIRECTORY: (
        "Whether the files were right before they were read, or changed by a program while they were.",
        "What was left out by the patterns of the plan, and what the program was not allowed to read.",
        "How long a restore takes on another machine; the time was measured here.",
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One rung as the page shows it."""

    name: str
    title: str
    state: str  # ok, fail, run, todo
    said: str
    took: str = ""
    figures: tuple[tuple[str, str], ...] = ()
    log: tuple[str, ...] = ()
    mend: str = ""


def ladder(test: RestoreTest) -> list[Step]:
    """Return seven steps: what was climbed, where it stopped, what was not reached."""
    done = {rung["name"]: rung for rung in test.rungs}
    steps, running = [], test.state == "running"
    for name in RUNGS:
        rung = done.get(name)
        if rung is None:
            steps.append(
                Step(name, HELD[name], "run" if running else "todo", "Under way" if running else "Not reached")
            )
            running = False
        elif rung["ok"]:
            steps.append(_step(name, HELD[name], "ok", rung))
        elif rung["ok"] is None:
            steps.append(_step(name, f"{HELD[name]}?", "todo", rung))
        else:
            steps.append(_step(name, BROKE[name], "fail", rung, MEND[name]))
    return steps


def _step(name: str, title: str, state: str, rung: Mapping[str, Any], mend: str = "") -> Step:
    found = ((key, figure(key, value)) for key, value in dict(rung.get("figures") or {}).items())
    figures = tuple((_NAMES.get(key, key.replace("_", " ")), said) for key, said in found if said)
    log = tuple(str(line) for line in rung.get("log") or ())
    took = words.took(rung["seconds"]) if rung["seconds"] or state != "todo" else ""
    return Step(name, title, state, str(rung["said"]), took, figures, log[-40:], mend)


def figure(key: str, value: Any) -> str:
    """Return one figure in words: bytes as sizes, seconds as durations, whole numbers with separators."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if "bytes" in key or key in {"size", "recorded"}:
            return words.size(value)
        if "seconds" in key:
            return words.took(value)
        return words.count(value) if isinstance(value, int) else f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value[:20])
    if isinstance(value, Mapping):
        told = words.took if key == "stages" else str  # how long each stage of a run took, in seconds
        return ", ".join(f"{name} {told(item)}" for name, item in value.items())
    if key.endswith("_until"):
        return words.moment(datetime.fromisoformat(str(value)))
    return str(value)


def reached(test: RestoreTest) -> tuple[int, int | None]:
    """Return how many rungs held one after the other, and the number of the one that did not."""
    held = 0
    for number, rung in enumerate(test.rungs, 1):
        if not rung["ok"]:
            return held, number if rung["ok"] is False else None
        held = number
    return held, None


def result(test: RestoreTest) -> tuple[str, str]:
    """Return the badge of a test: its kind and its words."""
    if test.state in {"waiting", "running"}:
        return "info", "Under way" if test.state == "running" else "Waiting"
    if test.verdict == "proven":
        return "ok", "Proven"
    if test.verdict == "unproven":
        return "none", "Cannot be tested here"
    held, failed = reached(test)
    return "bad", f"Stopped at step {failed or held + 1}"


def seal(test: RestoreTest, when: str) -> str:
    """Return the one sentence that an auditor can quote."""
    name = test.plan.name
    if test.verdict == "proven":
        return (
            f"{name} was restored and is equal to what was backed up, on {when}, in {words.took(test.restore_seconds)}."
        )
    if test.verdict == "unproven":
        return f"{name} could not be tested on {when}. Nothing is known to be wrong, and nothing is proven."
    if test.state in {"waiting", "running"}:
        return f"{name} is being restored into a throwaway place."
    _, failed = reached(test)
    what = BROKE[RUNGS[failed - 1]].removeprefix("It ").removeprefix("Its ") if failed else "did not finish"
    return f"{name} was not proven on {when}: {'its ' if failed == 3 else 'it '}{what}."


def unseen(kind: str) -> tuple[str, ...]:
    """Return what a restore test of this kind of source cannot see."""
    return _UNSEEN.get(Source.Kind(kind), ())
