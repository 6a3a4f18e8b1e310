"""The gate's part that asks sshd: who could sign in on this server, with which key, from where, and why not.

Only a server at the level manage has it: script.py puts what follows the marker into the gate's second file.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import Any

from apps.servers.gate.gate import ACCESS, ENVIRONMENT, PANEL_KEYS, ROOT, read, run

# --- what sshd would decide -------------------------------------------------------------------------------------------

SSHD_CONFIG, DROPIN = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/10-mainstay.conf"
KEYS, KRL, STATE = (f"{ACCESS}/{name}" for name in ("keys", "revoked.krl", "state.json"))
SUDOERS = "/etc/sudoers.d/mainstay"
ANYWHERE = "192.0.2.1"  # an address that nobody has (RFC 5737)
OPTIONS = (
    "allowusers", "denyusers", "allowgroups", "denygroups", "authorizedkeysfile", "authorizedkeyscommand",
    "authorizedkeyscommanduser", "trustedusercakeys", "authorizedprincipalsfile", "authorizedprincipalscommand",
    "revokedkeys", "pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication",
    "permitemptypasswords", "permitrootlogin", "hostbasedauthentication", "ignorerhosts", "strictmodes", "usepam",
    "forcecommand", "chrootdirectory", "authenticationmethods", "pubkeyacceptedalgorithms", "requiredrsasize",
    "casignaturealgorithms", "permituserenvironment",
)  # fmt: skip


def table(name: str) -> list[list[str]]:
    """Return the lines of passwd, group or shadow as fields, with what a directory adds."""
    code, said, _errors = (1, b"", b"") if ROOT else run(["getent", name])
    lines = (said if code == 0 else read("/etc/" + name)).decode("utf-8", "backslashreplace").split("\n")
    return [line.split(":") for line in lines if ":" in line]


def accounts() -> dict[str, dict[str, Any]]:
    """Return every account: who it is, its password's state, and whether it is locked or over."""
    shadow = {line[0]: line for line in table("shadow") if len(line) > 7}
    groups = [line for line in table("group") if len(line) == 4]
    found: dict[str, dict[str, Any]] = {}
    for line in table("passwd"):
        if len(line) != 7 or not line[2].isdigit() or not line[3].isdigit() or line[0] in found:
            continue
        user, held, shell = line[0], shadow.get(line[0]), line[6] or "/bin/sh"
        secret = line[1] if line[1] != "x" else held[1] if held else "?"
        kinds = (("unknown", secret == "?"), ("empty", not secret), ("locked", secret.startswith("!")))
        hashed = re.match(r"[$_][^:*!]{8,}|[./0-9A-Za-z]{13}\Z", secret)
        days, most, over = (int(held[at]) if held and held[at].isdigit() else None for at in (2, 4, 7))
        file = ROOT + (shell if shell.startswith("/") else "/")
        found[user] = {
            "user": user, "uid": int(line[2]), "gid": int(line[3]), "home": line[5] or "/", "shell": shell,
            "groups": [one[0] for one in groups if one[2] == line[3] or user in one[3].split(",")],
            "password": next((kind for kind, so in kinds if so), "set" if hashed else "star"),
            "expires": None if over is None else over * 86400,
            "aged": days == 0 or (days is not None and most is not None and days + most < time.time() // 86400),
            "shell_ok": os.path.basename(shell) not in ("nologin", "false") and os.path.isfile(file)
            and os.access(file, os.X_OK),
        }  # fmt: skip
    return found


def strings(blob: str) -> list[bytes]:
    """Return the strings inside a key's blob; ValueError for anything else."""
    import binascii

    data, parts = binascii.a2b_base64(blob.encode("ascii")), []
    if binascii.b2a_base64(data, newline=False).decode() != blob:
        raise ValueError
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        if len(data) < max(4, size):
            raise ValueError
        parts.append(data[4:size])
        data = data[size:]
    return parts


def alike(one: str, pattern: str) -> bool:
    """Return whether a text is like an OpenSSH pattern, in which only * and ? are special."""
    like = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.match(like + r"\Z", one, re.DOTALL) is not None


def within(one: str, patterns: str) -> int:
    """Return what a list of patterns or networks says of a text: 1 it is in it, -1 an entry with ! is, 0 neither."""
    import ipaddress

    found = 0
    for pattern in patterns.split(","):
        bare = pattern.lstrip("!")
        try:
            hit = "/" in bare and ipaddress.ip_address(one) in ipaddress.ip_network(bare, strict=False)
        except ValueError:
            hit = False
        if hit or alike(one, bare):
            if pattern.startswith("!"):
                return -1
            found = 1
    return found


def meant(user: str, addr: str, pattern: str) -> bool:
    """Return whether USER or USER@HOSTS of AllowUsers or DenyUsers means a user who comes from an address."""
    who, at, where = pattern.partition("@")
    return alike(user, who) and (not at or within(addr, where) == 1)


class Config:
    """sshd's configuration as it is, or as it would be with other content in some files; sshd says what it means."""

    def __init__(self, instead: dict[str, bytes] | None = None) -> None:
        """Read it; with `instead`, sshd is asked about a copy in a private folder."""
        import shutil
        import tempfile

        self.instead = instead or {}
        self.matches: list[tuple[str, str]] = []
        self.known: dict[str, dict[str, list[str]]] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="mainstay-", dir=ROOT + "/run")
        copy = self.copied(SSHD_CONFIG, 0)
        self.path = copy if ROOT or self.instead else SSHD_CONFIG
        self.sshd = shutil.which("sshd", path=ENVIRONMENT["PATH"]) or "/usr/sbin/sshd"

    def copied(self, path: str, depth: int) -> str:
        """Copy a file, with each Include naming copies: it stays a file, for a Match ends with the file it is in."""
        import glob

        lines = []
        content = self.instead[path] if path in self.instead else read(path)
        for line in content.decode("utf-8", "surrogateescape").split("\n"):
            word, _, rest = re.sub(r"[\s=]+", " ", line.strip(), count=1).partition(" ")
            words = [one.strip('"') for one in re.findall(r'"[^"]*"|[^\s"]+', re.sub(r"(^|\s)#.*", "", rest))]
            include = word.lower() == "include" and depth < 16
            if word.lower() == "match":
                self.matches += [(name.lower(), what) for name, what in zip(words[::2], words[1::2])]
            copies = []
            for pattern in (os.path.join("/etc/ssh", one) for one in words if include):
                names = {name[len(ROOT) :] for name in glob.glob(ROOT + pattern)}
                names |= {name for name in self.instead if alike(name, pattern)}
                copies += [self.copied(name, depth + 1) for name in sorted(names)]
            lines.append(line if not include else f"Include {' '.join(copies)}" if copies else "")
        copy = f"{self.folder.name}/{len(os.listdir(self.folder.name))}"
        with open(copy, "wb") as file:
            file.write("\n".join(lines).encode("utf-8", "surrogateescape"))
        return copy

    def asked(self, account: dict[str, Any] | None, addr: str, laddr: str, lport: int) -> dict[str, list[str]]:
        """Return what holds for an account (None: outside of every Match) at an address and port; {"": [why]} else."""
        by_place = {name for name, _what in self.matches} - {"user", "group"}
        same: list[Any] = [(addr, laddr, lport) if by_place else "", account is None]
        for name, what in self.matches if account else []:
            who = {"user": [account["user"]], "group": account["groups"]} if account else {}
            same.append(sorted({within(one, what) for one in who.get(name, [])}))
        if repr(same) not in self.known:
            words = [self.sshd, "-T", "-f", self.path]
            if account:
                words += ["-C", f"user={account['user']},host={addr},addr={addr},laddr={laddr},lport={lport}"]
            code, said, errors = run(words)
            options: dict[str, list[str]] = {}
            for line in said.decode("utf-8", "replace").split("\n")[:-1]:
                name, _, rest = line.partition(" ")
                options.setdefault(name, []).append(rest)
            why = errors.decode("utf-8", "replace").strip()[:300] or "it said nothing"
            self.known[repr(same)] = {"": [f"sshd could not be asked: {why}"]} if code else options
        return self.known[repr(same)]

    def places(self, account: dict[str, Any]) -> tuple[list[tuple[str, str, int]], list[tuple[str, str, int]]]:
        """Return from where and to which port logins usually come, and what else the rules speak of."""

        def plain(entry: str) -> str:
            return re.sub(r"/\d+\Z", "", entry.lstrip("!")).replace("*", "1").replace("?", "1")

        panel, local = facing()
        options = self.asked(None, panel, local, 22)
        ports = [int(port) for port in options.get("port", ["22"])]
        usual, others = [panel, ANYWHERE], []
        for word in " ".join(options.get("allowusers", [])).split():
            who, _, where = word.partition("@")
            if alike(account["user"], who):
                usual += [plain(one) for one in where.split(",") if one[:1] not in ("", "!")]
        for name, what in self.matches:
            for one in (plain(entry) for entry in what.split(",") if name not in ("user", "group", "rdomain")):
                port = int(one) if name == "localport" and one.isdigit() else ports[0]
                addr, laddr = (one, local) if name in ("address", "host") else (panel, one)
                others.append((addr, laddr if name != "localport" else local, port))
        return [(addr, local, port) for addr in dict.fromkeys(usual) for port in ports], others[:16]


