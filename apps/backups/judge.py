"""How a plan stands: pure functions from facts and the present moment to a list of faults, each with its way out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from apps.backups.facts import RUNGS
from apps.backups.schedule import Schedule, following, widest_gap
from apps.core import words
from apps.core.claims import Standing, Verdict

HISTORY = 5  # earlier backups that the newest is measured against
SIZE_BAND, ROWS_BAND = 0.6, 0.7  # of their median; below is "shrunk"
SMALL = 4096  # bytes: differences of smaller objects say nothing
AHEAD = timedelta(hours=1)  # further ahead of now is not a small difference between clocks
PAUSED_TOO_LONG = timedelta(days=7)
MOST_GRACE, LEAST_GRACE = timedelta(hours=3), timedelta(minutes=30)
PARTS = ("provider", "account", "region", "site")
LOSING = frozenset({
    "backups.failed", "backups.late", "backups.never_ran", "backups.lost", "backups.empty", "backups.shrunk",
    "backups.store", "backups.key_lost", "backups.left_out", "backups.source",
})  # fmt: skip
PROOF = frozenset({
    "backups.proof_failed", "backups.stale", "backups.unproven", "backups.untestable", "backups.key_lost",
    "backups.goal_back",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: which problem, what and why in one sentence, what to do in another."""

    code: str
    bad: bool
    said: str
    todo: str
    since: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only."""
        since = self.since.isoformat() if self.since else None
        return {"code": self.code, "bad": self.bad, "said": self.said, "todo": self.todo, "since": since}


@dataclass(frozen=True, slots=True)
class Taken:
    """One good backup: whole, verified, and in its store as far as is known."""

    taken_at: datetime
    slot: datetime
    size: int
    members: int
    rows: int
    seconds: float = 0.0  # how long the run took
    proven: bool = False
    readable: bool = True  # some key that we hold opens it


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run or a test ended."""

    at: datetime
    said: str
    verdict: str = ""  # of a test: proven, failed, unproven; of a backup: done, failed
    rung: int | None = None  # of a failed test, 1 to 7


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """All that the judgement of one plan needs; fetched once, nothing here touches the world."""

    name: str
    schedule: Schedule
    time_zone: str
    expected_from: datetime
    prove_every: timedelta
    source: str
    store: str
    source_domain: Mapping[str, str]
    store_domain: Mapping[str, str]
    owner: str = ""
    owner_active: bool = False
    paused_at: datetime | None = None
    goal_loss: timedelta | None = None
    goal_back: timedelta | None = None
    good: tuple[Taken, ...] = ()  # newest first, HISTORY + 1 are enough
    last: Ended | None = None  # the latest backup that ended by itself
    active_since: datetime | None = None  # of the backup under way
    active_waits: bool = False  # no worker has taken it yet
    lost: int = 0  # backups found missing or changed since the last proof
    lost_at: datetime | None = None
    lost_said: str = ""
    test: Ended | None = None  # the latest test with a verdict
    proven_at: datetime | None = None
    proven_taken_at: datetime | None = None
    proven_seconds: float | None = None
    store_trouble: str = ""
    unreadable: int = 0  # good backups that no key we hold opens
    noticed: tuple[tuple[str, str, str], ...] = ()  # code, what is so and what to do, of the newest good backup


def grace(facts: PlanFacts, now: datetime) -> timedelta:
    """Return how long after its moment a backup may be missing: an eighth of the widest gap, and twice the last run."""
    gap = widest_gap(facts.schedule, facts.time_zone, now)
    usual = timedelta(seconds=2 * facts.good[0].seconds) if facts.good else timedelta()
    return min(max(gap / 8, LEAST_GRACE), MOST_GRACE) + usual


def deadline(facts: PlanFacts, now: datetime) -> datetime:
    """Return by when the next good backup must be there."""
    # What is dated ahead of now was taken while the clock was wrong; it must not excuse what is missing today.
    # What was caught up late stands for every moment until it was taken.
    past = [
        max(taken.slot, min(taken.taken_at, now)) if taken.taken_at <= now + AHEAD else taken.slot
        for taken in facts.good
        if taken.slot <= now
    ]
    base = max([min(facts.expected_from, now), *past])
    by = following(facts.schedule, facts.time_zone, base)
    if facts.active_since is not None:
        by = max(by, facts.active_since)  # what was due while everything was down is being caught up
    return by + grace(facts, now)


def stale_at(facts: PlanFacts, now: datetime) -> datetime | None:
    """Return when the newest proof is too old; None when there is none."""
    if facts.proven_at is None:
        return None
    if facts.proven_at > now + AHEAD:
        return now - AHEAD  # dated while the clock was wrong: it proves nothing about today
    return facts.proven_at + facts.prove_every + grace(facts, now)


