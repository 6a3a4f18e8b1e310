#!/usr/bin/python3 -IS
"""The gate: the only program that Mainstay may run on this server. It answers signed requests and nothing else.

Read it before you install it: it is one file, needs Python 3.7 and nothing besides. Two things have files of their own
beside it, at the levels that do them: dump (operate) and access (manage: what changes who may sign in). sshd starts the
gate as the forced command of the account `mainstay`. It prints a random nonce; the panel answers with one request that
is signed together with that nonce and this server's id; the gate checks the signature with this server's own
ssh-keygen, does what the verb says if the server's level allows it, and prints one JSON document. There is no shell
behind it, it never updates itself, and `mainstay-gate detach`, run here by root, removes everything that it brought.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing would cost as much as reading all of /proc
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from hashlib import sha256
    from typing import Any
else:
    try:  # hashlib loads all of OpenSSL, which is a fifth of what one sample costs
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

VERSION = "1.0"
LEVELS = ("observe", "operate", "manage")
ROOT = ""  # the tests play on a copy of the tree; on a server it is always empty
GATE = "/usr/local/lib/mainstay/gate"
PARTS = "/usr/local/lib/mainstay/"  # further files by level; CONFIG has the SHA-256 of each, and only root loads them
CONFIG = "/etc/mainstay/server.json"
SIGNERS = "/etc/mainstay/signers"
ACCESS = "/etc/ssh/mainstay"
LOG = "/var/log/mainstay/gate.log"
LOCK = "/run/mainstay-gate.lock"
ROLLBACK = "/var/lib/mainstay/rollback"  # changes that wait for their proof
PANEL_KEYS = "/var/lib/mainstay/.ssh/authorized_keys"  # root owns it; one line, with its forced command
TREES = ("/usr/local/lib/mainstay", "/etc/mainstay", ACCESS, "/var/lib/mainstay", "/var/log/mainstay")
EMPTY_KRL = 44  # bytes of a list of revoked keys that revokes none
SINGLES = (
    ("/usr/local/sbin", "mainstay-gate"), ("/etc/sudoers.d", "mainstay"), ("/etc/ssh/sshd_config.d", "10-mainstay"),
    ("/etc/systemd/system", "mainstay-"), ("/etc/systemd/system/multi-user.target.wants", "mainstay-"),
    ("/run", "mainstay-gate"),
)  # fmt: skip
NAMESPACE, IDENTITY = "mainstay-gate", "mainstay"
MOST = 4 << 20  # bytes of one request
PATIENCE = 60  # seconds the panel has to say what it wants, and again to take the answer
LONGEST_LOG = 64 << 20  # bytes; beyond them only the system's own log is written
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C", "HOME": "/"}


class Refusal(Exception):
    """What the gate will not or cannot do: a code for the panel and one sentence for people."""

    def __init__(self, code: str, said: str) -> None:
        """Keep both."""
        super().__init__(said)
        self.code, self.said = code, said


# --- the conversation -------------------------------------------------------------------------------------------------


def serve(who: str) -> int:
    """Hold one conversation on standard input and output; `who` is "mainstay" or "root"."""
    verb = "?"
    signal.signal(signal.SIGALRM, give_up)
    try:
        config = configured()
        nonce = os.urandom(32).hex()
        signal.alarm(PATIENCE)
        say({
            "gate": 1, "version": VERSION, "nonce": nonce, "clock": time.time(), "server": config["server"],
            "level": config["level"], "as": who, "state": digest(), "verbs": allowed(config["level"], who),
        })  # fmt: skip
        asked = checked(listen(), nonce, config)
        config["nonce"] = nonce  # a verb of several rounds has each signed over it
        signal.alarm(0)
        verb = asked["verb"]
        if verb == "root" and who == "mainstay":
            become_root(config)
        answer = act(asked, config, who)
        said = {"ok": True, "answer": answer, "state": digest()}
    except Refusal as refusal:
        said = {"ok": False, "code": refusal.code, "said": refusal.said}
    except Exception as error:  # the panel hears of every end in one document
        why = f"The gate failed at {verb[:40]} ({type(error).__name__}: {str(error)[:300]})."
        said = {"ok": False, "code": "failed", "said": why}
    signal.alarm(PATIENCE)
    if verb != "sample" or not said["ok"]:  # a line each minute would bury the others
        log(who, verb, "done" if said["ok"] else f"{said['code']}: {said['said']}")
    with contextlib.suppress(OSError, Refusal):  # the panel has gone: nobody is left to tell
        say(said)
    return 0 if said["ok"] else 1


def allowed(level: str, who: str) -> list[str]:
    """Return the verbs of a level for one half of the gate."""
    known = LEVELS[: LEVELS.index(level) + 1]
    return sorted(name for name, (needs, half, _c, _do) in VERBS.items() if needs in known and half in (who, "both"))


def act(asked: dict[str, Any], config: dict[str, Any], who: str) -> Any:
    """Do one verb, under the lock and against the expected state where it changes something."""
    verb = asked["verb"]
    needs, _half, changes, do = VERBS.get(verb, ("observe", "", False, hello))
    level = config["level"]
    if LEVELS.index(needs) > LEVELS.index(level):
        raise Refusal("level", f"This server's level is {level}; {verb} needs {needs}. Nothing was changed.")
    if verb not in allowed(level, who):
        raise Refusal("verb", f"This gate (version {VERSION}) does not know {verb[:40]} here. Nothing was changed.")
    if not changes:
        return do(asked["args"], config)
    with locked():
        if asked.get("state") != digest():
            raise Refusal("state", "This server changed since the panel looked. Nothing was changed; it looks again.")
        log(who, verb, "begins")
        return do(asked["args"], config)


def listen() -> bytes:
    """Read one line of at most MOST bytes, byte-exact, leaving nothing of what follows in a buffer."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        line += part
        if not part or len(line) > MOST or b"\n" in part[:-1]:
            raise Refusal("malformed", f"The request is not one whole line of at most {MOST} bytes.")
    return bytes(line)