def facing() -> tuple[str, str]:
    """Return the panel's address, by its own key's from=, and this server's address that faces it."""
    import socket

    try:
        found = re.search(rb'from="([0-9a-fA-F.:]+)[",]', read(PANEL_KEYS))
        panel = found.group(1).decode() if found else ANYWHERE
        with socket.socket(socket.AF_INET6 if ":" in panel else socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((panel, 9))  # sends nothing
            return panel, way.getsockname()[0]
    except OSError:
        return ANYWHERE, "127.0.0.1"


def expanded(options: dict[str, list[str]], name: str, account: dict[str, Any]) -> list[str]:
    """Return the files of an option as sshd reads them for an account; a relative one is below the home."""
    home = account["home"].rstrip("/")
    known = {"%": "%", "h": account["home"], "u": account["user"], "U": str(account["uid"])}
    words = [word for word in " ".join(options.get(name, [])).split() if word != "none"]
    return [os.path.join(home + "/", re.sub("%([%huU])", lambda one: known[one.group(1)], word)) for word in words]


def decide(
    account: dict[str, Any], options: dict[str, list[str]], addr: str, key: dict[str, Any], around: dict[str, Any]
) -> str:
    """Return why sshd would refuse a key of an account that comes from an address, or "" if it takes it; only judges.

    `key`: type, blob, until, path (the file that holds it). `around`: now, unsafe (what StrictModes says of the file),
    missing (the file of RevokedKeys is), revoked ("type blob" of all), nologin, command (what ForceCommand may name).
    The rules are those of allowed_user() and user_key_allowed() in OpenSSH's auth.c and auth2-pubkey.c.
    """

    def option(name: str, default: str = "") -> str:
        return " ".join(options.get(name, [default]))

    user, groups, expires = account["user"], account["groups"], account["expires"]
    sort, until = key["type"], key["until"]
    allow, allow_groups = option("allowusers").split(), option("allowgroups").split()
    root_may, forced = option("permitrootlogin"), option("forcecommand")
    methods = option("authenticationmethods", "any")
    takes = set((option("pubkeyacceptedalgorithms") or option("pubkeyacceptedkeytypes")).split(","))
    bits = int.from_bytes(strings(key["blob"])[2], "big").bit_length() if sort == "ssh-rsa" else 0
    files, strict = expanded(options, "authorizedkeysfile", account), option("strictmodes") != "no"
    rules = (
        ("" in options or not options, option("", "sshd said nothing")),
        (account["password"] == "locked" and option("usepam") != "yes", "the account is locked (!) and UsePAM is no"),
        (expires is not None and around["now"] >= expires + 86400, "the account is over"),
        (account["aged"] and account["password"] != "set", "its password is over and cannot be changed"),
        (not account["shell_ok"], f"its shell {account['shell']} lets nobody in"),
        (around.get("nologin") and account["uid"], "/etc/nologin keeps everybody out"),
        (any(meant(user, addr, one) for one in option("denyusers").split()), "DenyUsers names it"),
        (allow and not any(meant(user, addr, one) for one in allow), f"AllowUsers does not name it from {addr}"),
        (any(alike(g, one) for one in option("denygroups").split() for g in groups), "DenyGroups names its group"),
        (allow_groups and not any(alike(g, one) for one in allow_groups for g in groups),
         f"AllowGroups ({', '.join(allow_groups)[:80]}) names no group of it"),
        (not account["uid"] and root_may in ("no", "forced-commands-only"), f"PermitRootLogin is {root_may}"),
        (option("pubkeyauthentication") == "no", "PubkeyAuthentication is no"),
        (not {"any", "publickey"} & set(methods.split()), f"AuthenticationMethods wants {methods[:80]}"),
        (not takes & ({"rsa-sha2-512", "rsa-sha2-256", sort} if bits else {sort}), f"sshd takes no {sort} keys"),
        (0 < bits < int(option("requiredrsasize", "1024")), f"its RSA key has only {bits} bits"),
        (key["path"] not in files, f"sshd reads {' '.join(files)[:150] or 'no file'} for it, not {key['path']}"),
        (strict and around.get("unsafe"), around.get("unsafe")),
        (around.get("missing"), f"{option('revokedkeys')} (RevokedKeys) is missing, so that sshd refuses every key"),
        (f"{sort} {key['blob']}" in around.get("revoked", ()), "its key is revoked"),
        (until is not None and until <= around["now"], "its lease has ended"),
        (forced not in ("", "none", around.get("command")), "ForceCommand gives it no shell"),
        (option("chrootdirectory", "none") != "none", "ChrootDirectory shuts it in"),
    )  # fmt: skip
    return next((str(said) or "refused" for so, said in rules if so), "")


def verdict(
    config: Config, account: dict[str, Any], held: list[dict[str, Any]], around: dict[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """Return the keys with which an account gets in from where logins usually come, and what is against the others."""
    usual, others = config.places(account)
    barred = any(os.path.exists(ROOT + path) for path in ("/etc/nologin", "/run/nologin"))
    around = {**around, "now": time.time(), "nologin": barred}

    def why_not(key: dict[str, Any], place: tuple[str, str, int]) -> str:
        options = config.asked(account, *place)
        revoked = " ".join(options.get("revokedkeys", ["none"]))
        missing = revoked not in ("none", around.get("krl")) and not os.path.isfile(ROOT + revoked)
        there = [path for path in (key["path"], os.path.dirname(key["path"])) if os.path.exists(ROOT + path)]
        loose = unsafe(there[0], account) if there else ""  # sshd tells no more of a file that is yet to come
        return decide(account, options, place[0], key, {**around, "missing": missing, "unsafe": loose})

    good, why = [], "" if held else "it has no key"
    for key in held:
        said = [why_not(key, place) for place in usual]
        good += [key] if "" in said else []
        why = why or ("" if "" in said else said[0])
    for place in others if good and not why else []:
        if why_not(good[0], place):
            return good, f"but not from {place[0]} to {place[1]} port {place[2]}: {why_not(good[0], place)}"
    return good, why


@contextlib.contextmanager
def acting_as(account: dict[str, Any]) -> Iterator[None]:
    """Look with an account's rights only, so that no link leads where its owner could not go himself."""
    if ROOT or account["uid"] == 0:
        yield
        return
    before = os.getgroups()
    os.setgroups([account["gid"]])
    os.setegid(account["gid"])
    os.seteuid(account["uid"])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def unsafe(path: str, account: dict[str, Any]) -> str:
    """Return what StrictModes has against a file: owner or mode of it, or of a folder up to the home or /."""
    real, ends = os.path.realpath(ROOT + path), {os.path.realpath(ROOT + name) for name in (account["home"], "/")}
    try:
        while True:
            info = os.stat(real)
            if info.st_uid not in (0, account["uid"]) or info.st_mode & 0o022:
                return f"StrictModes refuses owner or mode of {real[len(ROOT) :] or '/'}"
            if real in ends or real == "/":
                return ""
            real = os.path.dirname(real)
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror})"


def source(kind: str, path: str, account: dict[str, Any], cut: list[str]) -> list[dict[str, Any]]:
    """Return one file that sshd reads, or would, with its lines; nothing where there is none. Never waits on a pipe."""
    found: dict[str, Any] = {"kind": kind, "path": path[:1024], "exists": True, "refused": None, "mtime": None}
    lines: list[dict[str, Any]] = []
    try:
        with acting_as(account), open(os.open(ROOT + path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            info = os.fstat(file.fileno())
            plain = stat.S_ISREG(info.st_mode)
            content, refused = file.read(1 << 20) if plain else b"", unsafe(path, account) if plain else "it is no file"
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        return [{**found, "lines": [], "refused": f"it cannot be read ({getattr(error, 'strerror', 'its name')})"}]
    for number, raw in enumerate(content.decode("utf-8", "backslashreplace").split("\n"), 1):
        line = raw.strip()
        if line and not line.startswith("#"):
            keyless = kind in ("principals", "rhosts", "shosts")
            lines.append({"number": number, **(key_line("" if keyless else line) or said_only(line))})
    if len(lines) > 500 or len(content) == 1 << 20:
        cut.append(f"{path[:300]}: {len(lines)} lines, {min(len(lines), 500)} shown")
    return [{**found, "lines": lines[:500], "refused": refused or None, "mtime": info.st_mtime}]


def said_only(line: str) -> dict[str, str]:
    """Return a line that holds no key."""
    return {"options": "", "type": "", "blob": "", "comment": line[:200]}


def key_line(line: str) -> dict[str, str]:
    """Return options, type, blob and comment of a line as sshd takes it apart (a key, or options and a key), or {}."""
    at, quoted = 0, False
    while at < len(line) and (quoted or line[at] not in " \t"):
        if line[at : at + 2] == '\\"':
            at += 1
        elif line[at] == '"':
            quoted = not quoted
        at += 1
    for options, rest in (("", line), (line[:at], line[at:])):
        sort, blob, comment = [*rest.split(None, 2), "", "", ""][:3]
        with contextlib.suppress(ValueError, IndexError):
            if len(options) <= 2000 and len(blob) <= 12000 and strings(blob)[0] == sort.encode() and len(sort) <= 64:
                return {"options": options, "type": sort, "blob": blob, "comment": comment[:400]}
    return {}


def sources(account: dict[str, Any], options: dict[str, list[str]], cut: list[str]) -> list[dict[str, Any]]:
    """Return everything that sshd reads to let an account in."""
    found: list[dict[str, Any]] = []
    files = {"file": "authorizedkeysfile", "authority": "trustedusercakeys", "principals": "authorizedprincipalsfile"}
    for kind, name in files.items():
        for path in expanded(options, name, account)[:10]:
            found += source(kind, path, account, cut)
    for name in (".rhosts", ".shosts"):
        found += source(name[1:], os.path.join(account["home"], name), account, cut)
    for name in ("authorizedkeyscommand", "authorizedprincipalscommand"):
        command = " ".join(options.get(name, ["none"]))
        if command != "none":
            row = {"kind": "command", "path": command[:1024], "exists": True, "refused": None, "mtime": None}
            found.append({**row, "lines": []})
    return found


def sudo_of(user: str) -> str:
    """Return what sudo lets a user do: all, some, none, or unknown."""
    code, said, _errors = run(["sudo", "-n", "-l", "-U", user], wait=10)
    if b"not allowed to run sudo" in said:
        return "none"
    rules = re.findall(r"^\s+\(([^)]*)\)(.*)$", said.decode("utf-8", "replace"), re.MULTILINE)
    full = any(re.search(r"\b(ALL|root)\b", who) and re.search(r"(^|[ ,])ALL(,|$)", what) for who, what in rules)
    return "unknown" if code or not rules else "all" if full else "some"
