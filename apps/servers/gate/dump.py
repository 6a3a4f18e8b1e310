"""The gate's part that lends one moment of a database: questions that only look, and this server's own pg_dump."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import re
import select
import signal
import subprocess
import tempfile
from typing import Any

from apps.servers.gate.gate import ENVIRONMENT, Refusal, checked, listen, only, output

# --- dumps: one read-only moment of a database of this server, as a plain user, until the panel hangs up --------------

IDLE, BEAT = 900, 15  # seconds: a panel that asks or takes nothing is dead; an empty frame says that the work goes on
QUOTED = re.compile(r"""(?s)(?<![\w$\x80-\U0010ffff])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^'\\]|'')*'|"(?:[^"]|"")*\"""")
HIDES = re.compile(r"[;\\$\0]|--|/\*|[uU]&|'(?!')(?<!'')|\"(?!\")(?<!\"\")")  # what could hide a call in a question
CALLS = re.compile(r"(?i)(?<!\bas )(?:(?<![\w\x80-\U0010ffff])[\w\x80-\U0010ffff]+|\"\")(?=\s*\()")
LOOKS = re.compile((  # before a bracket: SQL's own words, and functions that only look, and only into a database
    r"(?i)(?:all and any array as by case coalesce else exists filter from in join not on only or over select then "
    "using values when where row count sum min max array_agg string_agg unnest concat_ws format format_type "
    "quote_ident quote_literal to_jsonb encode sha256 starts_with hashtextextended record_out lo_get aclexplode "
    r"acldefault row_security_active has_\w+_privilege pg_get_\w+ pg_\w+_size pg_identify_object pg_encoding_to_char "
    r"pg_is_in_recovery pg_last_xact_replay_timestamp pg_control_system current_database)\Z"
).replace(" ", "|"))  # fmt: skip


def harmless(question: Any) -> bytes:
    """Return a question as bytes; refuse all but one SELECT of known functions: a superuser's others write and run."""
    bare = QUOTED.sub(lambda found: found.group()[-1] * 2, question) if isinstance(question, str) else ""
    bad = [word for word in CALLS.findall(bare) if not LOOKS.match(word)]
    if bad or HIDES.search(bare) or not re.match(r"(?i)[\s(]*select\b", bare):
        raise Refusal("refused", f"The gate asks a database no such question ({' '.join(bad)[:60]}). Nothing was done.")
    return str(question).encode()


def quoted(name: Any, mark: str = '"') -> str:
    """Return a name as SQL takes it, or a text with the other mark."""
    if not isinstance(name, str) or not 0 <= len(name) < 300 or re.search(r"\0" if mark == '"' else r"[\0\\]", name):
        raise Refusal("malformed", "This is no name in a database. Nothing was done.")
    return mark + name.replace(mark, mark * 2) + mark


def frame(kind: bytes, data: Any = b"") -> None:
    """Send a letter, four bytes of length, and bytes or JSON; EOFError when the panel hangs up or takes nothing."""
    body = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode("ascii")
    left = memoryview(kind + len(body).to_bytes(4, "big") + body)
    while left:
        spoken, free, _ = select.select([0], [1], [], IDLE)
        if spoken or not free:
            raise EOFError
        left = left[os.write(1, left) :]


def heard(*handles: int) -> list[int]:
    """Wait until one of some handles can be read, with a beat in silence; EOFError when the panel hangs up."""
    while True:
        ready = select.select([0, *handles], [], [], BEAT)[0]
        if 0 in ready:
            raise EOFError
        if ready:
            return ready
        frame(b"k")


