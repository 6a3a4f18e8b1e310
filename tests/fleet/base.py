"""The file systems below the servers: made once from the machine's own Debian archive, kept, and never written to."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fleet.machine import FleetError, run

HOME = Path(os.environ.get("FLEET_HOME", "/var/tmp/mainstay-fleet"))
PACKAGES = (
    "systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "iproute2", "cron", "procps",
    "python3", "libfaketime",
)  # fmt: skip
# what a kind of server has besides; "light" is a server without systemd
KINDS: dict[str, tuple[str, ...]] = {"debian": (), "light": (), "postgresql": ("postgresql",)}
VERSION = "1"  # raise it when what is made below changes
# package, version installed, version pending, what the pending one is labelled
PENDING = (
    ("fleet-demo", "1.0", "1.1", "security"),
    ("fleet-demo-plain", "2.0", "2.1", "updates"),
)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the whole machine: one of several test processes at a time."""
    HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (HOME / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def base(kind: str) -> Path:
    """Return the folder with the base of a kind, made now if it is not there (a minute, and it asks the archive)."""
    wanted = (*PACKAGES, *KINDS[kind])
    digest = hashlib.sha256("\n".join([VERSION, *sorted(wanted), repr(PENDING)]).encode()).hexdigest()[:12]
    folder = HOME / f"base-{digest}"
    complete = HOME / f"base-{digest}.complete"
    if not complete.exists():
        with locked("base"):
            if not complete.exists():  # another process may have made it meanwhile
                shutil.rmtree(folder, ignore_errors=True)
                _make(folder, wanted)
                complete.touch()
    return folder


def _archive() -> tuple[str, str]:
    """Return the address and suite of the machine's own Debian archive."""
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    listed = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    for path in (path for path in listed if path.is_file()):
        text = path.read_text(encoding="utf-8")
        address = re.search(r"^URIs:\s*(\S+)|^deb\s+(?:\[[^]]*\]\s+)?(\S+)", text, re.MULTILINE)
        if address and suite:
            return address[1] or address[2], suite[1]
    raise FleetError("this machine's apt sources name no Debian archive")


def _make(folder: Path, packages: tuple[str, ...]) -> None:
    """Install a Debian system with these packages into a folder."""
    address, suite = _archive()
    run(
        "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/fleet-demo*", suite, folder, f"deb {address} {suite} main",
        timeout=900,
    )  # fmt: skip
    for key in (folder / "etc" / "ssh").glob("ssh_host_*"):
        key.unlink()  # each server makes its own
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service"):
        run("systemctl", f"--root={folder}", "mask", unit)
    journal = folder / "etc" / "systemd" / "journald.conf.d"
    journal.mkdir(exist_ok=True)
    (journal / "fleet.conf").write_text("[Journal]\nStorage=persistent\nSystemMaxUse=16M\n", encoding="ascii")
    (folder / "var" / "log" / "journal").mkdir(exist_ok=True)
    (folder / "etc" / "resolv.conf").write_text("", encoding="ascii")
    (folder / "etc" / "machine-id").write_text("", encoding="ascii")
    (folder / "etc" / "default" / "locale").write_text("LANG=C.UTF-8\n", encoding="ascii")
    _archive_of_its_own(folder)


def _archive_of_its_own(folder: Path) -> None:
    """Give the base an apt archive of files: a security and a plain update are always pending, and install offline."""
    archive = folder / "srv" / "archive"
    for package, installed, pending, kind in PENDING:
        (archive / kind).mkdir(parents=True)
        first = _package(archive, package, installed)
        run("chroot", folder, "dpkg", "-i", f"/srv/archive/{first.name}")
        deb = _package(archive / kind, package, pending)
        data = deb.read_bytes()
        index = (
            f"{_control(package, pending)}Filename: ./{deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        )
        (archive / kind / "Packages").write_text(index, encoding="ascii")
        label = "Debian-Security" if kind == "security" else "Debian"
        digest = hashlib.sha256(index.encode()).hexdigest()
        (archive / kind / "Release").write_text(
            f"Origin: Debian\nLabel: {label}\nSuite: stable-{kind}\nVersion: 12\nCodename: fleet-{kind}\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(index)} Packages\n",
            encoding="ascii",
        )
    for listed in (folder / "etc" / "apt" / "sources.list.d").iterdir():
        listed.unlink()  # no way out of the namespaces, so nothing else could be asked
    lines = [f"deb [trusted=yes] file:/srv/archive/{kind} ./\n" for *_, kind in PENDING]
    (folder / "etc" / "apt" / "sources.list").write_text("".join(lines), encoding="ascii")
    run("chroot", folder, "apt-get", "update")
    run("chroot", folder, "apt-get", "-s", "upgrade")  # warms apt's cache, once here instead of once a server


def _control(package: str, version: str) -> str:
    """Return a package's own description."""
    return (
        f"Package: {package}\nVersion: {version}\nArchitecture: all\nPriority: optional\nSection: misc\n"
        "Maintainer: fleet <root@localhost>\nDescription: a package with a pending update, for tests\n"
    )


def _package(where: Path, package: str, version: str) -> Path:
    """Build a package that holds one file, and return it."""
    tree = where / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(_control(package, version), encoding="ascii")
    documents = tree / "usr" / "share" / "doc" / package
    documents.mkdir(parents=True)
    (documents / "version").write_text(f"{version}\n", encoding="ascii")
    made = where / f"{package}_{version}_all.deb"
    run("dpkg-deb", "--build", "--root-owner-group", tree, made)
    shutil.rmtree(tree)
    return made
