"""Ends of life: the right day for each system, and unknown for what is not in the table."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.servers import eol
from apps.servers.eol import Support, judge, os_release

TODAY = date(2026, 11, 23)
INFO = Path("/usr/share/distro-info")
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'


def stands(maker: str, version: str, today: date = TODAY, name: str = "", *, contract: bool = False) -> Support:
    """Return how a release stands on a day."""
    return judge({"ID": maker, "VERSION_ID": version, "NAME": name}, today, contract=contract).support


def test_debian_12_is_in_its_long_term_support() -> None:
    verdict = judge(os_release(DEBIAN), TODAY)
    assert verdict.support == Support.LONG
    assert verdict.said == ("Debian GNU/Linux 12 (bookworm) gets security updates until 30 Jun 2028, from Debian LTS.")


@pytest.mark.parametrize(
    ("maker", "version", "support"),
    [
        ("debian", "13", "full"), ("debian", "11", "ended"), ("debian", "", "unknown"), ("ubuntu", "24.04", "full"),
        ("ubuntu", "20.04", "ended"), ("ubuntu", "25.10", "ended"), ("ubuntu", "27.04", "unknown"),
        ("almalinux", "9.4", "full"), ("rocky", "8.10", "full"), ("rhel", "7.9", "ended"), ("centos", "7", "ended"),
        ("amzn", "2", "ended"), ("amzn", "2023", "full"), ("alpine", "3.21.4", "ended"), ("alpine", "3.22.1", "full"),
        ("fedora", "43", "ending"), ("fedora", "99", "unknown"), ("arch", "", "unknown"), ("", "", "unknown"),
    ],
)  # fmt: skip
def test_each_maker_has_its_own_rule(maker: str, version: str, support: str) -> None:
    assert stands(maker, version) == support


def test_extended_maintenance_counts_only_when_it_is_on() -> None:
    assert stands("ubuntu", "20.04", contract=True) == Support.LONG
    said = judge({"ID": "ubuntu", "VERSION_ID": "20.04", "PRETTY_NAME": "Ubuntu 20.04.6 LTS"}, TODAY).said
    assert said == (
        "Ubuntu 20.04.6 LTS gets security updates only with Ubuntu Pro (ESM) since 29 May 2025: turn that on, or move "
        "to a newer release."
    )


def test_centos_and_its_stream_are_two_systems() -> None:
    assert stands("centos", "9", name="CentOS Stream") == Support.FULL
    assert stands("centos", "8", name="CentOS Linux") == Support.ENDED


def test_the_last_day_is_still_covered() -> None:
    assert stands("ubuntu", "22.04", date(2027, 6, 1)) == Support.ENDING
    assert stands("ubuntu", "22.04", date(2027, 6, 2)) == Support.ENDED


def test_quotes_comments_and_nonsense_in_os_release_do_no_harm() -> None:
    fields = os_release('# c\nID=\'debian\'\nNAME="a \\"b\\" \\$c"\nEVIL=\x1b[31mx\nno line\nlower=1\n=3\n')
    assert fields == {"ID": "debian", "NAME": 'a "b" $c', "EVIL": "[31mx"}


@pytest.mark.skipif(not INFO.exists(), reason="the package distro-info-data is not installed")
@pytest.mark.parametrize(("maker", "longer"), [("debian", "eol-lts"), ("ubuntu", "eol-esm")])
def test_the_table_is_what_distro_info_says(maker: str, longer: str) -> None:
    with (INFO / f"{maker}.csv").open() as file:
        rows = {row["version"].removesuffix(" LTS"): row for row in csv.DictReader(file)}
    for version, life in eol.RELEASES[maker].items():
        near = abs(date.fromisoformat(rows[version]["eol"]) - life.until)
        assert near < timedelta(days=45), version  # makers move their days a little
        if life.longer:
            assert abs(date.fromisoformat(rows[version][longer]) - life.longer) < timedelta(days=45), version


@settings(deadline=None)  # a busy machine is no fault
@given(
    release=st.sampled_from(sorted(eol.RELEASES)).flatmap(
        lambda maker: st.tuples(st.just(maker), st.sampled_from(sorted(eol.RELEASES[maker])))
    ),
    today=st.dates(date(2010, 1, 1), date(2045, 1, 1)),
    contract=st.booleans(),
)
def test_nothing_comes_back_to_life(release: tuple[str, str], today: date, *, contract: bool) -> None:
    order = [Support.FULL, Support.LONG, Support.ENDING, Support.ENDED]
    maker, version = release
    maker, name = ("centos", "CentOS Stream") if maker == "centos stream" else (maker, "")
    one = stands(maker, version, today, name, contract=contract)
    two = stands(maker, version, today + timedelta(days=1), name, contract=contract)
    assert order.index(one) <= order.index(two)


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=300))
def test_whatever_a_server_says_its_system_is_one_sentence(text: str) -> None:
    assert judge(os_release(text), TODAY).said.endswith(".")