def shared(source: Mapping[str, str], store: Mapping[str, str]) -> str:
    """Return what source and store have in common that one event could take away, or "" when nothing.

    Another provider is apart. With one provider, both the account (who can delete) and the place (what can burn) must
    be known and differ. Unknown counts as the same.
    """

    def differ(part: str) -> bool:
        one, two = source.get(part, "").casefold(), store.get(part, "").casefold()
        return bool(one and two and one != two)

    if differ("provider"):
        return ""
    account, place = differ("account"), differ("region") or differ("site")
    if account and place:
        return ""
    known = [
        part for part in PARTS if source.get(part) and source.get(part, "").casefold() == store.get(part, "").casefold()
    ]
    if known[1:] and known[0] == "provider":
        known = known[1:]  # the narrower says it
    if known:
        return ", ".join(f"{part} {source[part]}" for part in known)
    return "place" if account else "account" if place else "unknown"


def faults(facts: PlanFacts, now: datetime) -> list[Fault]:
    """Return everything that is wrong with a plan, the worst first."""
    found = [*_runs(facts, now), *_content(facts), *_proofs(facts, now), *_frame(facts, now)]
    return sorted(found, key=lambda fault: not fault.bad)


def verdict(facts: PlanFacts, found: list[Fault], now: datetime) -> tuple[Verdict, str]:
    """Return how the plan stands and the sentence for it."""
    if found:
        worst = found[0]
        return (Verdict.BAD if worst.bad else Verdict.WARN), f"{worst.said} {worst.todo}".strip()
    if facts.proven_at is None or not facts.good:
        if facts.paused_at:
            return Verdict.NONE, "Paused before its first backup."
        first = following(facts.schedule, facts.time_zone, facts.expected_from)
        if facts.active_since:
            return Verdict.NONE, "The first backup is under way."
        return Verdict.NONE, f"No backup yet: the first is due {words.moment(first)}."
    age = words.ago(facts.proven_at, now)
    back = f", back within {words.took(facts.proven_seconds)}" if facts.proven_seconds is not None else ""
    return Verdict.OK, f"Restore proven {age}{back}."


def stands(
    *, files: bool, fresh: bool, ever: bool, troubles: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Standing, Mapping[str, Any] | None]]:
    """Yield a plan's three claims, how each stands and the worst that is against it: S1, S4 or S5, S6 of mission.md.

    `files`: it keeps files, not a database. `fresh`: its proof is young enough. `ever`: it was proven at least once.
    """
    for claim, codes in (("S1", None), ("S5" if files else "S4", LOSING | PROOF), ("S6", PROOF)):
        against = [one for one in troubles if codes is None or one["code"] in codes]
        if not against and fresh:
            standing = Standing.PROVEN
        elif not ever and not any(one["bad"] for one in against):
            standing = Standing.UNPROVEN
        else:
            standing = Standing.AT_RISK
        yield claim, standing, against[0] if against else None


def _runs(facts: PlanFacts, now: datetime) -> Iterable[Fault]:
    if facts.store_trouble:
        yield Fault("backups.store", True, f"The store {facts.store} cannot be read: {facts.store_trouble}", "")
    if facts.last and facts.last.verdict == "failed":
        yield Fault(
            "backups.failed", True, f"The backup of {words.moment(facts.last.at)} failed: {facts.last.said}",
            "Earlier backups were not touched." if facts.good else "There is no backup yet.", facts.last.at,
        )  # fmt: skip
    if facts.paused_at is None and now > (by := deadline(facts, now)):
        late = words.lasting(by, now)
        doing = "Back up now. If the run only waits, no worker is there: restart Mainstay."
        if facts.active_since and facts.active_waits:
            doing = (
                f"A run waits since {words.moment(facts.active_since)} and no worker has taken it: check that a worker "
                "runs, or restart Mainstay."
            )
        elif facts.active_since:
            doing = (
                f"A run is on since {words.moment(facts.active_since)} and has not finished; look at it, or stop it."
            )
        if facts.good:
            newest = words.moment(facts.good[0].taken_at)
            said = f"The backup is late by {late}: the newest is of {newest}."
            yield Fault("backups.late", True, said, doing, by)
        elif facts.lost:
            yield Fault("backups.late", True, f"The backup is late by {late}: no whole one is left.", doing, by)
        else:
            yield Fault(
                "backups.never_ran", True, f"No backup was ever finished; the first is {late} overdue.", doing, by
            )
    if facts.lost:
        many = f"{facts.lost:,} backups are" if facts.lost > 1 else "One backup is"
        yield Fault(
            "backups.lost", True, f"{many} gone from {facts.store} or changed there: {facts.lost_said}",
            "Find out who can delete there, back up now, and use a store with object lock.", facts.lost_at,
        )  # fmt: skip
    if facts.unreadable:
        yield Fault(
            "backups.key_lost", True,
            f"{facts.unreadable:,} of the newest backups are encrypted for a key that is not here: nothing opens them.",
            "Bring the age identity back from your printed recovery key.",
        )  # fmt: skip