def mortal() -> None:
    """Let the kernel end this process with the one that started it (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


class Database:
    """One connection, by this server's libpq: psql would take commands of its own in a text, and several statements."""

    def __init__(self, given: dict[str, str]) -> None:
        """Connect; Refusal with libpq's words."""
        handle = type("Handle", (ctypes.c_void_p,), {})  # a pointer that is not cut to an int
        try:
            self.pq = pq = ctypes.CDLL("libpq.so.5")
        except OSError:
            raise Refusal("lacks", "This server has no PostgreSQL client (libpq). Install it there.") from None
        pq.PQconnectdbParams.restype = pq.PQgetResult.restype = pq.PQgetCancel.restype = handle
        for does in (pq.PQerrorMessage, pq.PQresultErrorField, pq.PQresultErrorMessage, pq.PQgetvalue):
            does.restype = ctypes.c_char_p
        columns = [[part.encode() for part in column] + [None] for column in zip(*given.items())]  # noqa: B905 as Python 3.7 has it
        self.at = pq.PQconnectdbParams(*((ctypes.c_char_p * len(some))(*some) for some in columns), 0)
        self.spare = ctypes.create_string_buffer(256)
        if pq.PQstatus(self.at):
            raise Refusal("connect", pq.PQerrorMessage(self.at).decode("utf-8", "replace")[:2000])

    def ask(self, question: bytes, *, tell: bool = False) -> str:
        """Ask one statement; send its rows as frames, or return its last value. Raises LookupError(SQLSTATE, words)."""
        pq, last, trouble = self.pq, "", LookupError("08006", "the connection to the server was lost")
        whole = pq.PQsendQueryParams(self.at, question, 0, None, None, None, None, 0)
        while whole:
            while whole and pq.PQisBusy(self.at):
                heard(pq.PQsocket(self.at))
                whole = pq.PQconsumeInput(self.at)
            got = pq.PQgetResult(self.at)
            if not got:
                break
            across, rows, size = range(pq.PQnfields(got)), [], 0
            if pq.PQresultStatus(got) not in (1, 2):
                said = pq.PQresultErrorMessage(got).decode("utf-8", "replace")[:2000]
                whole, trouble = 0, LookupError((pq.PQresultErrorField(got, 67) or b"08006").decode(), said)
            elif tell:
                frame(b"t", [pq.PQftype(got, at) & 0xFFFFFFFF for at in across])
            for down in range(pq.PQntuples(got)):
                raw = [None if pq.PQgetisnull(got, down, at) else pq.PQgetvalue(got, down, at) for at in across]
                rows.append([part if part is None else part.decode("utf-8", "surrogateescape") for part in raw])
                size += sum(map(len, filter(None, raw)))
                if tell and (size > 1 << 18 or down == pq.PQntuples(got) - 1):
                    frame(b"r", rows)
                    rows, size = [], 0
            last = str(rows[-1][0]) if rows else ""
            pq.PQclear(got)
        while pq.PQgetResult(self.at) if not whole else None:
            pass
        if not whole:
            raise trouble
        return last


