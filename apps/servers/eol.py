"""Until when an operating system gets security updates, from its /etc/os-release; what is not known here is said so.

Sources, as of DATED: Debian and Ubuntu from the package distro-info-data, the others from their makers' pages as
endoflife.date gathers them (access.redhat.com, wiki.almalinux.org, wiki.rockylinux.org, alpinelinux.org,
aws.amazon.com, docs.fedoraproject.org). A test compares the first two with the installed package.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from apps.core import words

DATED = date(2026, 11, 23)
NEAR = 90  # days before the end that it is worth a word


class Support(StrEnum):
    """How a release stands."""

    FULL = "full"
    LONG = "long"  # the maker's team has handed over: fewer packages, or only with a (free or paid) contract
    ENDING = "ending"  # within 90 days
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Life:
    """The dates of a release: `until` for everybody without asking; `longer` with what `how` names."""

    until: date
    longer: date | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a server's system stands on a day."""

    name: str
    support: Support
    said: str
    until: date | None = None
    longer: date | None = None


def _life(until: str, longer: str = "", how: str = "") -> Life:
    return Life(date.fromisoformat(until), date.fromisoformat(longer) if longer else None, how)


LTS, PRO, ELS = "Debian LTS", "Ubuntu Pro (ESM)", "Extended Life Cycle Support"
RELEASES: dict[str, dict[str, Life]] = {
    "debian": {
        "8": _life("2018-06-17", "2020-06-30", LTS), "9": _life("2020-07-18", "2022-06-30", LTS),
        "10": _life("2022-09-10", "2024-06-30", LTS), "11": _life("2024-08-14", "2026-08-31", LTS),
        "12": _life("2026-07-11", "2028-06-30", LTS), "13": _life("2028-08-09", "2030-06-30", LTS),
    },
    "ubuntu": {
        "14.04": _life("2019-04-25", "2024-04-25", PRO), "16.04": _life("2021-04-30", "2026-04-23", PRO),
        "18.04": _life("2023-05-31", "2028-04-26", PRO), "20.04": _life("2025-05-29", "2030-04-23", PRO),
        "22.04": _life("2027-06-01", "2032-04-21", PRO), "23.10": _life("2024-07-11"),
        "24.04": _life("2029-05-31", "2034-04-25", PRO), "24.10": _life("2025-07-10"), "25.04": _life("2026-01-15"),
        "25.10": _life("2026-07-09"), "26.04": _life("2031-05-29", "2036-04-23", PRO),
    },
    "rhel": {
        "7": _life("2024-06-30", "2028-06-30", ELS), "8": _life("2029-05-31", "2032-05-31", ELS),
        "9": _life("2032-05-31", "2035-05-31", ELS), "10": _life("2035-05-31"),
    },
    "almalinux": {"8": _life("2029-03-01"), "9": _life("2032-05-31"), "10": _life("2035-05-31")},
    "rocky": {"8": _life("2029-05-31"), "9": _life("2032-05-31"), "10": _life("2035-05-31")},
    "centos": {"6": _life("2020-11-30"), "7": _life("2024-06-30"), "8": _life("2021-12-31")},
    "centos stream": {"8": _life("2024-05-31"), "9": _life("2027-05-31")},
    "amzn": {"2018.03": _life("2023-12-31"), "2": _life("2026-06-30"), "2023": _life("2029-06-30")},
    "alpine": {
        "3.16": _life("2024-05-23"), "3.17": _life("2024-11-22"), "3.18": _life("2025-05-09"),
        "3.19": _life("2025-11-01"), "3.20": _life("2026-04-01"), "3.21": _life("2026-11-01"),
        "3.22": _life("2027-05-01"), "3.23": _life("2027-11-01"),
    },
    "fedora": {
        "39": _life("2024-11-26"), "40": _life("2025-05-13"), "41": _life("2025-12-15"), "42": _life("2026-05-13"),
        "43": _life("2026-12-09"),
    },
}  # fmt: skip
_BY_MAJOR = {"debian", "rhel", "almalinux", "rocky", "centos", "centos stream"}
_ROLLING = {"arch", "gentoo", "void", "opensuse-tumbleweed", "nixos"}


def os_release(text: str) -> dict[str, str]:
    """Return the fields of an os-release file (man os-release); what is no assignment is left out."""
    fields = {}
    for line in text[:16384].splitlines():
        found = re.fullmatch(r"\s*([A-Z][A-Z0-9_]*)=(.*?)\s*", line)
        if found:
            value = found[2]
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = re.sub(r'\\([\\"$`])', r"\1", value[1:-1])
            fields[found[1]] = "".join(c for c in value if c.isprintable())[:200]
    return fields


def judge(fields: Mapping[str, str], today: date, *, contract: bool = False) -> Verdict:
    """Return how a system stands: `fields` of os-release, `contract` whether Pro, ESM or ELS is known to be on."""
    name = fields.get("PRETTY_NAME") or fields.get("NAME") or "This system"
    life = _found(fields)
    if life is None:
        maker = fields.get("ID", "")
        why = "has no end: it rolls on." if maker in _ROLLING else "is not in our table of ends of life."
        return Verdict(name, Support.UNKNOWN, f"{name} {why}")
    free_longer = life.how == LTS  # Debian LTS comes from the same archive, to everybody
    until = life.longer if life.longer and (free_longer or contract) else life.until
    if today > until:
        said = f"{name} has got no security updates since {_day(until)}: move to a newer release."
        if life.longer and today <= life.longer and until == life.until:
            said = (
                f"{name} gets security updates only with {life.how} since {_day(until)}: turn that on, or move to a "
                "newer release."
            )
        return Verdict(name, Support.ENDED, said, until, life.longer)
    left = (until - today).days
    if left <= NEAR:
        said = f"{name} gets security updates for {words.plural(left, 'more day', 'more days')}, until {_day(until)}."
        return Verdict(name, Support.ENDING, said, until, life.longer)
    if today > life.until:
        said = f"{name} gets security updates until {_day(until)}, from {life.how}."
        return Verdict(name, Support.LONG, said, until, life.longer)
    return Verdict(name, Support.FULL, f"{name} gets security updates until {_day(until)}.", until, life.longer)


def _found(fields: Mapping[str, str]) -> Life | None:
    maker, version = fields.get("ID", "").lower(), fields.get("VERSION_ID", "")
    if maker == "centos" and "stream" in fields.get("NAME", "").lower():
        maker = "centos stream"
    if maker in _BY_MAJOR:
        version = version.partition(".")[0]
    elif maker == "alpine":
        version = ".".join(version.split(".")[:2])
    return RELEASES.get(maker, {}).get(version)


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
