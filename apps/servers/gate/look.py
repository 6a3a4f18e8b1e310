"""The gate's part that looks: every key, rule and session on this server. Only a server at the level manage has it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from hashlib import sha256
from typing import Any

from apps.servers.gate.gate import CONFIG, GATE, PARTS, ROOT, access_files, output, read, run
from apps.servers.gate.sshd import OPTIONS, STATE, SUDOERS, Config, accounts, facing, source, sources, sudo_of

# --- what is there ----------------------------------------------------------------------------------------------------


def keys(_args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Return everything that sshd would accept and sudo would allow (apps/access/found.py)."""
    cut: list[str] = []
    people, real, (panel, local) = accounts(), Config(), facing()
    effective: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    everywhere: list[dict[str, Any]] = []
    port = int(real.asked(None, panel, local, 22).get("port", ["22"])[0])
    for user, account in people.items():
        options = real.asked(account, panel, local, port)
        error = " ".join(options.get("", [])) or None
        row = {"error": error, "options": {name: rest for name, rest in options.items() if name in OPTIONS}}
        effective += [] if row in effective or len(effective) == 64 else [row]
        files = sources(account, options, cut)
        for name in ("authorized_keys", "authorized_keys2"):
            path = os.path.join(account["home"], ".ssh", name)
            if path not in [file["path"] for file in files]:
                everywhere += [{**file, "user": user[:64]} for file in source("unread", path, account, cut)]
        names = ("uid", "shell_ok", "password", "expires", "groups")
        shown.append({
            **{name: account[name] for name in names}, "user": user[:64], "shell": account["shell"][:256],
            "home": account["home"][:1024], "effective": effective.index(row) if row in effective else None,
            "sudo": sudo_of(user) if files or account["shell_ok"] or not account["uid"] else "unknown",
            "sources": files[:32],
        })  # fmt: skip
    shown.sort(key=lambda one: (one["uid"] != 0, not one["sources"], not one["shell_ok"]))
    for path, kind in (("/etc/hosts.equiv", "rhosts"), ("/etc/ssh/shosts.equiv", "shosts")):
        everywhere += source(kind, path, {"uid": 0, "gid": 0, "home": "/"}, cut)
    left = 20000
    for file in [file for one in shown for file in one["sources"]] + everywhere:
        file["lines"] = file["lines"][:left]
        left -= len(file["lines"])
    cut += ["There are more than 20,000 lines of keys; the rest is not shown."] if not left else []
    cut += [f"There are {len(shown)} accounts; 2,000 are shown."] if len(shown) > 2000 else []
    return {
        "taken": time.time(), "from": panel, "effective": effective, "accounts": shown[:2000],
        "everywhere": everywhere[:2000], "sudoers": sudo_rules(), "files": written(), "cut": cut[:100],
        "twins": [{"user": one["user"], "uid": 0} for one in shown if one["uid"] == 0 and one["user"] != "root"],
        "lacks": [row["error"] for row in effective if row["error"]][:9]
        + ([] if run(["sudo", "-V"])[0] == 0 else ["sudo is not installed on this server."]),
    }  # fmt: skip


def sudo_rules() -> list[dict[str, Any]]:
    """Return every file that sudo reads, with its rules, but for those that the last change wrote."""
    ours = {SUDOERS, *(f"{SUDOERS}-{account['user']}" for account in recorded()["accounts"])}
    said = run(["visudo", "-c"])[1].decode("utf-8", "replace") if not ROOT else ""
    names = [f"/etc/sudoers.d/{name}" for name in sorted(names_in("/etc/sudoers.d")) if not re.search(r"\.|~\Z", name)]
    rules = []
    for path in dict.fromkeys(["/etc/sudoers", *re.findall(r"^(?:>>> )?(/[^:\n]+):", said, re.MULTILINE), *names]):
        for row in stamp(path) if path not in ours else []:
            lines = read(path).decode("utf-8", "backslashreplace").replace("\\\n", " ").split("\n")
            lines = [line.strip()[:300] for line in lines if re.match(r"\s*([^#\s]|#\d|#include)", line)]
            rules.append({**row, "lines": lines[:50]})
    return rules[:200]


def written() -> list[dict[str, Any]]:
    """Return the digest of every file that Mainstay installed or wrote, beside the one it should have."""
    wanted, files = recorded()["files"], []
    parts = [PARTS + name for name in json.loads(read(CONFIG)).get("parts", {})]
    for path in sorted({GATE, *parts, *access_files(), *wanted} - {STATE}):
        missing = {"path": path, "sha256": None, "uid": 0, "mode": 0}
        files.append({**(stamp(path) or [missing])[0], "wanted": wanted.get(path)})
    return files


def stamp(path: str) -> list[dict[str, Any]]:
    """Return a file's digest, owner and mode; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        info = os.lstat(ROOT + path)
        row = {"path": path, "sha256": sha256(read(path)).hexdigest()}
        return [{**row, "uid": info.st_uid, "mode": info.st_mode & 0o7777}]
    return []


def names_in(folder: str) -> list[str]:
    """Return the names in a folder, none where it is missing."""
    with contextlib.suppress(OSError):
        return os.listdir(ROOT + folder)
    return []


def recorded() -> dict[str, Any]:
    """Return what was last applied: accounts, revoked keys, mode, the accounts that are ours, digests of files."""
    nothing: dict[str, Any] = {"accounts": [], "revoked": [], "mode": "", "made": [], "adopted": [], "files": {}}
    with contextlib.suppress(OSError, ValueError):
        return {**nothing, **json.loads(read(STATE))}
    return nothing


def sessions(_args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Return who is signed in over SSH now, from where and since when."""
    peers, found = {}, []
    for line in output("ss", "-Htnp", "state", "established").split("\n"):
        for number in re.findall(r'"sshd[^"]*",pid=(\d+)', line):
            peers[number] = line.split()[3]
    for number in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            title = read(f"/proc/{number}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace")
            named = re.match(r"sshd(?:-session)?: ([^ @]+)(?:@(\S+))? *\Z", title)
            if named and (os.stat(f"/proc/{number}").st_uid or named.group(1) == "root"):
                row = {"user": named.group(1)[:64], "tty": (named.group(2) or "")[:40], "pid": int(number)}
                found.append({**row, "from": peers.get(number, "")[:64], "since": os.stat(f"/proc/{number}").st_mtime})
    return {"sessions": sorted(found, key=lambda one: one["since"])[:500]}
