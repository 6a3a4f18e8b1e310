"""The gate's part that changes who may sign in, and ends everything of those who leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import time
from hashlib import sha256
from typing import Any

from apps.servers.gate.gate import GATE, PANEL_KEYS, ROOT, Refusal, read, run, settle, stage, write
from apps.servers.gate.guard import (
    CALM,
    KEPT,
    arm,
    disarm,
    guard,
    must,
    pending,
    prefix,
    reload,
    snapshot,
    undo,
)  # fmt: skip
from apps.servers.gate.look import names_in, recorded
from apps.servers.gate.sshd import DROPIN, KEYS, KRL, STATE, SUDOERS, Config, accounts, facing, strings

# --- changes of access ------------------------------------------------------------------------------------------------

KEY_TYPES = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", "ssh-rsa")
ECDSA = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def wanted_of(args: dict[str, Any]) -> dict[str, Any]:
    """Return the wanted state in a request, once every field of it has its form."""
    try:
        wanted = args["wanted"]
        users = [account["user"] for account in wanted["accounts"]] + wanted["gone"]
        lent = [key for account in wanted["accounts"] for key in account["keys"]]
        words = [account["person"] for account in wanted["accounts"]] + [key["id"] for key in lent]
        lines = [line.split(" ") for line in wanted["revoked"]]
        good = all((
            all(re.match(r"[a-z][a-z0-9_-]{0,30}\Z", user) for user in users + args.get("adopted", [])),
            all(re.match(r"[A-Za-z0-9-]{1,64}\Z", word) for word in words), len(set(users)) == len(users) <= 1000,
            all(type(account[name]) is bool for account in wanted["accounts"] for name in ("sudo", "admin")),
            all(key["type"] in KEY_TYPES + ECDSA and key["type"].encode() == strings(key["blob"])[0] for key in lent),
            all(key["until"] is None or (type(key["until"]) is int and 0 < key["until"] < 4e9) for key in lent),
            all(re.match(r"[a-z0-9@.-]+\Z", sort) and sort.encode() == strings(blob)[0] for sort, blob in lines),
            wanted["mode"] in ("adopt", "enforced"), 10 <= args["rollback_after"] <= 3600,
        ))  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        good = False
    if not good:
        raise Refusal("malformed", f"The wanted state is not what this gate understands. {CALM}")
    if {"root", "mainstay"} & set(users):
        raise Refusal("refused", f"Nobody shares root, and mainstay is the panel's. {CALM}")
    return dict(wanted)


def files_for(wanted: dict[str, Any], folder: str, before: dict[str, Any]) -> dict[str, tuple[bytes | None, int]]:
    """Return every file as it is to be: content (None: it goes) and mode."""
    files: dict[str, tuple[bytes | None, int]] = {f"{KEYS}/{name}": (None, 0) for name in names_in(KEYS)}
    ours = [name for name in names_in("/etc/sudoers.d") if name.startswith("mainstay-")]
    files.update({f"/etc/sudoers.d/{name}": (None, 0) for name in ours})
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", run(["ssh", "-V"])[2].decode("ascii", "replace"))
    utc = not version or (int(version.group(1)), int(version.group(2))) >= (9, 1)  # older ones know local time only
    for account in wanted["accounts"]:
        user, lines = account["user"], []
        for key in account["keys"]:
            until = key["until"] or 0
            ends = time.gmtime(until) if utc else time.localtime(until)
            lease = time.strftime('expiry-time="%Y%m%d%H%M%SZ" ' if utc else 'expiry-time="%Y%m%d%H%M%S" ', ends)
            lines.append(f"{lease if until else ''}{key['type']} {key['blob']} mainstay:{user}:{key['id']}\n")
        files[f"{KEYS}/{user}"] = ("".join(lines).encode(), 0o644)
        if account["sudo"]:
            rule = f"# Written by Mainstay, which replaces it.\n{user} ALL=(ALL:ALL) NOPASSWD: ALL\n".encode()
            files[f"{SUDOERS}-{user}"] = (rule, 0o440)
            with open(f"{folder}/rule", "wb") as file:
                file.write(rule)
            must("refused", f"sudo takes no rule for {user}", ["visudo", "-c", "-q", "-f", f"{folder}/rule"])
    with contextlib.suppress(OSError):
        as_before = sha256(read(KRL)).hexdigest() == before["files"].get(KRL)
        if as_before and sorted(wanted["revoked"]) == before["revoked"]:
            return files
    with open(f"{folder}/list", "w") as list_:
        list_.write("".join(line + "\n" for line in sorted(wanted["revoked"])))
    must("failed", "No list of revoked keys", ["ssh-keygen", "-q", "-k", "-f", f"{folder}/krl", f"{folder}/list"])
    with open(f"{folder}/krl", "rb") as file:
        files[KRL] = (file.read(), 0o644)
    return files


def dropin(mode: str) -> bytes:
    """Return our part of sshd's configuration; adopt mode reads on what sshd would without us."""
    options = Config({DROPIN: b""}).asked(None, *facing(), 22)
    if " ".join(options.get("revokedkeys", ["none"])) not in ("none", KRL):
        raise Refusal("lacks", f"sshd has RevokedKeys {options['revokedkeys'][0]} already; take that out first. {CALM}")
    words = " ".join(options.get("authorizedkeysfile", [])).split() if mode == "adopt" else []
    more = "".join(f" {word}" for word in words if word not in ("none", f"{KEYS}/%u"))
    return (
        f"# Written by Mainstay. To undo it: {GATE} detach\nRevokedKeys {KRL}\nAuthorizedKeysFile {KEYS}/%u{more}\n"
        f"Match User mainstay\n    AuthorizedKeysFile {PANEL_KEYS}\n"
    ).encode()


