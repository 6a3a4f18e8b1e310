"""The gate's part that keeps a change from locking anybody out: guard, snapshot, timed rollback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from hashlib import sha256
from typing import Any

from apps.servers.gate.gate import GATE, PANEL_KEYS, ROLLBACK, ROOT, Refusal, locked, log, read, run, write
from apps.servers.gate.look import names_in, recorded
from apps.servers.gate.sshd import (
    KEYS,
    KRL,
    STATE,
    SUDOERS,
    Config,
    accounts,
    facing,
    source,
    sources,
    sudo_of,
    verdict,
)

# --- what keeps a change from locking anybody out ---------------------------------------------------------------------

KEPT = "/var/lib/mainstay/kept"
WANTS, BOOT_UNIT = "/etc/systemd/system/multi-user.target.wants", "/etc/systemd/system/mainstay-rollback.service"
LONG = 30 * 86400  # seconds; a shorter lease is no way in that outlives the panel
CALM = "Nothing was changed."


def must(code: str, said: str, words: list[str], wait: float = 60) -> None:
    """Run a program; raise Refusal with what it says if it fails."""
    failed, _out, errors = run(words, wait=wait)
    if failed:
        why = errors.decode("utf-8", "replace").strip()[-300:]
        raise Refusal("lacks" if failed == 127 else code, f"{said} ({words[0]}: {why or f'code {failed}'}). {CALM}")


def guard(config: Config, wanted: dict[str, Any], *, coming: bool = False) -> list[dict[str, Any]]:
    """Return what sshd makes of every wanted account; Refusal where no human admin gets in, or not the panel.

    `coming`: the state is simulated, so that accounts and files need not be there yet.
    """
    people, made, admins, against = accounts(), recorded()["made"], 0, []
    around: dict[str, Any] = {"krl": KRL if coming else "", "revoked": set(wanted["revoked"])}
    rows = []
    for account in wanted["accounts"]:
        user = account["user"]
        fresh = {"user": user, "uid": 1000, "groups": [user], "home": f"/home/{user}", "shell_ok": True, "shell": ""}
        known = people.get(user, fresh)
        if coming and (user in made or user not in people or known["expires"] == 86400):
            known = {**known, "password": "star", "expires": None, "aged": False}
        good, why = verdict(config, known, [{**key, "path": f"{KEYS}/{user}"} for key in account["keys"]], around)
        sudo = account["sudo"] and (coming or sudo_of(user) == "all")
        if account["admin"] and account["sudo"]:
            lasting = any(key["until"] is None or key["until"] >= time.time() + LONG for key in good)
            admins += sudo and lasting
            against.append(f"{user}: {why if not good else 'sudo refuses them' if lasting else 'its leases are short'}")
        lines = [f"{key['type']} {key['blob']}" for key in good]
        rows.append({"user": user, "accepts": bool(good), "why": why, "sudo": sudo, "keys": lines})
    ours = {"mainstay", *wanted["gone"], *(account["user"] for account in wanted["accounts"])}
    for user, known in people.items():  # somebody whom Mainstay only found may be the admin as well
        if not admins and user not in ours and known["uid"] and known["shell_ok"]:
            files = [one for one in sources(known, config.asked(known, *facing(), 22), []) if one["kind"] == "file"]
            held = [{**line, "until": None, "path": one["path"]} for one in files for line in one["lines"]]
            plain = [line for line in held if line["blob"] and not line["options"]]
            admins += bool(plain) and sudo_of(user) == "all" and bool(verdict(config, known, plain, around)[0])
    here = os.uname().nodename
    if not admins:
        none = "; ".join(against)[:600] or "nobody is named as one"
        raise Refusal("guard", f"On {here} no human admin could sign in any more ({none}).")
    panel, why = people.get("mainstay"), "it has no account"
    if panel:
        held = [line for one in source("file", PANEL_KEYS, panel, []) for line in one["lines"] if line["blob"]]
        mine = [{**line, "until": None, "path": PANEL_KEYS} for line in held]
        good, why = verdict(config, panel, mine, {**around, "command": GATE})
        why = "" if good else why
    if why:
        raise Refusal("guard", f"On {here} the panel itself could not sign in any more (mainstay: {why}).")
    return rows


def prefix() -> list[str]:
    """Keep useradd and usermod inside a copied tree."""
    return ["-P", ROOT] if ROOT else []


def reload() -> None:
    """Make sshd read its configuration, once sshd -t takes it."""
    if ROOT:
        return
    must("refused", "sshd does not take its configuration", [Config().sshd, "-t"])
    for unit in ("ssh", "sshd"):
        if run(["systemctl", "is-active", "-q", unit])[0] == 0:
            must("failed", "sshd was not reloaded", ["systemctl", "reload", unit])
            return
    with contextlib.suppress(OSError, ValueError):  # without systemd
        number = int(read("/run/sshd.pid"))
        if read(f"/proc/{number}/comm") == b"sshd\n":
            os.kill(number, signal.SIGHUP)


def snapshot(change: str, plan: dict[str, Any], seconds: float) -> None:
    """Keep what a change will touch and what undoes it. The plan is what makes it pending."""
    folder, kept, people = f"{ROLLBACK}/{change}", [], accounts()
    os.makedirs(ROOT + folder, 0o700)
    for number, path in enumerate(plan["files"]):
        held = None
        with contextlib.suppress(FileNotFoundError):
            held = os.lstat(ROOT + path).st_mode & 0o7777
            write(f"{folder}/{number}", read(path), held)
        kept.append([path, number, held])
    was = {user: [one["password"] == "locked", (one["expires"] or 0) // 86400 or ""] for user, one in people.items()}
    plan = {**plan, "state": "pending", "until": time.time() + seconds, "files": kept, "was": was}
    write(f"{folder}/plan.json", json.dumps(plan).encode(), 0o600)


def plan_of(change: str) -> dict[str, Any]:
    """Return what is kept of a change, {} for none."""
    if re.match(r"[0-9]{14}-[0-9a-f]{8}\Z", change):
        for folder in (ROLLBACK, KEPT):
            with contextlib.suppress(OSError, ValueError):
                return {**json.loads(read(f"{folder}/{change}/plan.json")), "folder": f"{folder}/{change}"}
    return {}


def pending() -> list[str]:
    """Return the changes that wait for their proof."""
    return [change for change in sorted(names_in(ROLLBACK)) if plan_of(change).get("state") == "pending"]


def arm(change: str, seconds: float) -> None:
    """Let this server undo a change by itself: after some seconds and at boot."""
    import subprocess

    if not ROOT and os.path.isdir("/run/systemd/system"):
        what = "[Unit]\nDescription=Undo a change of access that was not proven\nBefore=ssh.service sshd.service\n"
        write(BOOT_UNIT, f"{what}[Service]\nType=oneshot\nExecStart={GATE} rollback pending\n".encode())
        os.makedirs(WANTS, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(BOOT_UNIT, f"{WANTS}/{os.path.basename(BOOT_UNIT)}")
        timer = [f"--on-active={seconds}", "--timer-property=AccuracySec=100ms", f"--unit=mainstay-rollback-{change}"]
        must("lacks", "systemd sets no timer", ["systemd-run", "-q", *timer, GATE, "rollback", change, "pending"])
        return
    null: Any = subprocess.DEVNULL
    words = [os.path.abspath(__file__), "rollback", change, "pending", str(seconds)]
    words = [sys.executable, "-IS", *words]
    subprocess.Popen(words, start_new_session=True, stdin=null, stdout=null, stderr=null, cwd="/")


def disarm(change: str, *, keep: bool = True) -> None:
    """Stop the timer of a change and set its snapshot aside; five are kept."""
    import shutil

    for path in (f"{WANTS}/{os.path.basename(BOOT_UNIT)}", BOOT_UNIT) if not ROOT else ():
        with contextlib.suppress(OSError):
            os.unlink(path)
    os.makedirs(ROOT + KEPT, 0o700, exist_ok=True)
    with contextlib.suppress(OSError):
        os.rename(f"{ROOT}{ROLLBACK}/{change}", f"{ROOT}{KEPT}/{change}")
    old = sorted(name for name in names_in(KEPT) if re.match(r"[0-9]{14}-[0-9a-f]{8}\Z", name))
    for name in [*old[:-5], *([] if keep else [change])]:
        shutil.rmtree(f"{ROOT}{KEPT}/{name}", ignore_errors=True)
    if not ROOT:  # last, for the timer may be what runs this
        run(["systemctl", "stop", f"mainstay-rollback-{change}.timer"])


def undo(change: str, *, whole: bool = False) -> None:
    """Put back what a change replaced. Who left stays out and revoked keys stay revoked, if an admin gets in so."""
    plan = plan_of(change)
    for full in (True,) if whole else (False, True):
        stays = {KRL, *(path for user in plan["gone"] for path in (f"{KEYS}/{user}", f"{SUDOERS}-{user}"))}
        for path, number, mode in plan["files"]:
            if not full and path in stays:
                continue
            if mode is not None:
                put_back(f"{plan['folder']}/{number}", path, mode)
            elif path != KRL:  # without its list sshd refuses every key
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(ROOT + path)
        for user in (*(plan["gone"] if full else []), *plan["opened"]):
            shut, ends = plan.get("was", {}).get(user, [True, 1])  # a new one stays, closed
            run(["usermod", *prefix(), "-L" if shut else "-U", "-e", str(ends), user])
        with contextlib.suppress(Refusal):
            guard(Config(), {**recorded(), "gone": plan["gone"], "revoked": plan["wanted"]["revoked"]})
            break
    state, people = recorded(), accounts()
    state["made"] = sorted({*state["made"], *({*plan["opened"]} & {*people} - {*state["adopted"]})})
    if not full:
        state["revoked"] = sorted(plan["wanted"]["revoked"])
        with contextlib.suppress(OSError):
            state["files"] = {**state["files"], KRL: sha256(read(KRL)).hexdigest()}
        state["accounts"] = [one for one in state["accounts"] if one["user"] not in plan["gone"]]
    with contextlib.suppress(Refusal):  # a full disk: what counts is put back already
        write(STATE, json.dumps(state, sort_keys=True).encode())
    with contextlib.suppress(Refusal):
        write(f"{plan['folder']}/plan.json", json.dumps({**plan, "state": "undone"}).encode(), 0o600)
    reload()
    log("root", "rollback", f"{change} was undone")
    disarm(change)


def put_back(kept: str, path: str, mode: int) -> None:
    """Replace a file by its snapshot; a link needs no room on a full disk."""
    new = f"{ROOT}{path}.new-{os.urandom(4).hex()}"
    try:
        os.link(ROOT + kept, new)
        os.rename(new, ROOT + path)
    except OSError:
        write(path, read(kept), mode)
    with contextlib.suppress(OSError):
        os.unlink(new)  # rename keeps it where both are one file


def commit(args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Keep a change: the panel has proved that it still gets in."""
    change = str(args.get("change"))
    plan = plan_of(change)
    if plan.get("state") != "pending":
        raise Refusal("refused", f"The change {change[:40]} is {plan.get('state', 'not known')} here, so not kept.")
    write(f"{plan['folder']}/plan.json", json.dumps({**plan, "state": "committed"}).encode(), 0o600)
    disarm(change)
    return {"change": change, "state": "committed"}


