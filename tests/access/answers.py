"""What a gate answers to `keys`, made for tests: a server in order, to be bent by each test."""

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apps.access.found import PANEL_FILE
from tests.access.ssh_keys import string

TAKEN = 1_795_430_460.0  # 23 Nov 2026, 09:41 UTC
PATH = "/etc/ssh/mainstay/keys/%u .ssh/authorized_keys"


def blob_of(name: str) -> str:
    """Return the blob of an Ed25519 key that belongs to a name; the point is a real one."""

    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(string(b"ssh-ed25519") + string(raw)).decode()


def line(name: str, number: int = 1, options: str = "", comment: str = "") -> dict[str, Any]:
    """Return one line of a file of keys."""
    return {
        "number": number, "options": options, "type": "ssh-ed25519", "blob": blob_of(name),
        "comment": comment or f"{name}@laptop",
    }  # fmt: skip


def source(path: str, *lines: dict[str, Any], kind: str = "file", **more: Any) -> dict[str, Any]:
    """Return one source with its lines."""
    return {"kind": kind, "path": path, "exists": True, "refused": None, "mtime": TAKEN, "lines": list(lines), **more}


def account(user: str, uid: int, *sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return one account that is open and well."""
    return {
        "user": user, "uid": uid, "shell": "/bin/bash", "shell_ok": True, "home": f"/people/{user}", "password": "star",
        "expires": None, "groups": [user], "sudo": "none", "effective": 0, "sources": list(sources), **more,
    }  # fmt: skip


def options(**more: list[str]) -> dict[str, list[str]]:
    """Return what sshd -T prints on a plain server with Mainstay's drop-in."""
    return {
        "authorizedkeysfile": [f"{PATH} {PANEL_FILE}"], "pubkeyauthentication": ["yes"],
        "usepam": ["yes"], "authorizedkeyscommand": ["none"], "forcecommand": ["none"], "chrootdirectory": ["none"],
        "authenticationmethods": ["any"], "requiredrsasize": ["1024"],
        "pubkeyacceptedalgorithms": ["ssh-ed25519,rsa-sha2-512,rsa-sha2-256"], **more,
    }  # fmt: skip


def answer(*accounts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the whole answer; the panel's own account is always there."""
    own = source(PANEL_FILE, line("panel", options='restrict,command="/usr/local/lib/x"'))
    return {
        "taken": TAKEN, "from": "10.77.0.1", "effective": [{"error": None, "options": options()}],
        "accounts": [account("mainstay", 998, own), *accounts], "everywhere": [], "sudoers": [], "twins": [],
        "files": [], "lacks": [], "cut": [], **more,
    }  # fmt: skip