def pg_dump(program: str, where: dict[str, str], snapshot: str, passes: int) -> None:
    """Send what pg_dump writes (d) and says (s), then how it ended (x)."""
    known = {name: value for name, value in where.items() if value}
    words = ["--format=custom", "--compress=0", "--snapshot=" + snapshot, "--no-password", "--lock-wait-timeout=60s"]
    with subprocess.Popen(
        [program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env={**ENVIRONMENT, **known, "PGPASSFILE": f"/proc/self/fd/{passes}"}, pass_fds=[passes], preexec_fn=mortal,  # noqa: PLW1509 there are no threads
    ) as child:  # fmt: skip
        try:
            kinds = {pipe.fileno(): kind for pipe, kind in ((child.stdout, b"d"), (child.stderr, b"s")) if pipe}
            while kinds:
                for handle in heard(*kinds):
                    data = os.read(handle, 1 << 18)
                    frame(kinds[handle], data) if data else kinds.pop(handle)
            frame(b"x", child.wait(60))
        finally:
            child.kill()


def lend(where: dict[str, Any], password: str, settings: dict[str, str], config: dict[str, Any]) -> None:
    """Hold one moment open, and do in it what the panel asks for, each time signed and counted, until it hangs up."""
    passes = tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115 nameless, so that nothing is left
    passes.write(("*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", password)).encode() if password else b"")
    passes.flush()
    names = {"host": where["PGHOST"], "port": where["PGPORT"], "dbname": where["PGDATABASE"], "user": where["PGUSER"]}
    how = {"passfile": "/nonexistent", "connect_timeout": "15", "gssencmode": "disable", "client_encoding": "UTF8"}
    base = Database({**names, **how, "password": password, "application_name": "mainstay"})
    wishes = {**settings, "restrict_nonsystem_relation_kind": "view, foreign-table"}
    pairs = ", ".join(f"({quoted(name, chr(39))}, {quoted(value, chr(39))})" for name, value in wishes.items())
    try:
        steady = (
            f"SELECT set_config(name, value, false) FROM pg_settings, (VALUES {pairs}) AS w(wish, value) "  # noqa: S608
            "WHERE lower(name) = wish AND context = 'user'"
        )
        for words in (steady, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT pg_export_snapshot()"):
            snapshot = base.ask(words.encode())
        version = base.pq.PQserverVersion(base.at)
        places = ("/usr/lib/postgresql/{}/bin/pg_dump", "/usr/pgsql-{}/bin/pg_dump", "/usr/bin/pg_dump")
        found = [path for path in (place.format(version // 10000) for place in places) if os.access(path, os.X_OK)]
        client = output(found[0], "--version").strip()[:100] if found else ""
        frame(b"h", {"version": version, "pg_dump": client})
        for count in range(1, 1 << 32):
            signal.alarm(IDLE)
            asked = checked(listen(), config["nonce"], config)
            signal.alarm(0)
            wish = asked["args"]
            if asked["verb"] != "dump" or wish.pop("at", None) != count or len(wish) != 1:
                raise Refusal("malformed", "The panel asked out of turn.")
            try:
                if "question" in wish:
                    question = harmless(wish["question"])
                    base.ask(b"SAVEPOINT ask")
                    refused = None
                    try:
                        base.ask(question, tell=True)
                    except LookupError as error:
                        refused = error
                    base.ask(b"ROLLBACK TO SAVEPOINT ask")  # gives back the locks on indexes: a server has only so many
                    base.ask(b"RELEASE SAVEPOINT ask")
                    if refused:
                        raise refused
                elif "lock" in wish:
                    tables = ", ONLY ".join(".".join(map(quoted, table)) for table in wish["lock"])
                    base.ask(b"SET LOCAL lock_timeout = '60s'")
                    base.ask(f"LOCK TABLE ONLY {tables} IN ACCESS SHARE MODE".encode())
                    base.ask(b"SET LOCAL lock_timeout = 0")
                elif wish.get("dump") is True and found:
                    pg_dump(found[0], where, snapshot, passes.fileno())
                else:
                    raise Refusal("malformed", "The gate does nothing of that kind.")
                frame(b"q")
            except LookupError as error:
                frame(b"e", list(error.args))
    finally:
        base.pq.PQcancel(base.pq.PQgetCancel(base.at), base.spare, 256)
        base.pq.PQfinish(base.at)


def dump(args: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Lend a database of this server, as the account of its user's name or, with a password, as mainstay."""
    only(args, "host", "port", "database", "user", "password", "settings")
    where = {"PG" + name.upper(): args.get(name, 0) for name in ("host", "port", "database", "user")}
    texts = [*where.values(), args.get("password")]
    if not all(isinstance(text, str) and not re.search(r"[\0\n]", text) for text in texts):
        raise Refusal("malformed", "These arguments are not what this gate understands.")
    if not re.match(r"(/[^,]*|localhost|127\.0\.0\.1|::1)?,\d{0,5}\Z", args["host"] + "," + args["port"]):
        raise Refusal("refused", "The gate speaks only with databases on this server: no host, a folder, or localhost.")
    try:
        account = pwd.getpwnam("mainstay" if args["password"] else args["user"])
    except KeyError:
        said = f"There is no account {args['user'][:63]} on this server, so PostgreSQL asks for a password. Give one."
        raise Refusal("account", said) from None
    if not account.pw_uid:
        raise Refusal("account", "The gate signs in to no database as root. Give another user.")
    child = os.fork()
    if not child:
        told = {}
        try:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            mortal()
            os.environ.clear()
            os.set_blocking(1, False)
            lend(where, args["password"], dict(args["settings"]), config)
        except Refusal as refusal:
            told = {"code": refusal.code, "said": refusal.said}
        except LookupError as error:
            told = {"code": "connect", "said": str(error.args[-1])}
        except Exception as error:  # noqa: BLE001 the panel hears of every end, if it still hears
            told = {"code": "failed", "said": f"The gate failed at a dump ({type(error).__name__}: {error})."[:500]}
        finally:
            with contextlib.suppress(OSError, EOFError):
                frame(b"f", told)
            os._exit(0)
    os.waitpid(child, 0)
    os.set_blocking(1, True)
    return {}
