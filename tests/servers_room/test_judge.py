"""How a server stands: data in, verdict out."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.core.claims import Verdict
from apps.servers import judge, problems, thresholds
from apps.servers.judge import Fault, Known
from apps.servers.thresholds import State
from tests.conftest import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WELL = Known(
    name="web-1", pinned=True, reached_at=NOW, skew=0.3, values={"disk:/": 0.4}, facts_at=NOW, security=0,
    lists_at=NOW - HOUR, system="Debian 12", end_of_life=(NOW + 400 * DAY).date(),
)  # fmt: skip
RAISED = {"disk:/": State(raised=True, since=NOW - HOUR, seen=NOW)}
SOON = ("disk:/srv", NOW + 3 * DAY, NOW + 2 * DAY, NOW + 5 * DAY)

FAULTS: dict[str, tuple[str, bool, Mapping[str, Any], str]] = {
    "changed key": ("servers.host_key", True, {"changed_key": "SHA256:other"}, "SHA256:other, which is not the pinned"),
    "stop without a key": (
        "servers.host_key", True, {"failure": "host_key", "failing_since": NOW - HOUR}, "once you say so",
    ),
    "away": (
        "servers.unreachable", True,
        {"failure": "timeout", "failing_since": NOW - HOUR, "failure_said": "10.0.0.5 does not answer."},
        "10.0.0.5 does not answer. Since 1 h",
    ),
    "refuses": (
        "servers.refused", True, {"failure": "gate", "failing_since": NOW - HOUR, "failure_said": "No gate."}, "No gate"
    ),
    "fails without a word": ("servers.refused", True, {"failure": "x", "failing_since": NOW}, "could not be asked"),
    "disk": ("servers.resource", False, {"values": {"disk:/": 0.95}, "states": RAISED}, "The disk / is 95 % full"),
    "full soon": ("servers.full_soon", False, {"full": [SOON]}, "in about 3 days, between 2 days and 5 days, if it"),
    "full soon, no end": ("servers.full_soon", False, {"full": [(*SOON[:3], None)]}, "2 days and much later, if"),
    "full now": ("servers.full_soon", False, {"full": [("disk:/", NOW - HOUR, NOW - HOUR, NOW)]}, "/ will be full"),
    "inodes soon": ("servers.full_soon", False, {"full": [("inodes:/", *SOON[1:])]}, "The inodes of / will be used up"),
    "updates": ("servers.updates", False, {"security": 3, "security_since": NOW - 8 * DAY}, "3 security updates wait"),
    "old lists": ("servers.updates", False, {"lists_at": NOW - 20 * DAY}, "Its package lists are 20 days old"),
    "reboot": ("servers.reboot", False, {"reboot": "The kernel was updated."}, "The kernel was updated."),
    "end of life": ("servers.end_of_life", True, {"end_of_life": (NOW - DAY).date()}, "last security update on 22 Nov"),
    "clock ahead": ("servers.clock", False, {"skew": 172800.0}, "2 days ahead"),
    "clock behind": ("servers.clock", False, {"skew": -90.0}, "behind"),
}  # fmt: skip


def said(known: Known, now: datetime = NOW) -> list[Fault]:
    """Return the faults."""
    return judge.faults(known, now)


@pytest.mark.parametrize("case", FAULTS)
def test_every_fault_is_found_with_its_sentence(case: str) -> None:
    code, bad, fields, words = FAULTS[case]
    known = replace(WELL, **fields)
    (fault,) = said(known)
    assert (fault.code, fault.bad) == (code, bad)
    assert words in fault.said
    assert fault.said.endswith(".")
    verdict, sentence = judge.verdict(known, [fault], NOW)
    assert (verdict, sentence) == ((Verdict.BAD if bad else Verdict.WARN), fault.said)


def test_every_fault_is_a_declared_problem_and_every_problem_can_be_found() -> None:
    assert {code for code, *_ in FAULTS.values()} == {problem.code for problem in problems.PROBLEMS}


def test_a_fresh_answer_without_a_fault_is_well() -> None:
    assert said(WELL) == []
    assert judge.verdict(WELL, [], NOW)[0] is Verdict.OK


@pytest.mark.parametrize("silence", [timedelta(minutes=6), 30 * DAY])
def test_silence_is_unknown_and_never_well(silence: timedelta) -> None:
    verdict, sentence = judge.verdict(WELL, said(WELL, NOW + silence)[:0], NOW + silence)
    assert verdict is Verdict.NONE
    assert "last heard of" in sentence


def test_a_server_that_never_answered_is_unknown_and_says_what_is_missing() -> None:
    new = Known(name="web-1", pinned=False)
    assert judge.verdict(new, said(new), NOW) == (Verdict.NONE, "Its host key is not confirmed yet.")
    pinned = replace(new, pinned=True)
    assert judge.verdict(pinned, said(pinned), NOW) == (Verdict.NONE, "It has not answered yet.")


def test_another_host_key_hides_everything_else_because_nothing_else_can_be_believed() -> None:
    everything: dict[str, Any] = {}
    for _, _, fields, _ in FAULTS.values():
        everything |= fields
    assert [fault.code for fault in said(replace(WELL, **everything))] == ["servers.host_key"]


def test_what_was_true_before_the_silence_is_not_repeated_as_true_now() -> None:
    away = replace(WELL, failure="timeout", failing_since=NOW, values={"disk:/": 0.99}, states=RAISED)
    assert [fault.code for fault in said(away)] == ["servers.unreachable"]


def test_old_facts_say_nothing() -> None:
    old = replace(WELL, facts_at=NOW - 2 * DAY, security=9, security_since=NOW - 90 * DAY, reboot="The kernel.")
    assert said(old) == []
    assert said(replace(WELL, facts_at=None, reboot="The kernel.")) == []


def test_updates_of_this_week_and_a_forecast_of_next_month_are_no_trouble() -> None:
    assert said(replace(WELL, security=3, security_since=NOW - 6 * DAY)) == []
    assert said(replace(WELL, full=[("disk:/", NOW + 40 * DAY, NOW + 30 * DAY, None)])) == []
    assert said(replace(WELL, skew=-59.0)) == []


def test_the_worst_comes_first() -> None:
    found = said(replace(WELL, reboot="The kernel.", end_of_life=(NOW - DAY).date(), skew=900.0))
    assert [fault.code for fault in found] == ["servers.end_of_life", "servers.reboot", "servers.clock"]
    assert judge.verdict(WELL, found, NOW)[0] is Verdict.BAD


def test_a_limit_that_is_off_or_a_figure_that_is_gone_is_no_trouble() -> None:
    assert said(replace(WELL, states=RAISED, values={})) == []
    assert said(replace(WELL, states={"nonsense": State(raised=True)}, values={"nonsense": 1.0})) == []


def test_a_limit_raises_only_after_its_patience_and_clears_only_well_below_over_many_samples() -> None:
    rule = thresholds.DEFAULTS["disk"]
    state, raised = State(), []
    figures = [0.91] * 4 + [0.89] + [0.91] * 7 + [0.87] * 20 + [0.84] * 7
    for minute, value in enumerate(figures):
        state = thresholds.judge(rule, state, value, NOW + timedelta(minutes=minute))
        known = replace(WELL, values={"disk:/": value}, states={"disk:/": state})
        raised.append(bool(said(known, NOW + timedelta(minutes=minute))))
    first, last = raised.index(True), len(raised) - 1 - raised[::-1].index(True)
    assert first == 10  # five minutes after the dip, not after the first figure
    assert last == 36  # not at 87 %, and five minutes after it fell below 85 %
    assert all(raised[first : last + 1])
