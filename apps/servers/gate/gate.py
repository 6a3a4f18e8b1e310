#!/usr/bin/env python3
"""The gate: the only program that Mainstay may run on this server. It answers signed requests and nothing else.

Read it before you install it: it is one file, needs Python 3.7 and nothing besides. sshd starts it as the forced command
of the account `mainstay`. It prints a random nonce; the panel answers with one request that is signed together with that
nonce and this server's id; the gate checks the signature with this server's own ssh-keygen, does what the verb says if the
server's level allows it, and prints one JSON document. There is no shell behind it, it never updates itself, and
`mainstay-gate detach`, run here by root, removes everything that it brought.
"""

import base64
import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import syslog
import tempfile
import time

VERSION = "1.0"
LEVELS = ("observe", "operate", "manage")
ROOT = ""  # the tests play on a copy of the tree; on a server it is always empty
GATE = "/usr/local/lib/mainstay/gate"
CONFIG = "/etc/mainstay/server.json"
SIGNERS = "/etc/mainstay/signers"
ACCESS = "/etc/ssh/mainstay"
LOG = "/var/log/mainstay/gate.log"
LOCK = "/run/mainstay-gate.lock"
NAMESPACE, IDENTITY = "mainstay-gate", "mainstay"
MOST = 4 * 1024 * 1024  # bytes of one request
PATIENCE = 60  # seconds the panel has to say what it wants
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "LC_ALL": "C", "HOME": "/", "LANG": "C"}


class Refusal(Exception):
    """What the gate will not or cannot do: a code for the panel and one sentence for people."""

    def __init__(self, code, said):
        """Keep both."""
        super().__init__(said)
        self.code, self.said = code, said


# --- the conversation --------------------------------------------------------------------------------


def serve(who):
    """Hold one conversation on standard input and output; `who` is "mainstay" or "root"."""
    signal.signal(signal.SIGALRM, give_up)
    config = configured()
    nonce = secrets.token_hex(32)
    say({
        "gate": 1, "version": VERSION, "nonce": nonce, "clock": time.time(), "server": config["server"],
        "level": config["level"], "as": who, "state": digest(), "verbs": allowed(config["level"], who),
    })  # fmt: skip
    verb = "?"
    try:
        signal.alarm(PATIENCE)
        asked = checked(listen(), nonce, config)
        signal.alarm(0)
        verb = asked["verb"]
        if verb == "root" and who == "mainstay":
            become_root(config)
        answer = act(verb, asked, config, who)
    except Refusal as refusal:
        log(who, verb, "refused: " + refusal.said)
        say({"ok": False, "code": refusal.code, "said": refusal.said})
        return 1
    except Exception as error:  # the panel hears of every end in one document
        log(who, verb, "failed: %s" % type(error).__name__)
        say({"ok": False, "code": "failed", "said": "The gate failed at %s (%s: %s)." % (verb, type(error).__name__, str(error)[:300])})
        return 1
    log(who, verb, "done")
    if answer is not None:
        say({"ok": True, "answer": answer, "state": digest()})
    return 0


def allowed(level, who):
    """Return the verbs of a level for one half of the gate."""
    return sorted(
        name for name, (needs, half, _changes, _do) in VERBS.items()
        if LEVELS.index(needs) <= LEVELS.index(level) and half in (who, "both")
    )  # fmt: skip


def act(verb, asked, config, who):
    """Do one verb, under the lock and against the expected state where it changes something."""
    if verb not in allowed(config["level"], who):
        if verb in VERBS and LEVELS.index(VERBS[verb][0]) > LEVELS.index(config["level"]):
            raise Refusal("level", "This server's level is %s; %s needs %s. Nothing was changed." % (config["level"], verb, VERBS[verb][0]))
        raise Refusal("verb", "This gate (version %s) does not know %s. Nothing was changed." % (VERSION, verb[:40]))
    _needs, _half, changes, do = VERBS[verb]
    if not changes:
        return do(asked["args"], config)
    with locked():
        if asked.get("state") != digest():
            raise Refusal("state", "Something changed on this server since the panel looked. Nothing was changed; it looks again.")
        log(who, verb, "begins")
        return do(asked["args"], config)


def listen():
    """Read one line of at most MOST bytes, byte-exact, leaving nothing of what follows in a buffer."""
    parts, size = [], 0
    while True:
        part = os.read(0, 65536)
        if not part:
            raise Refusal("malformed", "The connection ended before a whole request.")
        parts.append(part)
        size += len(part)
        if size > MOST:
            raise Refusal("malformed", "The request is longer than %d bytes." % MOST)
        if b"\n" in part:
            break
    line, _, rest = b"".join(parts).partition(b"\n")
    if rest:
        raise Refusal("malformed", "The request is more than one line.")
    return line


