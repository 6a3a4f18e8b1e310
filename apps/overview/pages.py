"""Puts the first page, the checklist and search together from what the rooms say of themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from apps.access import services as access
from apps.alerts import services as alerts
from apps.backups import services as backups
from apps.backups.models import Plan, RestoreTest
from apps.backups.pages.plans import latest_tests
from apps.core import words
from apps.core.cache import broker_down
from apps.core.claims import Claim, Need, Standing
from apps.core.pulse import Heartbeat, heartbeat
from apps.overview import reads, standing
from apps.overview.reads import Tonight
from apps.people import services as people
from apps.servers import services as servers

# One function a room; called with `now` alone, each reads for itself.
CLAIMS: tuple[Callable[[datetime], list[Claim]], ...] = (backups.claims, servers.claims, access.claims, alerts.claims)
NEEDS: tuple[Callable[[datetime], list[Need]], ...] = (
    backups.needs,
    servers.needs,
    access.needs,
    alerts.needs,
    people.needs,
)

READINESS_ROWS = 5
SUBJECTS = 20  # of one claim on the checklist; the rest are counted


def claims(now: datetime) -> list[Claim]:
    """Return every claim of every room."""
    return [claim for room in CLAIMS for claim in room(now)]


def needs(now: datetime) -> list[Need]:
    """Return everything that only a person can do, the most urgent first."""
    return standing.ranked(need for room in NEEDS for need in room(now))


@dataclass(frozen=True, slots=True)
class Readiness:
    """The share of claims that are proven, and the worst of them."""

    proven: int
    total: int
    counts: dict[Standing, int]
    segments: list[list[tuple[str, str]]]
    lines: list[standing.Tally]
    label: str


@dataclass(frozen=True, slots=True)
class FirstPage:
    """Everything on the first page."""

    pulse: Heartbeat
    broker_down: bool
    sentence: standing.Sentence
    figures: list[standing.Figure]
    needs: list[Need]
    more_needs: int
    readiness: Readiness
    plans: standing.Plans
    trouble: standing.Trouble
    by_proof: list[Plan]
    tonight: Tonight
    evidence: list[RestoreTest]
    day: str
    empty: bool


def first_page(now: datetime, tz: tzinfo, person_id: str) -> FirstPage:
    """Read and judge everything on a person's first page; the number of queries does not grow with the plans."""
    pulse = heartbeat(now)
    look, trouble, kept = reads.look(now), reads.trouble(), reads.channels()
    machines = reads.machines()
    doors = access.states() if machines else []
    plans = look.plans
    every = [
        *backups.needs(now, look.faults),
        *servers.needs(now, machines),
        *access.needs(now, doors),
        *alerts.needs(now, kept),
        *people.needs(now),
    ]
    wanted = standing.ranked(need for need in every if need.concerns(person_id))
    few = [*servers.claims(now, machines), *access.claims(now, doors), *alerts.claims(now, kept)]
    tallies = [*look.tallies, *standing.tally(few)]
    said = (
        standing.stale_sentence(plans, pulse.at, tz, now)
        if pulse.stale
        else standing.sentence(plans, trouble, wanted, now)
    )
    return FirstPage(
        pulse=pulse,
        broker_down=broker_down(),
        sentence=said,
        figures=standing.figures(plans, trouble, now),
        needs=wanted[: standing.MOST_NEEDS],
        more_needs=max(len(wanted) - standing.MOST_NEEDS, 0),
        readiness=readiness(tallies),
        plans=plans,
        trouble=trouble,
        by_proof=reads.by_proof(),
        tonight=reads.tonight(now, tz),
        evidence=latest_tests(),
        day=words.long_day(now, tz),
        empty=not plans.total,
    )


def readiness(found: list[standing.Tally]) -> Readiness:
    """Put the score together: the share of claims that are proven, never a weighted opinion."""
    counts = standing.counted(found)
    label = ", ".join(f"{number:,} {kind.value}" for kind, number in counts.items() if number) or "No claim yet"
    worst = standing.worst_first(found)[:READINESS_ROWS]
    return Readiness(counts[Standing.PROVEN], sum(counts.values()), counts, standing.segments(found), worst, label)


@dataclass(frozen=True, slots=True)
class Section:
    """One group of the checklist."""

    title: str
    lines: list[standing.Line]
    proven: int
    total: int


def checklist(now: datetime) -> dict[str, Any]:
    """Return every claim in its group, each claim's subjects the worst first."""
    found = claims(now)
    lines = standing.lines(found)
    sections = []
    for letter, title in standing.GROUPS.items():
        members = [line for line in lines if line.id.startswith(letter)]
        if members:
            sections.append(
                Section(title, members, sum(line.proven for line in members), sum(len(line.claims) for line in members))
            )
    return {
        "readiness": readiness(standing.tally(found)),
        "sections": sections,
        "most": SUBJECTS,
        "pulse": heartbeat(now),
    }
