"""Facts and samples of servers that say anything: strict, bounded, and unknown is never zero."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.servers.facts import parse, sample
from apps.servers.facts.read import MalformedError

TODAY = date(2026, 11, 23)
SAMPLE: dict[str, Any] = {
    "taken": 1790000000.5, "boot_id": "b1", "uptime": 1000.0,
    "cpu": {"count": 4, "user": 100, "nice": 0, "system": 50, "idle": 800, "iowait": 40, "irq": 0, "softirq": 5,
            "steal": 5},
    "load": [2.0, 1.0, 0.5],
    "memory": {"total": 1000, "available": 250, "swap_total": 0, "swap_free": 0},
    "pressure": {"cpu": 12.5, "memory": 0.0, "io": None},
    "disks": [
        {"path": "/", "size": 100, "free": 25, "inodes": 10, "inodes_free": 9, "read_only": False},
        {"path": "/cd", "size": 100, "free": 0, "inodes": 0, "inodes_free": 0, "read_only": True},
        {"path": "/btrfs", "size": 100, "free": 50, "inodes": 0, "inodes_free": 0, "read_only": False},
    ],
    "net": {"rx": 1000, "tx": 500}, "io": {"read": 0, "written": 4096}, "processes": 99, "failed": None,
}  # fmt: skip
FACTS: dict[str, Any] = {
    "taken": 1790000000.5, "boot_id": "b1", "booted": 1789990000.0, "hostname": "web-1", "kernel": "6.1.0-18-amd64",
    "arch": "x86_64", "cpus": 4, "memory": 4 << 30, "virtual": "kvm", "timezone": "UTC",
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)", "codename": "bookworm"},
    "systemd": "252", "python": "3.11", "openssh": "OpenSSH_9.2p1",
    "updates": {"key": "k1", "pending": 3, "security": 1, "names": ["openssl 3.0 → 3.1"], "lists_at": 1789999999.0,
                "manager": "apt"},
    "reboot": {"needed": True, "why": ["linux-image-6.1.0-19-amd64"]},
    "listeners": [{"proto": "tcp", "address": "0.0.0.0", "port": 22, "program": "sshd", "pid": 1, "user": "root"}],
    "services": [{"name": "ssh.service", "state": "active", "sub": "running", "enabled": "enabled", "since": 1.0,
                  "restart": "on-failure", "restarts": 0, "result": "success"}],
    "users": 2, "time_synced": True, "lacks": [],
}  # fmt: skip
NAMES = st.sampled_from([*SAMPLE, *FACTS, "path", "size", "free"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


def later(**changed: Any) -> dict[str, Any]:
    """Return a sample a minute later in which 2 of 4 cores were busy."""
    cpu = dict(SAMPLE["cpu"], user=100 + 12000, idle=800 + 11000, iowait=40 + 1000)
    return {**SAMPLE, "uptime": 1060.0, "cpu": cpu, "net": {"rx": 7000, "tx": 500}, **changed}


def facts(known: dict[str, Any] | None = None, **changed: Any) -> parse.Facts:
    return parse.parse({**FACTS, **changed}, known=known, today=TODAY)


def test_amounts_become_shares() -> None:
    measured = sample.parse(SAMPLE)
    assert measured.values == {
        "memory": 0.75, "disk:/": 0.75, "inodes:/": pytest.approx(0.1), "disk:/btrfs": 0.5, "load": 0.5,
        "pressure_cpu": 0.125, "pressure_memory": 0.0, "processes": 99.0,
    }  # fmt: skip
    assert measured.totals == {"memory": 1000, "disk:/": 100, "disk:/btrfs": 100}


def test_counters_become_figures_between_two_samples_of_one_start() -> None:
    before, now = sample.parse(SAMPLE), sample.parse(later())
    found = sample.figures(now, before)
    assert found["cpu"] == pytest.approx(0.5)
    assert found["iowait"] == pytest.approx(1 / 24)
    assert found["net_in"] == pytest.approx(100)
    assert found["net_out"] == 0
    assert "cpu" not in sample.figures(before, None)


@pytest.mark.parametrize("changed", [{"boot_id": "b2"}, {"uptime": 1000.0}, {"uptime": 9000.0}, {"uptime": 3.0}])
def test_another_start_or_a_long_gap_makes_no_figures(changed: dict[str, Any]) -> None:
    found = sample.figures(sample.parse(later(**changed)), sample.parse(SAMPLE))
    assert not {"cpu", "net_in", "io_read"} & set(found)


def test_counters_that_fell_are_no_figures() -> None:
    cpu = dict(later()["cpu"], idle=1)
    found = sample.figures(sample.parse(later(cpu=cpu, net={"rx": 1, "tx": 501})), sample.parse(SAMPLE))
    assert "cpu" not in found
    assert "net_in" not in found
    assert found["net_out"] == pytest.approx(1 / 60)


@pytest.mark.parametrize("name", ["taken", "uptime"])
@pytest.mark.parametrize("value", [None, "", True, -1, [], {}, float("nan"), 1e300])
def test_a_sample_without_its_moment_is_refused(name: str, value: object) -> None:
    with pytest.raises(MalformedError):
        sample.parse({**SAMPLE, name: value})


def test_what_is_not_measured_is_not_there() -> None:
    assert sample.parse({"taken": 1.0, "boot_id": "b", "uptime": 1.0}).values == {}


@given(ANYTHING)
def test_any_sample_is_parsed_or_refused_and_its_shares_are_shares(found: object) -> None:
    given_sample = {**SAMPLE, **found} if isinstance(found, dict) else dict.fromkeys(SAMPLE, found)
    try:
        measured = sample.parse(given_sample)
    except MalformedError:
        return
    for name, value in sample.figures(measured, sample.parse(SAMPLE)).items():
        assert value >= 0
        assert value <= 1 or name.partition("_")[0] in {"load", "net", "io", "processes"}


def test_facts_are_kept_as_json_that_reads_back() -> None:
    data = facts().to_json()
    assert json.loads(json.dumps(data)) == data
    assert (data["system"], data["security"], data["pending"]) == ("Debian GNU/Linux 12 (bookworm)", 1, 3)
    assert data["end_of_life"] == "2028-06-30"
    assert data["reboot"] == "A reboot is due, for linux-image-6.1.0-19-amd64."
    assert data["listeners"][0]["program"] == "sshd"


def test_updates_that_did_not_change_are_those_kept_before() -> None:
    before = facts().to_json()
    after = facts(before, updates={"key": "k1", "unchanged": True})
    assert after.to_json()["updates"] == before["updates"]


@pytest.mark.parametrize("updates", [{"key": "k2", "unchanged": True}, {"unchanged": True}, None, [], {"pending": 1}])
def test_updates_that_nobody_can_know_are_unknown(updates: object) -> None:
    data = facts(facts().to_json(), updates=updates).to_json()
    assert data["updates"] is None
    assert data["security"] is None


def test_more_security_updates_than_updates_are_no_figure() -> None:
    assert facts(updates={"key": "k", "pending": 1, "security": 2}).updates is None


def test_an_unknown_reboot_is_unknown_and_none_is_empty() -> None:
    assert facts(reboot=None).reboot is None
    assert facts(reboot={"needed": "no"}).reboot is None
    assert facts(reboot={"needed": False}).reboot == ""


def test_lists_are_cut_and_wrong_rows_left_out() -> None:
    row = FACTS["listeners"][0]
    rows = [{**row, "port": port} for port in range(1, 2000)]
    assert len(facts(listeners=rows).listeners or ()) == parse.MOST_LISTENERS
    assert facts(listeners=[{**row, "port": 70000}, {**row, "proto": "sctp"}, 5, None]).listeners == []
    assert facts(listeners="many").listeners is None
    assert facts(services=[{"name": ""}, {"name": 5}, "x"]).services == []


def test_text_is_cut() -> None:
    assert len(facts(hostname="x" * 10000).hostname) == 253


@given(ANYTHING)
def test_any_facts_are_parsed_or_refused(found: object) -> None:
    given_facts = {**FACTS, **found} if isinstance(found, dict) else {**dict.fromkeys(FACTS, found), "taken": 1.0}
    try:
        kept = parse.parse(given_facts, known=found if isinstance(found, dict) else None, today=TODAY)
    except MalformedError:
        return
    assert len(json.dumps(kept.to_json())) < 400_000
