"""The guard reads what a real sshd decides: `sshd -T -C` on configurations with lists, drop-ins and Match blocks."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apps.access.found import read
from apps.access.guard import Decision, decide
from apps.access.wanted import Lent, Wanted, WantedAccount
from tests.access.answers import account, answer, blob_of

SSHD = Path("/usr/sbin/sshd")
NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
DROP_IN = """
AuthorizedKeysFile /etc/ssh/mainstay/keys/%u .ssh/authorized_keys
Match User mainstay
    AuthorizedKeysFile /var/lib/mainstay/.ssh/authorized_keys
Match all
"""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SSHD.exists() or os.geteuid() != 0, reason="sshd -T needs OpenSSH's server, and root"),
]


def effective(folder: Path, config: str, user: str) -> dict[str, Any]:
    """Return what a real sshd says, in the form in which the gate answers it."""
    path, host_key = folder / "sshd_config", folder / "host_key"
    path.write_text(DROP_IN + config)
    if not host_key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it even when it only reads
    spec = f"user={user},host=panel,addr=10.77.0.1,laddr=10.77.0.2,lport=22"
    done = subprocess.run(
        [SSHD, "-T", "-f", path, "-h", host_key, "-C", spec], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr[:300], "options": {}}
    options: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(" ")
        options.setdefault(name, []).append(rest)
    return {"error": None, "options": options}


def ask(folder: Path, config: str) -> Decision:
    """Return the decision for one admin on a server with this configuration behind Mainstay's drop-in."""
    doc = answer(account("mira", 1000, effective=1))
    doc["effective"] = [effective(folder, config, user) for user in ("mainstay", "mira")]
    lent = Lent("k", "ssh-ed25519", blob_of("mira"), None)
    admin = WantedAccount("mira", "p", "Mira", sudo=True, admin=True, keys=(lent,))
    return decide(Wanted((admin,), (), (), "adopt"), read(doc), server="web-1", now=NOW)


@pytest.mark.parametrize(
    "config",
    [
        "", "UsePAM no", "PermitRootLogin no\nPasswordAuthentication no", "AllowUsers mira mainstay",
        "AllowUsers other\nAllowUsers m*", "DenyUsers other", "AuthenticationMethods publickey",
        "Match User other\n  ForceCommand /bin/false", "Match LocalPort 2222\n  PubkeyAuthentication no",
        "PubkeyAcceptedAlgorithms +ssh-rsa",
    ],
)  # fmt: skip
def test_a_real_sshd_that_lets_both_in_is_seen_as_such(tmp_path: Path, config: str) -> None:
    decision = ask(tmp_path, config)
    assert decision.ok, decision.said


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("AllowUsers mainstay other", "Mira (mira): sshd's AllowUsers does not name the account"),
        ("AllowUsers mainstay mira@192.0.2.7", "Mira (mira): sshd's AllowUsers"),
        ("AllowGroups wheel mainstay", "Mira (mira): sshd's AllowGroups"),
        ("DenyUsers mir?", "Mira (mira): sshd's DenyUsers names the account"),
        ("AllowUsers mira", "Mainstay itself could not get in to web-1 any more: sshd's AllowUsers"),
        ("PubkeyAuthentication no", "Mainstay itself could not get in"),
        ("AuthenticationMethods publickey,password", "Mainstay itself could not get in"),
        ("Match User mira\n  ForceCommand /bin/false", "(ForceCommand)"),
        ("Match User mira\n  PubkeyAuthentication no", "(PubkeyAuthentication)"),
        ("Match Address 10.77.0.0/24 User mira\n  ChrootDirectory /srv", "(ChrootDirectory)"),
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", "Mainstay itself could not get in to web-1 any more: sshd takes no"),
        ("NoSuchOption yes", "it is not known what sshd would decide"),
    ],
)
def test_a_real_sshd_that_keeps_somebody_out_is_named(tmp_path: Path, config: str, why: str) -> None:
    decision = ask(tmp_path, config)
    assert not decision.ok
    assert why in decision.said
    assert "web-1" in decision.said