def _content(facts: PlanFacts) -> Iterable[Fault]:
    if not facts.good:
        return
    for code, said, todo in facts.noticed:
        yield Fault(code, False, said, todo, facts.good[0].taken_at)
    newest, before = facts.good[0], facts.good[1 : HISTORY + 1]
    if not newest.members or not newest.rows:
        what = "no table and no file" if not newest.members else "not a single row or byte"
        yield Fault(
            "backups.empty", True, f"The backup of {words.moment(newest.taken_at)} holds {what}.",
            f"Check that {facts.source} names the right database or folder and that its user may read everything.",
            newest.taken_at,
        )  # fmt: skip
        return
    if not before:
        return
    size, rows = median(taken.size for taken in before), median(taken.rows for taken in before)
    members = median(taken.members for taken in before)
    said = ""
    if newest.rows < ROWS_BAND * rows:
        said = f"{newest.rows:,} rows or bytes of content instead of {rows:,.0f}"
    elif newest.members < ROWS_BAND * members:
        said = f"{newest.members:,} tables or files instead of {members:,.0f}"
    elif newest.size < SIZE_BAND * size and size - newest.size > SMALL:
        said = f"{words.size(newest.size)} instead of {words.size(size)}"
    if said:
        yield Fault(
            "backups.shrunk", True, f"The backup of {words.moment(newest.taken_at)} is smaller than before: {said}.",
            f"Check that nothing was deleted in {facts.source} and that its user may still read everything.",
            newest.taken_at,
        )  # fmt: skip


def _proofs(facts: PlanFacts, now: datetime) -> Iterable[Fault]:
    test, stale = facts.test, stale_at(facts, now)
    if test and test.verdict == "failed":
        rung = f' at "{RUNGS[test.rung - 1]}"' if test.rung else ""
        yield Fault(
            "backups.proof_failed", True, f"The restore test of {words.moment(test.at)} failed{rung}: {test.said}",
            "Read the evidence, mend the cause, then test a restore of the newest backup.", test.at,
        )  # fmt: skip
    elif test and test.verdict == "unproven":
        yield Fault("backups.untestable", False, f"It cannot be tested here: {test.said}", "", test.at)
    elif facts.good and facts.proven_at is None:
        yield Fault(
            "backups.unproven",
            False,
            "No restore of it was ever proven.",
            "Test a restore now.",
            facts.good[-1].taken_at,
        )
    if stale is not None and now > stale:
        yield Fault(
            "backups.stale", False,
            f"The last proof is of {words.moment(facts.proven_at or now)}, older than its policy of "
            f"{words.took(facts.prove_every)}.",
            "Test a restore now.", stale,
        )  # fmt: skip
    if facts.goal_loss and facts.proven_taken_at and now - facts.proven_taken_at > facts.goal_loss:
        yield Fault(
            "backups.goal_loss", False,
            f"Lost now, {words.took(now - facts.proven_taken_at)} of data would be gone for certain; the goal is "
            f"{words.took(facts.goal_loss)}.",
            "Back up and prove more often, or change the goal.", facts.proven_taken_at + facts.goal_loss,
        )  # fmt: skip
    if facts.goal_back and facts.proven_seconds is not None and facts.proven_seconds > facts.goal_back.total_seconds():
        yield Fault(
            "backups.goal_back", False,
            f"The last restore took {words.took(facts.proven_seconds)}; the goal is {words.took(facts.goal_back)}.",
            "Use a faster store or a smaller source, or change the goal.",
        )  # fmt: skip


def _frame(facts: PlanFacts, now: datetime) -> Iterable[Fault]:
    if not facts.owner_active:
        who = f"Its owner {facts.owner} has left." if facts.owner else "Nobody owns it."
        yield Fault("backups.no_owner", False, who, "Choose an owner who answers for it.")
    if common := shared(facts.source_domain, facts.store_domain):
        same = {
            "unknown": f"It is not known that {facts.store} is apart from {facts.source}",
            "place": f"It is not known that {facts.store} is in another place than {facts.source}",
            "account": f"It is not known that {facts.store} belongs to another account than {facts.source}",
        }.get(common, f"{facts.store} and {facts.source} share {common}")
        doing = "Use a store with another provider, or in another account and region, and say so in its settings."
        if common in {"unknown", "place", "account"}:
            what = {"place": "region or place", "account": "account"}.get(common, "provider, account and region")
            doing = f"Write the {what} of both into the plan (source) and the store, or use a store that is elsewhere."
        yield Fault("backups.same_domain", False, f"{same}: one fire, theft or stolen key could take both.", doing)
    if facts.paused_at and now - facts.paused_at > PAUSED_TOO_LONG:
        yield Fault(
            "backups.paused", False, f"It is paused since {words.moment(facts.paused_at)}: nothing new is backed up.",
            "Resume it, or remove it.", facts.paused_at,
        )  # fmt: skip