def rollback(args: dict[str, Any], _config: dict[str, Any], states: tuple[str, ...] = ("pending",)) -> dict[str, Any]:
    """Undo a change that waits for its proof: the one named, or whichever does ("pending")."""
    change = str(args.get("change"))
    change = [change, *pending()][-1] if change == "pending" else change
    state = plan_of(change).get("state", "not known")
    if state not in states:
        raise Refusal("refused", f"The change {change[:40]} is {state} here. {CALM}")
    undo(change, whole="committed" in states)
    return {"change": change, "state": "undone"}


def rollback_by_hand(words: list[str]) -> int:
    """ID by root, ID pending [SECONDS] by its timer, pending at boot."""
    change = (words or ["?"])[0]
    if len(words) == 3:
        signal.sigtimedwait([signal.SIGUSR1], float(words[2]))
    with locked(wait=True):
        for one in pending() if change == "pending" else [change]:
            if len(words) < 2 or plan_of(one).get("state") == "pending":
                rollback({"change": one}, {}, ("pending", "committed"))
    return 0


def overdue() -> None:
    """Undo what this server's timer should have undone by now."""
    with locked(wait=True) if pending() else contextlib.nullcontext():
        for change in pending():
            if plan_of(change)["until"] + 5 < time.time():
                undo(change)