def checked(line, nonce, config):
    """Return the request of a line whose form, signature, nonce and server are right."""
    try:
        outer = json.loads(line.decode("utf-8"))
        text, signature = outer["request"], outer["signature"]
        if set(outer) != {"request", "signature"} or not isinstance(text, str) or not isinstance(signature, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError):
        raise Refusal("malformed", "The request is not what this gate understands.")
    if not signed(text.encode("utf-8"), signature):
        raise Refusal("signature", "The request is not signed with this server's key.")
    try:
        asked = json.loads(text)
        shape = (
            set(asked) <= {"nonce", "server", "verb", "args", "state"}
            and all(isinstance(asked[name], str) for name in ("nonce", "server", "verb"))
            and isinstance(asked["args"], dict)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        shape = False
    if not shape:
        raise Refusal("malformed", "The signed request is not what this gate understands.")
    if not secrets.compare_digest(asked["nonce"].encode(), nonce.encode()):
        raise Refusal("nonce", "The request was made for another connection.")
    if asked["server"] != config["server"]:
        raise Refusal("server", "The request is for another server.")
    return asked


def signed(message, signature):
    """Return whether ssh-keygen accepts the signature as the panel's, in this namespace."""
    if not signature.startswith("-----BEGIN SSH SIGNATURE-----\n") or len(signature) > 4096:
        return False
    with tempfile.TemporaryDirectory(prefix="mainstay-") as folder:
        path = os.path.join(folder, "signature")
        with open(path, "w") as file:
            file.write(signature)
        words = ["ssh-keygen", "-Y", "verify", "-f", ROOT + SIGNERS, "-I", IDENTITY, "-n", NAMESPACE, "-s", path]
        return run(words, data=message)[0] == 0


def become_root(config):
    """Become the root half, which trusts nothing of this one: it has a nonce of its own and checks again."""
    if config["level"] == "observe":
        raise Refusal("level", "This server's level is observe, so nothing runs as root here.")
    log("mainstay", "root", "begins")
    try:
        os.execve("/usr/bin/sudo", ["sudo", "-n", GATE, "root"], PATH)
    except OSError:
        raise Refusal("lacks", "sudo is missing on this server; install it, or set the level to observe.")


def give_up(_number, _frame):
    """End a conversation in which the panel says nothing."""
    raise Refusal("malformed", "No request came within %d s." % PATIENCE)


def say(document):
    """Write one JSON document as one line."""
    data = (json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n").encode("ascii")
    while data:
        data = data[os.write(1, data):]


# --- ground ----------------------------------------------------------------------------------------


def configured():
    """Return who this server is; refuses anything that root did not write."""
    with open(ROOT + CONFIG) as file:
        config = json.load(file)
    if config.get("level") not in LEVELS or not re.match(r"[0-9a-f-]{36}\Z", str(config.get("server"))):
        raise SystemExit("gate: %s is damaged" % CONFIG)
    return config


def run(words, data=None, wait=60):
    """Run a program with a clean environment; return its exit code, output and errors (each cut at 8 MiB)."""
    try:
        done = subprocess.run(words, input=data if data is not None else b"", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=PATH, timeout=wait)
    except FileNotFoundError:
        return 127, b"", b"not found"
    except subprocess.TimeoutExpired:
        return 124, b"", b"took too long"
    return done.returncode, done.stdout[:8 << 20], done.stderr[:8 << 20]


@contextlib.contextmanager
def locked():
    """Hold the lock of changes, or refuse."""
    with open(ROOT + LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refusal("busy", "Another change is being made on this server. Nothing was changed.")
        yield


def log(who, verb, what):
    """Append one line to the gate's own log and to the system's; a full disk never stops an answer."""
    line = "%s %s %s %s %s" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.getpid(), who, verb[:40], what[:400].replace("\n", " "))
    if not ROOT:
        syslog.openlog("mainstay-gate", 0, syslog.LOG_AUTH)
        syslog.syslog(syslog.LOG_INFO, line)
    try:
        handle = os.open(ROOT + LOG, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        os.write(handle, (line + "\n").encode("utf-8", "replace"))
        os.close(handle)
    except OSError:
        pass


def write(path, content, mode=0o644):
    """Replace a file at once: a new one beside it, on disk, then renamed. A full disk leaves the old one."""
    temporary = "%s.new-%s" % (path, secrets.token_hex(4))
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            os.fchmod(handle, mode)
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view):]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, path)
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Refusal("full" if error.errno == 28 else "refused", "%s cannot be written (%s). What was there stays." % (path, error.strerror))


def digest():
    """Return a digest of everything that a change of access builds on."""
    known = hashlib.sha256()
    for path in sorted(access_files()):
        try:
            info = os.lstat(ROOT + path)
            with open(ROOT + path, "rb") as file:
                content = file.read()
        except OSError as error:
            known.update(("%s %s\n" % (path, error.errno)).encode())
            continue
        known.update(("%s %o %d %s\n" % (path, info.st_mode, info.st_uid, hashlib.sha256(content).hexdigest())).encode())
    return known.hexdigest()


def access_files():
    """Yield the files that the panel has written, or would write, on this server."""
    for folder, pattern in ((ACCESS, r""), (ACCESS + "/keys", r""), ("/etc/sudoers.d", r"mainstay"), ("/etc/ssh/sshd_config.d", r"10-mainstay")):
        with contextlib.suppress(OSError):
            for name in os.listdir(ROOT + folder):
                if re.match(pattern, name) and not os.path.isdir(ROOT + folder + "/" + name):
                    yield folder + "/" + name
    yield "/etc/passwd"


# --- verbs: level, half, whether it changes something, what it does -----------------------------------


def hello(_args, _config):
    """Say only that the gate is there."""
    return {"python": "%d.%d" % sys.version_info[:2], "openssh": run(["ssh", "-V"])[2].decode("ascii", "replace").strip()[:100]}


VERBS = {
    "hello": ("observe", "both", False, hello),
    "root": ("operate", "mainstay", False, hello),  # answered by become_root before it is looked up
}


def main(words):
    """Serve; or, run by root on the server itself: detach, list, rollback."""
    os.umask(0o022)
    if not words:
        return serve("mainstay")
    if words == ["root"] and os.geteuid() == 0:
        return serve("root")
    raise SystemExit("mainstay-gate knows: list, detach, rollback ID. See its first lines.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
