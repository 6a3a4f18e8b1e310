"""Tests of the first page's sentences: data in, verdict out."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.claims import Claim, Need, Standing
from apps.overview import standing
from apps.overview.standing import Plans, Trouble

NOW = datetime.fromisoformat("2026-11-23T09:41:00+00:00")
DAY = timedelta(days=1)
CALM = Trouble()


def need(rank: int = 1, severity: str = "warn", title: str = "x", since: datetime | None = None) -> Need:
    return Need(rank, severity, title, "why", "Do it", "/x", since)


def claim(claim_id: str = "S6", state: Standing = Standing.PROVEN, subject: str = "shop") -> Claim:
    return Claim(claim_id, f"title of {claim_id}", subject, state, "said", "/x")


@pytest.mark.parametrize(
    ("plans", "trouble", "needs", "said", "kind"),
    [
        (Plans(), CALM, [], "Nothing is backed up yet. Nothing needs you.", "none"),
        (Plans(), CALM, [need(4), need(4)], "Nothing is backed up yet. Two things are still to set up.", "none"),
        (Plans(total=1), CALM, [], "Nothing is proven yet: no backup has run. Nothing needs you.", "none"),
        (Plans(total=1, tried=1), CALM, [], "Nothing is proven yet. Nothing needs you.", "warn"),
        (Plans(total=1, proven=1, tried=1), CALM, [], "The backup is proven. Nothing needs you.", "ok"),
        (Plans(total=6, proven=6, tried=6), CALM, [], "Every backup is proven. Nothing needs you.", "ok"),
        (Plans(total=6, proven=6, tried=6), CALM, [need()], "Every backup is proven. One thing needs you.", "warn"),
        (
            Plans(total=6, proven=6, tried=6),
            CALM,
            [need(), need(), need(4)],
            "Every backup is proven. Three things need you.",
            "warn",
        ),
        (
            Plans(total=6, proven=6, warn=2, tried=6),
            CALM,
            [need()],
            "Every backup is proven. Two are still at risk. One thing needs you.",
            "warn",
        ),
        (
            Plans(total=1, proven=1, warn=1, tried=1, worst="Mainstay itself"),
            CALM,
            [need()],
            "Mainstay itself is proven, but still at risk. One thing needs you.",
            "warn",
        ),
        (Plans(total=6, proven=4, tried=6), CALM, [], "Two of six backups are not proven. Nothing needs you.", "warn"),
        (
            Plans(total=6, proven=5, bad=1, tried=6, worst="Analytics", worst_since=NOW - 42 * DAY),
            CALM,
            [need()],
            "Analytics has been at risk for 42 days. One thing needs you.",
            "bad",
        ),
        (
            Plans(total=6, proven=4, bad=2, tried=6, worst="Analytics", worst_since=NOW - 2 * DAY),
            CALM,
            [],
            "Two of six backups are at risk, Analytics for 2 days. Nothing needs you.",
            "bad",
        ),
        (
            Plans(total=6, proven=4, warn=2, tried=6, worst="Wiki", worst_since=NOW - 2 * DAY),
            CALM,
            [],
            "Two of six backups are at risk, Wiki for 2 days. Nothing needs you.",
            "warn",
        ),
        (
            Plans(total=1000, proven=980, bad=20, tried=1000),
            CALM,
            [],
            "20 of 1,000 backups are at risk. Nothing needs you.",
            "bad",
        ),
        (
            Plans(total=2, proven=2, tried=2),
            Trouble(1, 1, NOW),
            [],
            "Every backup is proven. One incident is open. Nothing needs you.",
            "bad",
        ),
        (
            Plans(total=2, proven=2, tried=2),
            Trouble(3, 0, NOW),
            [],
            "Every backup is proven. Three incidents are open. Nothing needs you.",
            "warn",
        ),
    ],
)
def test_the_first_page_opens_with_one_sentence(
    plans: Plans, trouble: Trouble, needs: list[Need], said: str, kind: str
) -> None:
    found = standing.sentence(plans, trouble, needs, NOW)
    assert f"{found.answer} {found.rest}" == said
    assert found.kind == kind


def test_when_nobody_looked_the_page_does_not_know() -> None:
    found = standing.stale_sentence(Plans(total=6, proven=5), NOW - timedelta(minutes=12), NOW.tzinfo, NOW)  # type: ignore[arg-type]
    assert (found.answer, found.rest) == ("We do not know how things are.", "At 09:29, 5 of 6 backups were proven.")
    assert found.kind == "none"
    never = standing.stale_sentence(Plans(), None, NOW.tzinfo, NOW)  # type: ignore[arg-type]
    assert never.rest == "Nothing was looked at yet."


COUNTS = st.integers(min_value=0, max_value=30)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.lists(st.integers(min_value=0, max_value=4), max_size=3))
def test_the_page_is_only_calm_when_everything_is_proven_and_nothing_needs_anyone(
    total: int, proven: int, bad: int, warn: int, incidents: int, ranks: list[int]
) -> None:
    proven, bad = min(proven, total), min(bad, total)
    plans = Plans(total=total, proven=proven, bad=bad, warn=min(warn, total - bad), tried=total)
    found = standing.sentence(plans, Trouble(incidents), [need(rank) for rank in ranks], NOW)
    assert (found.kind == "ok") == (total > 0 and proven == total and not plans.at_risk and not incidents and not ranks)


@given(COUNTS, COUNTS, COUNTS)
def test_the_figure_of_proven_restores_is_green_only_when_all_are(total: int, proven: int, bad: int) -> None:
    plans = Plans(total=total, proven=min(proven, total), bad=min(bad, total), tried=total)
    figure = standing.figures(plans, CALM, NOW)[0]
    assert (figure.kind == "ok") == (plans.proven == plans.total)


def test_what_was_never_measured_has_no_figure() -> None:
    figures = {figure.label: figure for figure in standing.figures(Plans(total=2), CALM, NOW)}
    assert figures["Back within"].parts == (("unknown", ""),)
    assert figures["Would lose at most"].parts == (("everything", ""),)
    assert figures["Restores proven"].said == "None was ever proven"


def test_figures_name_the_plan_they_are_of() -> None:
    plans = Plans(
        total=2,
        proven=2,
        tried=2,
        restored=2,
        oldest_data=NOW - timedelta(minutes=64),
        oldest_of="shop",
        slowest=702,
        slowest_of="wiki",
        newest_proof=NOW - timedelta(hours=6),
    )
    figures = {figure.label: figure for figure in standing.figures(plans, CALM, NOW)}
    assert figures["Would lose at most"].parts == (("1", "h"), ("04", "min"))
    assert figures["Would lose at most"].said == "shop"
    assert figures["Back within"].parts == (("11", "min"), ("42", "s"))
    assert figures["Back within"].said == "wiki"


def test_needs_are_sorted_by_what_is_at_stake_then_how_bad_then_how_long() -> None:
    wanted = [
        need(4, "bad", "e"),
        need(1, "warn", "d", NOW),
        need(1, "warn", "c", NOW - DAY),
        need(1, "bad", "b"),
        need(0, "warn", "a"),
    ]
    assert [one.title for one in standing.ranked(wanted)] == ["a", "b", "c", "d", "e"]


def test_a_claim_over_many_subjects_is_as_good_as_its_worst() -> None:
    lines = standing.lines(
        [claim(subject="a"), claim(subject="b", state=Standing.AT_RISK), claim("S1"), claim("S10", Standing.UNPROVEN)]
    )
    assert [line.id for line in lines] == ["S6", "S10", "S1"]
    assert [one.subject for one in lines[0].claims] == ["b", "a"]
    found = standing.worst_first(standing.tally(one for line in lines for one in line.claims))
    assert [(one.id, one.kind, one.said) for one in found] == [
        ("S6", "bad", "1 of 2"),
        ("S10", "none", "unproven"),
        ("S1", "ok", "proven"),
    ]


def test_many_claims_become_one_segment_a_line() -> None:
    lines = standing.tally([claim(subject=str(i)) for i in range(200)])
    assert [len(group) for group in standing.segments(lines)] == [1]
    few = standing.tally([claim(subject=str(i)) for i in range(4)] + [claim("C1")])
    assert [len(group) for group in standing.segments(few)] == [4, 1]


@given(st.lists(st.sampled_from(Standing), max_size=60))
def test_no_segment_is_solid_unless_everything_it_stands_for_is_proven(states: list[Standing]) -> None:
    lines = standing.tally([claim(subject=str(i), state=state) for i, state in enumerate(states)])
    solid = sum(kind == "" for group in standing.segments(lines) for kind, _ in group)
    assert solid <= sum(state is Standing.PROVEN for state in states)
    if len(states) > standing.MOST_SEGMENTS and any(state is not Standing.PROVEN for state in states):
        assert solid == 0
