"""The script that an admin pastes on a server: made from what is known of it, byte for byte the same each time."""

import base64
import gzip
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PARTS = {  # file beside the gate: from which level on, of what, why
    "dump": ("operate", ("dump.py",), "What lends one read-only moment of a database of this server."),
    "access": ("manage", ("sshd.py", "look.py", "guard.py", "access.py"),
               "What changes who may sign in, once it has asked sshd what that would mean; a timer undoes it."),
}  # fmt: skip
LEVELS = ("observe", "operate", "manage")
ANYWHERE = "192.0.2.1"  # an address of nobody (RFC 5737), to ask sshd with where Mainstay's own is not known
SUDO = {
    "observe": "",
    "operate": ",\n# dump beside it (a further text), and /etc/sudoers.d/mainstay, by which it starts itself as root",
    "manage": ",\n# dump and access beside it (two further texts), /etc/sudoers.d/mainstay, by which it starts itself\n"
    "# as root, and, once a change of access is asked for, files in /etc/ssh/mainstay",
}


@dataclass(frozen=True, slots=True)
class Script:
    """What is pasted, its SHA-256 (hex, of the text as UTF-8), and the same as cloud-init's user data."""

    text: str
    sha256: str
    cloud_init: str


def gate_text() -> str:
    """Return the gate, which is the same at every level."""
    return (HERE / "gate.py").read_text(encoding="ascii")


def installed() -> dict[str, str]:
    """Return path → SHA-256 of the programs that the script of today installs."""
    texts = {"gate": gate_text(), **{name: part_text(name) for name in PARTS}}
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return {f"/usr/local/lib/mainstay/{name}": digest for name, digest in sums.items()}


def part_text(name: str) -> str:
    """Return a file that the gate's root half loads; names that are not made in it are the gate's."""
    _level, files, why = PARTS[name]
    heads, body = "", ""
    for file in files:
        head, marker, rest = (HERE / file).read_text(encoding="ascii").partition("\n# --- ")
        heads += head
        body += f"\n{marker}{rest.rstrip()}\n"
    about = f'"""{why}\n\nThe gate loads it, and has all the names that are not made here."""\n\n'
    lines = sorted(set(re.findall(r"(?m)^import \w+$", heads)))
    return about + "\n".join(["from __future__ import annotations", "", *lines, body])


def make(*, server: str, public_key: str, level: str, seen_from: Sequence[str], gate: str | None = None) -> Script:
    """Return the install script of one server. Raises ValueError for a value that has no business in a script.

    `seen_from` are the addresses or networks from which the server sees Mainstay; without any, the key works from
    everywhere. Each value is checked against the narrowest form it can have, for all of it becomes shell.
    """
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", server):
        raise ValueError("a server's id is a UUID")
    if not re.fullmatch(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}", public_key):
        raise ValueError("a server's public key is Ed25519, without a comment")
    if level not in LEVELS:
        raise ValueError("a level is observe, operate or manage")
    if not all(re.fullmatch(r"[0-9a-f:./]+", one) for one in seen_from):
        raise ValueError("an address from which the server sees Mainstay is an IP address or network")
    networks = [ipaddress.ip_network(one) for one in seen_from]
    places = [str(net.network_address) if net.num_addresses == 1 else str(net) for net in networks]
    text = gate_text() if gate is None else gate
    parts = {name: part_text(name) for name in PARTS if LEVELS.index(PARTS[name][0]) <= LEVELS.index(level)}
    sums = {name: hashlib.sha256(part.encode()).hexdigest() for name, part in parts.items()}
    for part in (text, *parts.values()):
        if "MAINSTAY_END\n" in part or not re.fullmatch(r"[\n -~]+\n", part):
            raise ValueError("the gate is plain ASCII without tabs")
    found = {
        "LEVEL": level,
        "SERVER": server,
        "PUBLIC_KEY": public_key,
        "ADDRESS": str(networks[0].network_address) if networks else ANYWHERE,
        "FROM": f'from="{",".join(places)}",' if places else "",
        "AND_SUDO": SUDO[level],
        "GATE_SHA256": hashlib.sha256(text.encode()).hexdigest(),
        "GATE": text.removesuffix("\n"),
        "PARTS": "".join(f"cat >\"$stage/{name}\" <<'MAINSTAY_END'\n{parts[name]}MAINSTAY_END\n" for name in parts),
        "NAMES": " ".join(parts),
        "DIGESTS": ",".join(f'\n"{name}": "{digest}"' for name, digest in sums.items()),
        "SUMS": " ".join(f"\\\n  {digest} {name}" for name, digest in sums.items()),
        "AND_PARTS": "".join(f",\nof {name} beside it {digest}" for name, digest in sums.items()),
    }
    written = re.sub("@([A-Z_0-9]+)@", lambda match: found[match[1]], (HERE / "install.sh").read_text(encoding="ascii"))
    return Script(text=written, sha256=hashlib.sha256(written.encode()).hexdigest(), cloud_init=cloud_init(written))


def cloud_init(script: str) -> str:
    """Return cloud-init's user data that runs a script once, as root. Packed, because clouds take 16 to 64 KiB."""
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    return (
        "#cloud-config\n"
        f"# Runs the script whose SHA-256 is {hashlib.sha256(script.encode()).hexdigest()}; read it in Mainstay.\n"
        "write_files:\n"
        '  - {path: /run/mainstay.sh, permissions: "0700", encoding: gz+b64, content: ' + packed + "}\n"
        "runcmd:\n"
        "  - [sh, /run/mainstay.sh]\n"
    )