def access(args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Make the whole wanted state true, or change nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the panel may go; a change is finished, or its timer undoes it
    try:
        return made_true(args)
    except OSError as error:
        if error.errno not in (28, 122):
            raise
        raise Refusal("full", f"The disk of this server is full ({error.filename or 'somewhere'}). {CALM}") from None


def made_true(args: dict[str, Any]) -> dict[str, Any]:
    """Plan, simulate, guard, snapshot with a timed rollback, apply, read back."""
    import tempfile

    wanted, before, people = wanted_of(args), recorded(), accounts()
    if pending():
        raise Refusal("busy", f"The change {pending()[0]} still waits for its proof. {CALM}")
    for folder in (KEYS, os.path.dirname(STATE), "/etc/sudoers.d", os.path.dirname(DROPIN)):
        os.makedirs(ROOT + folder, 0o755, exist_ok=True)
        for name in names_in(folder):
            if re.search(r"\.new-[0-9a-f]{8}\Z", name):  # of an attempt that was killed
                os.unlink(f"{ROOT}{folder}/{name}")
    adopted = {*before["adopted"], *args.get("adopted", [])} - set(before["made"])
    ours, users = {*before["made"], *adopted}, [one["user"] for one in wanted["accounts"]]
    for user in users:
        if user in people and (user not in ours or people[user]["uid"] < 1000):
            raise Refusal("refused", f"{user} was on this server before Mainstay; adopt it first. {CALM}")
    with tempfile.TemporaryDirectory(prefix="mainstay-", dir=ROOT + "/run") as folder:
        files = files_for(wanted, folder, before)
    files[DROPIN] = (dropin(wanted["mode"]), 0o644)
    candidate = Config({DROPIN: files[DROPIN][0] or b""})
    must("refused", "sshd would not take its configuration", [candidate.sshd, "-t", "-f", candidate.path])
    try:
        rows = guard(candidate, wanted, coming=True)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{refusal.said} {CALM}") from None
    leaving = [user for user in wanted["gone"] if user in ours & set(people) and not is_out(people[user])]
    shut = {user for user in before["made"] if user in people and (people[user]["expires"] or is_locked(people[user]))}
    shut |= {user for user in adopted & set(people) if is_locked(people[user]) and people[user]["expires"] == 86400}
    opening = [user for user in users if user not in people or user in shut]
    sums = {path: sha256(content).hexdigest() for path, (content, _mode) in files.items() if content is not None}
    made = sorted({user for user in before["made"] if user in people} | {user for user in users if user not in people})
    after = {"accounts": wanted["accounts"], "revoked": sorted(wanted["revoked"]), "mode": wanted["mode"], "made": made}
    after["adopted"] = sorted(adopted & set(people))
    after["files"] = {KRL: before["files"].get(KRL), **sums}
    files[STATE] = (json.dumps(after, sort_keys=True).encode(), 0o644)
    files = {path: want for path, want in files.items() if differs(path, *want)}
    change = None
    if leaving or opening or not only_longer(before, after, files):
        change = time.strftime("%Y%m%d%H%M%S-", time.gmtime()) + os.urandom(4).hex()
        rows = carry_out(change, files, wanted, opening, leaving, adopted, float(args["rollback_after"]))
    for path, (content, mode) in files.items() if not change else ():
        write(path, content or b"", mode)
    gone = [leave(people[user]) if user in leaving else {"user": user, "touched": False} for user in wanted["gone"]]
    return {"change": change, "pending": bool(change), "accounts": rows, "gone": gone, "mode": wanted["mode"]}


def differs(path: str, content: bytes | None, mode: int) -> bool:
    """Return whether a file is not as it is to be."""
    try:
        info = os.lstat(ROOT + path)
        return content is None or (info.st_mode, info.st_uid) != (stat.S_IFREG | mode, 0) or read(path) != content
    except OSError:
        return content is not None


def only_longer(before: dict[str, Any], after: dict[str, Any], files: dict[str, Any]) -> bool:
    """Return whether a change does nothing, or nothing but extend leases."""

    def bare(state: dict[str, Any]) -> list[Any]:
        return [{**one, "keys": [{**key, "until": 0} for key in one["keys"]]} for one in state["accounts"]]

    old, new = ([key["until"] for one in state["accounts"] for key in one["keys"]] for state in (before, after))
    longer = all(a == b or (a is not None and (b is None or b > a)) for a, b in zip(old, new))
    names = ("revoked", "mode", "made", "adopted")
    same = bare(before) == bare(after) and all(before[name] == after[name] for name in names)
    return same and longer and all(path.startswith((KEYS + "/", STATE)) for path in files)


def carry_out(
    change: str, files: dict[str, tuple[bytes | None, int]], wanted: dict[str, Any], opening: list[str],
    leaving: list[str], adopted: set[str], seconds: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Apply a change that a timer undoes unless the panel proves it; return what sshd then says of each account."""
    staged: dict[str, str] = {}
    try:
        for path, (content, mode) in files.items():
            if content is not None:
                staged[path] = stage(path, content, mode)
        snapshot(change, {"files": files, "gone": leaving, "opened": opening, "wanted": wanted}, seconds)
        arm(change, seconds)
    except BaseException:
        disarm(change, keep=False)
        drop(staged)
        raise
    try:
        for user in opening:
            person = next(one["person"] for one in wanted["accounts"] if one["user"] == user)
            open_account(user, person, adopted=user in adopted)
        for path in sorted(files, key=lambda path: (path == DROPIN, path != KRL)):  # the configuration comes last
            settle(staged[path], path) if path in staged else os.unlink(ROOT + path)
        for user in leaving:
            run(["usermod", *prefix(), "-L", "-e", "1", user])
        if DROPIN in files:
            reload()
        return guard(Config(), wanted)
    except BaseException as error:
        drop(staged)
        undo(change, whole=True)
        if isinstance(error, Refusal):
            said = error.said.replace(f" {CALM}", "")
            raise Refusal(error.code, f"{said} Everything was put back as it was.") from None
        raise


def drop(staged: dict[str, str]) -> None:
    """Remove what was prepared."""
    for name in staged.values():
        with contextlib.suppress(OSError):
            os.unlink(name)


def open_account(user: str, person: str, *, adopted: bool) -> None:
    """Make an account, or open ours again, with * for a password: other than !, that locks out no key."""
    shell = "/bin/bash" if os.path.exists(ROOT + "/bin/bash") else "/bin/sh"
    make = ["-m", "-U", "-s", shell, "-c", f"Mainstay {person}", "-K", "PASS_MAX_DAYS=-1", "-f", "-1"]
    words = ["usermod", *prefix()] if user in accounts() else ["useradd", *prefix(), *make]
    secret = ["-U"] if adopted else ["-p", "*"]
    must("failed", f"The account {user} could not be made", [*words, *secret, "-e", "", user])


def is_locked(account: dict[str, Any]) -> bool:
    """Return whether a password is locked."""
    return str(account["password"]) == "locked"


def is_out(account: dict[str, Any]) -> bool:
    """Return whether nothing is left to take from who is gone."""
    return is_locked(account) and account["expires"] == 86400 and not processes(account["uid"])


def processes(uid: int) -> list[str]:
    """Return the processes of a user id, by any of its four."""
    found = []
    for number in os.listdir("/proc") if not ROOT else ():
        with contextlib.suppress(OSError):
            ids = re.findall(rb"^Uid:\t(.*)$", read(f"/proc/{number}/status"), re.MULTILINE) if number.isdigit() else []
            found += [number] if ids and str(uid).encode() in ids[0].split() else []
    return found


def leave(account: dict[str, Any]) -> dict[str, Any]:
    """End timed jobs, sessions and processes of who has left. Say what remains."""
    user, uid, home, remains = account["user"], account["uid"], account["home"], [""][1:]
    if uid < 1000 or ROOT:
        return {"user": user, "touched": uid >= 1000, "locked": True, "processes": 0, "remains": []}
    os.makedirs(KEPT, 0o700, exist_ok=True)
    run(["loginctl", "disable-linger", user], wait=10)
    for folder in ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/atjobs", "/var/spool/at"):
        for name in names_in(folder):
            path, kept = f"{folder}/{name}", f"{KEPT}/{user}-{os.path.basename(folder)}-{name}"
            with contextlib.suppress(OSError):
                info = os.lstat(path)
                if stat.S_ISREG(info.st_mode) and (info.st_uid == uid or name == user):
                    os.rename(path, kept)
                    os.chown(kept, 0, 0)
                    remains.append(f"{path} was set aside as {kept}")
    run(["loginctl", "terminate-user", user], wait=10)
    for _ in range(50):
        if not processes(uid):
            break
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setresgid(account["gid"], account["gid"], account["gid"])
                os.setresuid(uid, uid, uid)
                os.kill(-1, signal.SIGKILL)  # all at once, so that none can fork away
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        signal.sigtimedwait([signal.SIGUSR1], 0.1)
    look = ["timeout", "8", "find", "/", "-xdev", "(", "-path", home, "-o", "-path", "/proc", ")", "-prune", "-o"]
    _code, said, _errors = run([*look, "-uid", str(uid), "-print"])
    outside = said.decode("utf-8", "backslashreplace").split("\n")[:-1]
    remains += [f"{path[:300]} belongs to {user}" for path in outside[:100]]
    remains += [f"{len(outside) - 100} more files belong to {user}"] if len(outside) > 100 else []
    remains += [f"{home} was left as it is"] if os.path.isdir(home) else []
    left = {"locked": is_locked(accounts()[user]), "processes": len(processes(uid)), "remains": remains}
    return {"user": user, "touched": True, **left}