def parsed(text: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Return a JSON object that has the needed keys and no unknown one; ValueError for anything else."""

    def number(digits: str) -> int:  # Python before 3.11 takes minutes for a million digits; NaN is none
        return int(digits if len(digits) <= 20 else "")

    try:
        found = json.loads(text, parse_int=number, parse_constant=number)
    except RecursionError:
        raise ValueError from None
    if not isinstance(found, dict) or not needed <= set(found) <= needed | optional:
        raise ValueError
    return found


def checked(line: bytes, nonce: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a line whose form, signature, nonce and server are right."""
    try:
        outer = parsed(line.decode("utf-8"), {"request", "signature"}, set())
        message, signature = outer["request"].encode("utf-8"), outer["signature"].encode("ascii")
    except (ValueError, AttributeError):
        raise Refusal("malformed", "The request is not what this gate understands.") from None
    if not signed(message, signature):
        raise Refusal("signature", "The request is not signed with this server's key.")
    try:
        asked = parsed(outer["request"], {"nonce", "server", "verb", "args"}, {"state"})
    except ValueError:
        asked = {}
    texts = [asked.get(name, "") for name in ("nonce", "server", "verb", "state")]
    if not asked or not all(isinstance(text, str) for text in texts) or not isinstance(asked["args"], dict):
        raise Refusal("malformed", "The signed request is not what this gate understands.")
    if asked["nonce"] != nonce:
        raise Refusal("nonce", "The request was made for another connection.")
    if asked["server"] != config["server"]:
        raise Refusal("server", "The request is for another server.")
    return asked


def signed(message: bytes, signature: bytes) -> bool:
    """Return whether ssh-keygen accepts the signature as the panel's, in this namespace.

    It is started by hand, for importing subprocess costs more than all of the checking; the signature goes through a
    pipe, so that a full or read-only disk does not stop the gate.
    """
    armor = rb"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]{1,4000}-----END SSH SIGNATURE-----\n?\Z"
    if not re.match(armor, signature):
        return False
    (proof, proving), (asked, asking) = os.pipe(), os.pipe()
    os.write(proving, signature)
    os.close(proving)
    child = os.fork()
    if not child:
        try:
            os.dup2(asked, 0)
            os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.set_inheritable(proof, True)
            who = ["-f", ROOT + SIGNERS, "-I", IDENTITY, "-n", NAMESPACE, "-s", f"/dev/fd/{proof}"]
            os.execvpe("ssh-keygen", ["ssh-keygen", "-Y", "verify", *who], ENVIRONMENT)
        finally:
            os._exit(127)
    os.close(proof)
    os.close(asked)
    with contextlib.suppress(BrokenPipeError), open(asking, "wb", buffering=0) as file:
        while message:
            message = message[file.write(message) :]
    return os.waitpid(child, 0)[1] == 0


def become_root(config: dict[str, Any]) -> None:
    """Become the root half, which trusts nothing of this one: it has a nonce of its own and checks again."""
    if config["level"] == "observe":
        raise Refusal("level", "This server's level is observe, so nothing runs as root here.")
    log("mainstay", "root", "begins")
    try:
        os.execvpe("sudo", ["sudo", "-n", GATE, "root"], ENVIRONMENT)
    except OSError:
        raise Refusal("lacks", "sudo is missing on this server; install it, or set the level to observe.") from None


def give_up(_number: int, _frame: Any) -> None:
    """End a conversation in which the panel says nothing, or takes nothing."""
    raise Refusal("malformed", f"No request came within {PATIENCE} s.")


def say(document: dict[str, Any]) -> None:
    """Write one JSON document as one line."""
    data = memoryview((json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n").encode("ascii"))
    while data:
        data = data[os.write(1, data) :]


# --- ground -----------------------------------------------------------------------------------------------------------


def configured() -> dict[str, Any]:
    """Return who this server is."""
    try:
        config = json.loads(read(CONFIG))
        if config["level"] in LEVELS and re.match(r"[0-9a-f-]{36}\Z", config["server"]):
            return dict(config)
    except (ValueError, KeyError, TypeError, OSError):
        pass
    raise Refusal("lacks", f"{CONFIG} is missing or damaged on this server; paste the install script again.")


def read(path: str, most: int = 8 << 20) -> bytes:
    """Return the content of a file, cut at `most` bytes; OSError where it cannot be read."""
    with open(ROOT + path, "rb") as file:
        return file.read(most)


def run(words: list[str], data: bytes = b"", wait: float = 60) -> tuple[int, bytes, bytes]:
    """Run a program with a clean environment; return its exit code, output and errors (each cut at 8 MiB)."""
    import subprocess

    try:
        done = subprocess.run(words, input=data, capture_output=True, env=ENVIRONMENT, timeout=wait, check=False)
    except FileNotFoundError:
        return 127, b"", b"not found"
    except subprocess.TimeoutExpired:
        return 124, b"", b"took too long"
    return done.returncode, done.stdout[: 8 << 20], done.stderr[: 8 << 20]


def output(*words: str, failing: bool = False) -> str:
    """Return what a program says, or nothing where it is missing or fails (unless it may)."""
    code, said, _errors = run(list(words))
    return said.decode("utf-8", "replace") if code == 0 or failing else ""


def text(path: str) -> str:
    """Return the text of a file, or nothing where it cannot be read."""
    try:
        return read(path, 1 << 20).decode("utf-8", "replace")  # 4 MiB or more at once is ENOMEM below /proc/sys
    except OSError:
        return ""


def uptime() -> float:
    """Return the seconds since this server started."""
    return float((text("/proc/uptime") or "0").split()[0])


def only(args: dict[str, Any], *names: str) -> None:
    """Refuse arguments that a verb does not have."""
    if not set(args) <= set(names):
        raise Refusal("malformed", "The verb does not have such arguments. Nothing was changed.")


@contextlib.contextmanager
def locked(*, wait: bool = False) -> Iterator[None]:
    """Hold the lock of changes, or refuse, or wait for it."""
    with open(os.open(ROOT + LOCK, os.O_RDWR | os.O_CREAT, 0o600)) as file:  # others could hold what they can read
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise Refusal("busy", "Another change is being made on this server. Nothing was changed.") from None
        yield


def log(who: str, verb: str, what: str) -> None:
    """Append one line to the gate's own log and to the system's; a full disk never stops an answer."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = re.sub(r"[^ -~]", "?", f"{when} {os.getpid()} {who} {verb[:40]} {what[:400]}")
    if not ROOT:
        import syslog

        syslog.openlog("mainstay-gate", 0, syslog.LOG_AUTH)
        syslog.syslog(syslog.LOG_INFO, line)
    with contextlib.suppress(OSError):
        handle = os.open(ROOT + LOG, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        with open(handle, "ab", buffering=0) as file:
            if os.fstat(handle).st_size < LONGEST_LOG:
                file.write((line + "\n").encode("ascii"))


def stage(path: str, content: bytes, mode: int = 0o644) -> str:
    """Write what shall replace a file beside it, on disk, and return its name. A full disk leaves nothing."""
    new = f"{ROOT}{path}.new-{os.urandom(4).hex()}"
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        code = "full" if error.errno in (28, 122) else "refused"
        raise Refusal(code, f"{path} cannot be written ({error.strerror}). What was there stays.") from None
    return new


def settle(new: str, path: str) -> None:
    """Put what was staged in the place of a file, at once and for good."""
    os.rename(new, ROOT + path)
    folder = os.open(os.path.dirname(ROOT + path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace a file at once: a new one beside it, on disk, then renamed. A full disk leaves the old one."""
    settle(stage(path, content, mode), path)


def digest() -> str:
    """Return a digest of everything that a change of access builds on."""
    known = sha256()
    for path in sorted(access_files()):
        try:
            info, content = os.lstat(ROOT + path), read(path)
        except OSError as error:
            known.update(f"{path} {error.errno}\n".encode())
            continue
        known.update(f"{path} {info.st_mode:o} {info.st_uid} {sha256(content).hexdigest()}\n".encode())
    known.update("\n".join(account_lines()).encode("utf-8", "replace"))
    return known.hexdigest()


def access_files() -> Iterator[str]:
    """Yield the files that the panel has written, or would write, on this server."""
    yield from (CONFIG, SIGNERS)
    sshd, sudo = ("/etc/ssh/sshd_config.d", "10-mainstay"), ("/etc/sudoers.d", "mainstay")
    for folder, start in ((ACCESS, ""), (ACCESS + "/keys", ""), sshd, sudo):
        with contextlib.suppress(OSError):
            for name in os.listdir(ROOT + folder):
                if name.startswith(start) and not os.path.isdir(f"{ROOT}{folder}/{name}"):
                    yield f"{folder}/{name}"


def account_lines() -> Iterator[str]:
    """Yield what passwd and shadow say of the accounts that the panel manages; of passwords only their kind."""
    try:
        users = {account["user"] for account in json.loads(read(ACCESS + "/state.json"))["accounts"]}
    except (OSError, ValueError, KeyError, TypeError):
        return
    for path in ("/etc/passwd", "/etc/shadow"):
        with contextlib.suppress(OSError):
            for line in read(path).decode("utf-8", "replace").split("\n"):
                fields = line.split(":")
                if fields[0] in users:
                    fields[1] = fields[1][:1] if fields[1][:1] in ("!", "*", "x", "") else "set"
                    yield ":".join(fields)


# --- samples and facts ------------------------------------------------------------------------------------------------


DISKS = re.compile("ext[234]|xfs|btrfs|zfs|f2fs|jfs|reiserfs|bcachefs|nilfs2|ufs|vfat|exfat|ntfs3?")
BUILT = re.compile("loop|ram|zram|dm-|md|zd|sr|fd")  # block devices that are made of others, or of nothing
BOOT = "/proc/sys/kernel/random/boot_id"
APT = ("/var/lib/dpkg/status", "/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list.d", "/etc/apt/preferences.d")
LISTS = ("/var/lib/apt/lists", "/var/lib/apt/periodic/update-success-stamp")
MEMORY = (("total", "MemTotal"), ("available", "MemAvailable"), ("swap_total", "SwapTotal"), ("swap_free", "SwapFree"))
TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
UNIT = (
    ("name", "Id"), ("state", "ActiveState"), ("sub", "SubState"), ("enabled", "UnitFileState"), ("restart", "Restart"),
    ("restarts", "NRestarts"), ("result", "Result"), ("since", "StateChangeTimestampMonotonic"),
)  # fmt: skip


def hello(args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Say only that the gate is there."""
    only(args)
    openssh = run(["ssh", "-V"])[2].decode("ascii", "replace").strip()[:100]
    return {"python": "{}.{}".format(*sys.version_info[:2]), "openssh": openssh}


def sample(args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Return counters and amounts as the kernel has them: bytes, seconds, ticks; null is what it does not have."""
    only(args)
    kib = dict(re.findall(r"(?m)^(\w+): +(\d+) kB", text("/proc/meminfo")))
    memory = {word: int(kib[name]) << 10 if name in kib else None for word, name in MEMORY}
    pressure = {}
    for kind in ("cpu", "memory", "io"):
        found = re.search(r"some .*avg60=([\d.]+)", text("/proc/pressure/" + kind))
        pressure[kind] = float(found.group(1)) if found else None
    stat = map(int, text("/proc/stat").split("\n", 1)[0].split()[1:9])
    net = [row.split() for row in re.findall(r"(?m)^ *(?!lo:)\S+:(.*)$", text("/proc/net/dev"))]
    blocks = [row.split() for row in text("/proc/diskstats").splitlines()]
    whole = [row for row in blocks if os.path.exists("/sys/block/" + row[2]) and not BUILT.match(row[2])]
    return {
        "taken": time.time(), "boot_id": text(BOOT).strip() or None, "uptime": uptime(),
        "cpu": {"count": os.cpu_count(), **dict(zip(TICKS, stat))},
        "load": [float(figure) for figure in text("/proc/loadavg").split()[:3]], "memory": memory,
        "pressure": pressure if pressure["cpu"] is not None else None, "disks": list(disks())[:32],
        "net": {"rx": sum(int(row[0]) for row in net), "tx": sum(int(row[8]) for row in net)} if net else None,
        "io": {"read": sum(int(row[5]) for row in whole) * 512, "written": sum(int(row[9]) for row in whole) * 512}
        if whole else None,
        "processes": sum(name.isdigit() for name in os.listdir("/proc")), "failed": None,
    }  # fmt: skip


def disks() -> Iterator[dict[str, Any]]:
    """Yield the local file systems, each once. A network one is not asked: one that hangs would hang the gate."""
    seen = set()
    for line in text("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        _id, _parent, device, _root, path, options = fields.split()[:6]
        kind, source = rest.split()[:2]
        device = source if source.startswith("/dev/") else device
        path = re.sub(r"\\(\d{3})", lambda found: chr(int(found.group(1), 8)), path)
        if device in seen or not (DISKS.fullmatch(kind) or path == "/"):
            continue
        with contextlib.suppress(OSError):
            room = os.statvfs(path)
            if room.f_blocks:
                seen.add(device)
                yield {
                    "path": path, "size": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize,
                    "inodes": room.f_files, "inodes_free": room.f_favail, "read_only": "ro" in options.split(","),
                }  # fmt: skip


def facts(args: dict[str, Any], _config: dict[str, Any]) -> dict[str, Any]:
    """Return what this server is; programs of listeners only as root. args: updates, the key of the last answer."""
    only(args, "updates")
    os.nice(10)
    release = dict(re.findall(r"(?m)^([A-Z_]+)=[\"']?(.*?)[\"']?$", text("/etc/os-release")))
    names = (("id", "ID"), ("version", "VERSION_ID"), ("name", "PRETTY_NAME"), ("codename", "VERSION_CODENAME"))
    systemd = os.path.isdir("/run/systemd/system")
    version = output("systemctl", "--version").split()[1:2] if systemd else []
    synced = output("timedatectl", "show", "--property=NTPSynchronized", "--value").strip() if systemd else ""
    virtual = output("systemd-detect-virt", failing=True).strip()
    apt = updates(args.get("updates"))
    lacks = [apt] if isinstance(apt, str) else []
    if not systemd:
        lacks.append("This server does not run systemd: its services and its clock's state are not known.")
    return {
        "taken": time.time(), "booted": time.time() - uptime(), "boot_id": text(BOOT).strip() or None,
        "hostname": os.uname().nodename, "kernel": os.uname().release, "arch": os.uname().machine,
        "cpus": os.cpu_count(), "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "virtual": virtual if virtual != "none" else "",
        "timezone": os.path.realpath("/etc/localtime").partition("zoneinfo/")[2] or "UTC",
        "os": {word: release.get(name, "") for word, name in names}, "systemd": version[0] if version else None,
        **hello({}, {}), "updates": None if isinstance(apt, str) else apt,
        "reboot": reboot(), "listeners": listeners(), "services": services(),
        "users": len(re.findall(r"(?m)^[^:]+:[^:]*:[1-9]\d{3,4}:.*:(?!.*(?:nologin|false)$).+$", text("/etc/passwd"))),
        "time_synced": {"yes": True, "no": False}.get(synced), "lacks": lacks,
    }  # fmt: skip


def services() -> list[dict[str, Any]] | None:
    """Return systemd's services that run, failed or are enabled; None without systemd."""
    found = []
    names = ",".join(name for _word, name in UNIT)
    for block in output("systemctl", "show", "--all", "--property", names, "*.service").split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("ActiveState") in (None, "inactive") and not unit.get("UnitFileState", "").startswith("enabled"):
            continue
        since = int(unit.pop("StateChangeTimestampMonotonic", "0") or 0) / 1e6
        said: dict[str, Any] = {word: unit[name] for word, name in UNIT if name in unit}
        restarts = int(unit.get("NRestarts") or 0)
        moment = time.time() - time.monotonic() + since if since else None
        found.append({**said, "restarts": restarts, "since": moment})
    return found[:500] or None


def listeners() -> list[dict[str, Any]]:
    """Return the sockets that take connections or datagrams from anyone."""
    import pwd
    import socket

    holders: dict[str, str] = {}
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int) if os.geteuid() == 0 else ():
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                holders.setdefault(os.readlink(f"/proc/{pid}/fd/{number}"), pid)
    found = []
    for proto, open_state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in text("/proc/net/" + proto).splitlines()[1:]:
            _number, local, remote, state, _queues, _timer, _again, uid, _timeout, inode = line.split()[:10]
            if state != open_state or not remote.endswith(":0000"):
                continue
            address, port = local.split(":")
            words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
            raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
            holder = holders.get(f"socket:[{inode}]", "")
            with contextlib.suppress(KeyError):
                uid = pwd.getpwuid(int(uid)).pw_name
            found.append({
                "proto": proto[:3], "address": socket.inet_ntop(10 if proto[3:] else 2, raw), "port": int(port, 16),
                "user": uid, "pid": int(holder) if holder else None,
                "program": text(f"/proc/{holder}/comm").strip() if holder else None,
            })  # fmt: skip
    return found[:500]


def updates(known: Any) -> dict[str, Any] | str:
    """Return apt's pending updates, or only their key when the panel knows it, or a sentence on why not."""
    stamps = []
    for place in APT:
        with contextlib.suppress(OSError):
            entries = [place, *(f"{place}/{name}" for name in os.listdir(place))] if os.path.isdir(place) else [place]
            stamps += [f"{path} {os.stat(path).st_mtime_ns}" for path in sorted(entries)]
    key = sha256("\n".join(stamps).encode("utf-8", "replace")).hexdigest()
    if known == key:
        return {"key": key, "unchanged": True}
    code, said, errors = run(["apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", "dist-upgrade"], wait=120)
    if code == 127:
        return "Pending updates are read from apt only, which this server does not have."
    if code:
        return f"apt could not say what is pending: {errors.decode('utf-8', 'replace').strip()[-200:]}"
    lines = re.findall(r"(?m)^Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*?)\)", said.decode("utf-8", "replace"))
    secure = [line for line in lines if "-security" in line[3]]
    ordered = secure + [line for line in lines if line not in secure]
    lists = [os.stat(path).st_mtime for path in LISTS if os.path.exists(path)]
    return {
        "key": key, "manager": "apt", "pending": len(lines), "security": len(secure),
        "lists_at": max(lists, default=None),
        "names": [f"{name} {old} \u2192 {new}" if old else f"{name} {new}" for name, old, new, _from in ordered[:200]],
    }  # fmt: skip


def reboot() -> dict[str, Any] | None:
    """Return whether a reboot is due: said by packages, or a newer kernel of the same flavour lies in /boot."""
    if os.path.exists("/run/reboot-required"):
        return {"needed": True, "why": sorted(set(text("/run/reboot-required.pkgs").split()))[:50]}
    running = os.uname().release
    boot = os.listdir("/boot") if os.path.isdir("/boot") else []
    kernels = [name[8:] for name in boot if name.startswith("vmlinuz-")]
    kin = [name for name in kernels if re.sub(r"[\d.]+", "", name) == re.sub(r"[\d.]+", "", running)]
    newest = max(kin, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default=None)
    if newest is None:
        return None
    return {"needed": newest != running, "why": ["linux-image-" + newest] if newest != running else []}


# --- what root does on the server itself ------------------------------------------------------------------------------


def listing() -> Iterator[str]:
    """Yield every file, folder and link that Mainstay has on this server, what is inside before what holds it."""
    for name in TREES:
        for folder, _folders, names in os.walk(ROOT + name, topdown=False):
            yield from (f"{folder[len(ROOT) :]}/{one}" for one in sorted(names))
            yield folder[len(ROOT) :]
    for folder, start in SINGLES:
        with contextlib.suppress(OSError):
            yield from (f"{folder}/{one}" for one in sorted(os.listdir(ROOT + folder)) if one.startswith(start))


def release() -> list[str]:
    """Rewrite people's lines without leases, so that they hold for ever; one that has ended stays ended."""
    now, kept = time.strftime("%Y%m%d%H%M%SZ", time.gmtime()), []
    for path in listing():
        if path.startswith(ACCESS + "/keys/") and ".new-" not in path:
            lines = [re.sub(r'^expiry-time="(\d+Z?)"[, ]', r"\1 ", line) for line in text(path).splitlines()]
            going_on = [re.sub(r"^\d+Z? ", "", line) for line in lines if not re.match(r"\d+Z? ", line) or line > now]
            write(path, "".join(line + "\n" for line in going_on).encode())
            kept += [path] if going_on else []
    return kept


def detach() -> int:
    """Remove the panel's way in and all that came with it; people's keys, sudo and revoked keys stay as they are."""
    with locked():
        if any("/rollback/" in path and path.endswith("/plan.json") for path in listing()):
            raise SystemExit("A change of access waits to be confirmed. Nothing was changed; try again in 2 minutes.")
        drop_in, krl = "/etc/ssh/sshd_config.d/10-mainstay.conf", ACCESS + "/revoked.krl"
        kept = release()
        if kept or len(read(krl) if os.path.exists(ROOT + krl) else b"") > EMPTY_KRL:  # sshd goes on reading both there
            kept += [drop_in, krl]
            write(drop_in, re.sub(r"(?ims)^match .*", "", text(drop_in)).encode())
        run(["chattr", "-a", LOG])
        for path in list(listing()):
            if path not in kept and not path.startswith("/etc/sudoers.d/mainstay-"):
                with contextlib.suppress(OSError):
                    (os.rmdir if os.path.isdir(ROOT + path) else os.unlink)(ROOT + path)
        uid = "".join(re.findall(r"(?m)^mainstay:[^:]*:([1-9]\d*):", text("/etc/passwd")))
        for pid in filter(str.isdigit, os.listdir("/proc")):  # also sshd's half that is root, and may wait for PAM
            status, named = text(f"/proc/{pid}/status"), text(f"/proc/{pid}/cmdline")
            if (uid and f"\nUid:\t{uid}\t" in status) or re.match(r"sshd(-session)?: mainstay \[priv\]", named):
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        for words in (["userdel", "mainstay"], ["userdel", "-f", "mainstay"], ["groupdel", "mainstay"]):
            run(words)
        if run(["sshd", "-t"])[0] == 0 and run(["systemctl", "reload", "ssh"])[0]:
            run(["systemctl", "reload", "sshd"])
    stays = "\n".join(sorted(listing()))
    print("Mainstay is gone from this server." + (f" People's access stays as it is, in:\n{stays}" if stays else ""))
    return 0


# --- verbs ------------------------------------------------------------------------------------------------------------


def part(file: str, name: str) -> Any:
    """Return a function of one of PARTS, loaded now if it is what root installed here; Refusal otherwise."""
    path, safe = PARTS + file, False
    with contextlib.suppress(OSError, ValueError, KeyError):
        found, content = [os.lstat(ROOT + one) for one in (CONFIG, path)], read(path)
        safe = all(info.st_uid == os.geteuid() and not info.st_mode & 0o022 for info in found)
        safe = safe and json.loads(read(CONFIG))["parts"][file] == sha256(content).hexdigest()
    if not safe:
        raise Refusal("lacks", f"{path} is missing, or not what root installed; paste the install script again.")
    if name not in globals():
        exec(compile(content, ROOT + path, "exec"), globals())  # noqa: S102 (these very bytes were looked at)
    return globals()[name]


def later(file: str, name: str) -> Callable[..., Any]:
    """Return what loads a function of one of PARTS when it is called, for it costs more than a sample."""

    def do(args: dict[str, Any], config: dict[str, Any]) -> Any:
        return part(file, name)(args, config)

    return do


# level, half, whether it changes something, what it does
VERBS: dict[str, tuple[str, str, bool, Callable[[dict[str, Any], dict[str, Any]], Any]]] = {
    "hello": ("observe", "both", False, hello),
    "sample": ("observe", "mainstay", False, sample),
    "facts": ("observe", "both", False, facts),
    "root": ("operate", "mainstay", False, hello),  # answered by become_root before it is looked up
    "dump": ("operate", "root", False, later("dump", "dump")),
    "keys": ("manage", "root", False, later("access", "keys")),
    "sessions": ("manage", "root", False, later("access", "sessions")),
    "access": ("manage", "root", True, later("access", "access")),
    "commit": ("manage", "root", True, later("access", "commit")),
    "rollback": ("manage", "root", True, later("access", "rollback")),
}


def main(words: list[str]) -> int:
    """Serve; or, run by root on the server itself: list, release, detach, rollback."""
    os.umask(0o022)
    if not words:
        return serve("mainstay")
    if os.geteuid() == 0 and len(words) == 1 and words[0] in ("root", "list", "release", "detach"):
        if words[0] == "root":
            if os.path.isdir(ROOT + ROLLBACK) and os.listdir(ROOT + ROLLBACK):
                with contextlib.suppress(Refusal):  # said as soon as a change is asked for
                    part("access", "overdue")()
            return serve("root")
        if words[0] == "detach":
            return detach()
        print("\n".join(sorted(listing() if words[0] == "list" else release())))
        return 0
    if os.geteuid() == 0 and words[0] == "rollback":
        try:
            return int(part("access", "rollback_by_hand")(words[1:]))
        except Refusal as refusal:
            raise SystemExit(refusal.said) from None
    raise SystemExit("For root, mainstay-gate knows: list, detach, release, rollback ID. See its first lines.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
