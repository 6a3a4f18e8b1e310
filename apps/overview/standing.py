"""How things stand, as sentences: pure functions from what was read and the present moment."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from apps.core import words
from apps.core.claims import Claim, Need, Standing

MOST_NEEDS = 20  # shown one by one; the rest are counted
MOST_SEGMENTS = 48

NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
SET_UP = 4  # rank of needs that are only not set up yet


@dataclass(frozen=True, slots=True)
class Plans:
    """The live plans, counted."""

    total: int = 0
    proven: int = 0  # with a fresh proof that no later test contradicts
    bad: int = 0
    warn: int = 0  # no fault that loses data by itself, but no proof or no safety either
    tried: int = 0  # with at least one good backup
    newest_proof: datetime | None = None
    restored: int = 0  # with at least one backup that was once proven
    oldest_data: datetime | None = None  # the oldest of each plan's newest proven data
    oldest_of: str = ""  # the plan it belongs to
    slowest: float | None = None  # seconds of the slowest measured restore
    slowest_of: str = ""
    worst: str = ""  # the plan at risk that is the worst and has been so for longest
    worst_since: datetime | None = None

    @property
    def at_risk(self) -> int:
        """Return the plans at risk, however green their runs are."""
        return self.bad + self.warn


@dataclass(frozen=True, slots=True)
class Trouble:
    """The open incidents, counted."""

    number: int = 0
    bad: int = 0
    oldest: datetime | None = None
    last_closed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """The first page's sentence: the answer, then the work."""

    answer: str
    rest: str
    kind: str  # ok, warn, bad, none


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the strip: what it is, the figure with its unit, one line of meaning."""

    label: str
    parts: tuple[tuple[str, str], ...]  # (figure, unit) …: (("11", "min"), ("42", "s"))
    said: str
    kind: str  # ok, warn, bad, none, or "" without a mark
    url_name: str


@dataclass(frozen=True, slots=True)
class Line:
    """One claim over all its subjects."""

    id: str
    title: str
    claims: tuple[Claim, ...]  # the worst first

    @property
    def proven(self) -> int:
        """Return how many subjects are proven."""
        return sum(claim.standing is Standing.PROVEN for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Tally:
    """One claim over all its subjects, counted only."""

    id: str
    title: str
    counts: Mapping[Standing, int]

    @property
    def total(self) -> int:
        """Return how many subjects there are."""
        return sum(self.counts.values())

    @property
    def worst(self) -> Standing:
        """Return how the worst subject stands."""
        return min((state for state, number in self.counts.items() if number), key=_WORST_FIRST.__getitem__)

    @property
    def kind(self) -> str:
        """Return the mark of the worst subject."""
        return KINDS[self.worst]

    @property
    def said(self) -> str:
        """Return "5 of 6", or a word where there is one subject."""
        return self.worst.value if self.total == 1 else f"{self.counts.get(Standing.PROVEN, 0):,} of {self.total:,}"


KINDS = {Standing.PROVEN: "ok", Standing.AT_RISK: "bad", Standing.UNPROVEN: "none"}
SEGMENTS = {Standing.PROVEN: "", Standing.AT_RISK: "b", Standing.UNPROVEN: "n"}
_WORST_FIRST = {Standing.AT_RISK: 0, Standing.UNPROVEN: 1, Standing.PROVEN: 2}
GROUPS = {"S": "Stability", "C": "Security", "L": "Scale"}


def sentence(plans: Plans, trouble: Trouble, needs: Sequence[Need], now: datetime) -> Sentence:
    """Return the answer a founder came for, and what is to be done."""
    rest = work(needs)
    if not plans.total:
        return Sentence("Nothing is backed up yet.", rest, "none")
    if plans.bad or (plans.warn and plans.proven < plans.total):
        return Sentence(_risky(plans, now), rest, "bad" if plans.bad else "warn")
    if plans.proven < plans.total:
        if not plans.proven:
            answer = "Nothing is proven yet." if plans.tried else "Nothing is proven yet: no backup has run."
        else:
            answer = f"{_of(plans.total - plans.proven, plans.total)} not proven."
        return Sentence(answer, rest, "warn" if plans.proven or plans.tried else "none")
    answer = "Every backup is proven." if plans.total > 1 else "The backup is proven."
    if plans.warn:
        if plans.total == 1:
            return Sentence(f"{plans.worst or 'The backup'} is proven, but still at risk.", rest, "warn")
        return Sentence(
            f"{answer} {_number(plans.warn)} {'is' if plans.warn == 1 else 'are'} still at risk.", rest, "warn"
        )
    if trouble.number:
        return Sentence(
            f"{answer} {_number(trouble.number)} {_is(trouble.number, 'incident')} open.",
            rest,
            "bad" if trouble.bad else "warn",
        )
    return Sentence(answer, rest, "warn" if needs else "ok")


def stale_sentence(plans: Plans, at: datetime | None, tz: tzinfo, now: datetime) -> Sentence:
    """Return what is left to say when nobody has looked for a while."""
    if at is None:
        return Sentence("We do not know how things are.", "Nothing was looked at yet.", "none")
    when = words.clock(at, tz) if (now - at).total_seconds() < 20 * 3600 else words.ago(at, now, tz)
    were = "was" if plans.total == 1 else "were"
    known = f"{words.count(plans.proven)} of {words.plural(plans.total, 'backup')} {were} proven."
    return Sentence(
        "We do not know how things are.", f"At {when}, {known}" if plans.total else f"Last look: {when}.", "none"
    )


def work(needs: Sequence[Need]) -> str:
    """Return what needs a person, counted: "Four things need you." or "Nothing needs you."."""
    urgent = any(need.rank < SET_UP for need in needs)
    if urgent:
        return f"{_number(len(needs))} thing{' needs' if len(needs) == 1 else 's need'} you."
    later = len(needs)
    if later:
        return f"{_number(later)} {_is(later, 'thing')} still to set up."
    return "Nothing needs you."


def figures(plans: Plans, trouble: Trouble, now: datetime) -> list[Figure]:
    """Return the strip; only what was measured has a figure."""
    proven = Figure(
        "Restores proven",
        ((words.count(plans.proven), f"of {words.count(plans.total)}"),),
        f"Last proven {words.ago(plans.newest_proof, now)}" if plans.newest_proof else "None was ever proven",
        "ok" if plans.proven == plans.total else "bad" if plans.bad else "none",
        "backups",
    )
    risk = Figure(
        "Backups at risk",
        ((words.count(plans.at_risk), ""),),
        _risk(plans, now),
        "bad" if plans.bad else "warn" if plans.warn else "ok" if plans.proven == plans.total else "none",
        "backups",
    )
    unproven = plans.total - plans.restored
    if plans.oldest_data is None:
        said = "No backup was ever proven" if plans.tried else "No backup has finished"
        lose = Figure("Would lose at most", (("everything", ""),), said, "none", "backups")
    else:
        said = f"{_number(unproven)} never proven" if unproven else plans.oldest_of
        lose = Figure("Would lose at most", parts(words.coarse(now - plans.oldest_data)), said, "", "backups")
    if plans.slowest is None:
        back = Figure("Back within", (("unknown", ""),), "No restore was measured", "none", "backups")
    else:
        back = Figure("Back within", parts(words.took(plans.slowest)), plans.slowest_of, "", "backups")
    if trouble.number:
        said = f"The oldest for {words.lasting(trouble.oldest, now)}" if trouble.oldest else ""
    else:
        said = f"None for {words.lasting(trouble.last_closed, now)}" if trouble.last_closed else "None so far"
    kind = "bad" if trouble.bad else "warn" if trouble.number else ""
    return [
        proven,
        risk,
        lose,
        back,
        Figure("Open incidents", ((words.count(trouble.number), ""),), said, kind, "incidents"),
    ]


def lines(claims: Iterable[Claim]) -> list[Line]:
    """Return the claims grouped by id, each with its subjects, the worst first in both."""
    by_id: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_id[claim.id].append(claim)
    found = [
        Line(
            claim_id,
            members[0].title,
            tuple(sorted(members, key=lambda claim: (_WORST_FIRST[claim.standing], claim.subject))),
        )
        for claim_id, members in by_id.items()
    ]
    return sorted(found, key=lambda line: (_WORST_FIRST[line.claims[0].standing], line.id[0], int(line.id[1:] or 0)))


def tally(claims: Iterable[Claim]) -> list[Tally]:
    """Count claims by id."""
    titles: dict[str, str] = {}
    counts: dict[str, Counter[Standing]] = defaultdict(Counter)
    for claim in claims:
        titles[claim.id] = claim.title
        counts[claim.id][claim.standing] += 1
    return [Tally(claim_id, titles[claim_id], dict(found)) for claim_id, found in counts.items()]


def worst_first(found: Iterable[Tally]) -> list[Tally]:
    """Return the tallies with the worst first, then by id."""
    return sorted(found, key=lambda one: (_WORST_FIRST[one.worst], one.id[0], int(one.id[1:] or 0)))


def segments(found: Sequence[Tally]) -> list[list[tuple[str, str]]]:
    """Return the readiness strip in its groups: one segment a claim, or one an id when there are too many to see."""
    every = sum(one.total for one in found) <= MOST_SEGMENTS
    groups: dict[str, list[tuple[str, str]]] = {letter: [] for letter in GROUPS}
    for one in sorted(found, key=lambda one: int(one.id[1:] or 0)):
        cells = groups.setdefault(one.id[0], [])
        if every:
            for state in _WORST_FIRST:
                cells.extend([(SEGMENTS[state], f"{one.title} · {state.value}")] * one.counts.get(state, 0))
        else:
            cells.append((SEGMENTS[one.worst], f"{one.title} · {one.said}"))
    return [cells for cells in groups.values() if cells]


def counted(found: Iterable[Tally]) -> dict[Standing, int]:
    """Return how many claims stand how."""
    totals = dict.fromkeys(Standing, 0)
    for one in found:
        for state, number in one.counts.items():
            totals[state] += number
    return totals


def ranked(needs: Iterable[Need]) -> list[Need]:
    """Return the needs, the most urgent first: by rank, then what is bad, then what has lasted longest."""
    severity = {"bad": 0, "warn": 1}
    return sorted(
        needs,
        key=lambda need: (
            need.rank,
            severity.get(need.severity, 2),
            need.since.timestamp() if need.since else float("inf"),
        ),
    )


def _risk(plans: Plans, now: datetime) -> str:
    if plans.at_risk:
        return f"{plans.worst}{f', for {words.lasting(plans.worst_since, now)}' if plans.worst_since else ''}"
    if plans.proven < plans.total:
        return f"{_number(plans.total - plans.proven)} not proven yet"
    return "Every one is proven"


def _risky(plans: Plans, now: datetime) -> str:
    lasting = words.lasting(plans.worst_since, now) if plans.worst_since else ""
    if plans.at_risk == 1 and plans.worst:
        return f"{plans.worst} has been at risk for {lasting}." if lasting else f"{plans.worst} is at risk."
    worst = f", {plans.worst} for {lasting}" if lasting and plans.worst else ""
    return f"{_of(plans.at_risk, plans.total)} at risk{worst}."


def _of(some: int, total: int) -> str:
    if total == 1:
        return "The backup is"
    return f"{_number(some)} of {_number(total).lower()} backups {'is' if some == 1 else 'are'}"


def _is(number: int, noun: str) -> str:
    return f"{noun} is" if number == 1 else f"{noun}{'s' if noun else ''} are"


def _number(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else words.count(number)


def parts(text: str) -> tuple[tuple[str, str], ...]:
    """Return the figures of a duration, each with its unit: "11 min 42 s" → (("11", "min"), ("42", "s"))."""
    pieces = text.split(" ")
    return tuple((pieces[i], pieces[i + 1] if i + 1 < len(pieces) else "") for i in range(0, len(pieces), 2))
