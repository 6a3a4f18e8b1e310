"""What the tests need of the system: installed as root on Debian and Ubuntu, else named with what is skipped."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.command.say import Refusal, complain, say

# package -> what the tests do with it. Ubuntu's chromium is a snap, which no test can start.
NEEDED = {
    "postgresql": "the system's own PostgreSQL server as a source of backups",
    "chromium": "clicking through the pages",
    "age": "bringing backups back with Mainstay gone",
    "zstd": "bringing backups back with Mainstay gone",
    "sqlite3": "bringing backups back with Mainstay gone",
    "util-linux": "namespaces around restored databases",
    "mmdebstrap": "making Debian servers to log in to",
    "systemd-container": "making Debian servers to log in to",
    "iproute2": "making Debian servers to log in to",
    "openssh-server": "signing in to a real sshd",
    "sudo": "rules for people on a server",
    "openssh-client": "making Debian servers to log in to",
    "python3-venv": "making an environment from nothing",
}
NOT_ON_UBUNTU = {"chromium"}
POLICY = Path("/usr/sbin/policy-rc.d")  # asked by every package whether its service may start


def system() -> str:
    """Return "debian", "ubuntu", or "" for any other system."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = {line.partition("=")[2].strip('"') for line in lines if line.startswith("ID=")}
    return next(iter(names & {"debian", "ubuntu"}), "")


def wanted(name: str) -> list[str]:
    """Return the packages that this system can give."""
    return [package for package in NEEDED if not (name == "ubuntu" and package in NOT_ON_UBUNTU)]


def missing(packages: list[str]) -> list[str]:
    """Return those that are not installed."""
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    there = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in there]


def ensure(*, strict: bool) -> list[str]:
    """Install what is missing where that is possible; return what stays missing, having said what is skipped.

    With `strict` (CI) anything that stays missing is refused.
    """
    name = system()
    if not name or shutil.which("dpkg-query") is None:
        stays = list(NEEDED)
        why = "this is neither Debian nor Ubuntu"
    else:
        stays, why = missing(wanted(name)), "only root can install them"
        if stays and os.geteuid() == 0:
            install(stays)
            stays, why = missing(stays), "they could not be installed"
        stays += [package for package in NEEDED if package not in wanted(name)]
    for package in stays:
        because = "it is a snap on Ubuntu" if name == "ubuntu" and package in NOT_ON_UBUNTU else why
        say(f"Without {package} ({because}), what needs it is skipped: {NEEDED[package]}.")
    if stays and strict:
        raise Refusal(f"CI is set, so nothing may be skipped, but these packages are missing: {', '.join(stays)}.")
    return stays


def install(packages: list[str]) -> None:
    """Install packages without starting their services. Raises Refusal with apt's own reason."""
    complain(f"Installing {', '.join(packages)} …")
    calm = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_held():
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", *words], env=calm, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "no reason given")
        raise Refusal(f"{', '.join(packages)} could not be installed: {reason}. Nothing of Mainstay was changed.")


def program(name: str) -> str:
    """Return where a program is whose package has its name, installed if need be. Raises Refusal where it cannot be."""
    if shutil.which(name) is None and os.geteuid() == 0 and system():
        install([name])
    found = shutil.which(name)
    if found is None:
        raise Refusal(f"The program {name} is not here: install the package {name} and start again.")
    return found


@contextmanager
def services_held() -> Iterator[None]:
    """Keep packages from starting their services meanwhile: the tests start their own servers."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
