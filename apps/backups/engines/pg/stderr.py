"""Classifies what pg_dump and pg_restore say: harmless with a reason, trouble with a name, or else a failure."""

# ruff: noqa: E501 a pattern and its reason read better unbroken

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# pattern of a whole line → why it is harmless, with the details and hints that follow it.
HARMLESS: Mapping[str, str] = {
    r"pg_dump: warning: there are circular foreign-key constraints (on this table|among these tables):": "an advice for data-only restores; a whole restore makes foreign keys last",
    r"pg_dump: warning: subscriptions not dumped because current user is not a superuser": "subscriptions are noted in the manifest as not dumped",
    r"pg_restore: warning: errors ignored on restore: \d+": "only a count; the errors themselves are classified one by one",
}
# Whole findings of pg_restore (an error with its detail and command) that are harmless.
HARMLESS_ERRORS: Mapping[str, str] = {
    r'unrecognized configuration parameter "transaction_timeout"': "a newer pg_restore sets what an older server does not have",
    r'schema "public" already exists': "every new database has one",
}
# pattern → (code, sentence). {0} is the first group.
NAMED: tuple[tuple[str, str, str], ...] = (
    # First: what a hostile backup says must not choose a milder name for it.
    (
        r"permission denied to COPY to or from an external program|permission denied to COPY (?:to|from) a file",
        "hostile",
        "something in the backup tried to run a program or read a file on the server, and was refused",
    ),
    (r'role "([^"]*)" does not exist', "missing-role", "the role {0} is missing"),
    (r'extension "([^"]*)" is not available', "missing-extension", "the extension {0} is not installed on the server"),
    (
        r'could not open extension control file ".*/([^/"]+)\.control"',
        "missing-extension",
        "the extension {0} is not installed on the server",
    ),
    (r'type "([^"]*)" does not exist', "missing-type", "the type {0} is missing"),
    (
        r"permission denied to set role|must be able to SET ROLE",
        "no-rights",
        "the user may not hand objects to their owners",
    ),
    (r"permission denied for (.+)", "no-rights", "permission is denied for {0}"),
    (
        r"permission denied to (.+)|must be (superuser|owner)",
        "no-rights",
        "the user may not do all that the dump needs",
    ),
    (
        r"unexpected end of file|could not read from input file|end of file reached|corrupt tar|found unexpected block ID",
        "truncated",
        "the archive ends too early or is damaged",
    ),
    (
        r"could not uncompress data|did not find magic string|unsupported version|input file does not appear to be a valid archive",
        "not-an-archive",
        "the archive cannot be read",
    ),
    (r"server version mismatch", "client-too-old", "pg_dump is older than the server"),
    (r"could not extend file|No space left on device|could not write", "disk-full", "the disk is full"),
    (
        (
            r"terminating connection|server closed the connection|connection to server was lost|SSL connection has been closed|"
            r"no connection to the server|could not receive data from server|PQgetCopyData\(\) failed|PQgetResult\(\) failed"
        ),
        "connection-lost",
        "the connection to the server was lost",
    ),
    (
        r"query would be affected by row-level security policy for table \"([^\"]*)\"",
        "row-security",
        "row-level security hides rows of {0}",
    ),
    (
        r"could not obtain lock|canceling statement due to lock timeout",
        "locked",
        "a table was locked by somebody else for too long",
    ),
    (r"canceling statement due to", "cancelled", "the server ended a query"),
    (
        r"snapshot .* (?:does not exist|is not)|invalid snapshot identifier",
        "snapshot",
        "the server gave up the snapshot",
    ),
    (r"out of shared memory", "locks", "the server has too few locks for so many tables (max_locks_per_transaction)"),
    (
        r"violates check constraint|violates foreign key|violates not-null|violates unique|could not create unique index|is violated by some row",
        "violated",
        "rows do not fit the constraints of their own table",
    ),
    (r"collation \"([^\"]*)\".*does not exist", "missing-collation", "the collation {0} is missing on this machine"),
    (r"relation \"([^\"]*)\" already exists", "not-empty", "{0} is already there"),
)
_HEAD = re.compile(r"^(?:\S*/)?(pg_dump|pg_restore): ")
# What a server says about rows holds the rows themselves, and the command that failed holds the source of functions.
# Logs are evidence that every viewer reads: the values stay out of them.
_VALUES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(Failing row contains) \(.*"), r"\1 (…)."),
    (re.compile(r"(Key \(.*?\))=\(.*?\)( is | already | conflicts )"), r"\1=(…)\2"),
    (re.compile(r"(Key \(.*?\))=\((?!…\)).*"), r"\1=(…)"),
    (re.compile(r"(COPY .*?, line \d+[^:]*): .*"), r"\1: …"),
    (re.compile(r"(invalid input (?:syntax|value) for [^:]*): .*"), r"\1: …"),
    (re.compile(r"(Token|value) \".*\" (is invalid|is out of range|too long)"), r"\1 … \2"),
)
_COMMAND = re.compile(r"^(?:Command was|STATEMENT): *")
_DETAIL = re.compile(r"^(?:\S*/)?(?:pg_dump|pg_restore): (?:detail|hint): ")


@dataclass(slots=True)
class Verdict:
    """What was said. `codes` are named troubles, `unknown` lines that nobody has classified: both are failures."""

    codes: dict[str, str] = field(default_factory=dict)  # code → what, in words
    unknown: list[str] = field(default_factory=list)
    harmless: int = 0
    log: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether nothing was said but what is known to be harmless."""
        return not self.codes and not self.unknown


def findings(lines: Iterable[str]) -> list[str]:
    """Join the lines of one message: an error, its detail, its hint and the command that failed."""
    grouped: list[list[str]] = []
    for line in lines:
        if not line.strip():
            continue
        head = _HEAD.match(line)
        starts = head is not None and not _DETAIL.match(line)
        # "while …" and "from TOC entry …" come before the error that they explain
        joins = bool(grouped) and bool(re.match(r"^(?:\S*/)?pg_restore: (?:while|from TOC|in TOC)", grouped[-1][-1]))
        if (starts and not joins) or not grouped:
            grouped.append([line])
        else:
            grouped[-1].append(line)
    return ["\n".join(group) for group in grouped]


def without_values(lines: Iterable[str]) -> list[str]:
    """Return the lines without what they quote from rows; of a command only its first three words are left."""
    kept: list[str] = []
    in_command = False
    for line in lines:
        in_command = in_command and not _HEAD.match(line)
        if in_command:
            continue
        if found := _COMMAND.match(line):
            in_command = True
            kept.append(f"{found.group(0)}{' '.join(line[found.end() :].split()[:3])} …")
            continue
        for pattern, instead in _VALUES:
            line = pattern.sub(instead, line)  # noqa: PLW2901 each rule sees what the one before it left
        kept.append(line)
    return kept


def classify(lines: Iterable[str]) -> Verdict:
    """Judge everything that a program said on stderr."""
    kept = [line.rstrip("\n") for line in lines]
    verdict = Verdict(log=tuple(without_values(kept)[-40:]))
    for finding in findings(kept):
        first = finding.splitlines()[0]
        plain = first[len(found.group(0)) - len(found.group(1)) - 2 :] if (found := _HEAD.match(first)) else first
        more = finding.splitlines()[1:]  # its details and hints belong to it, anything else does not
        if any(re.fullmatch(pattern, plain) for pattern in HARMLESS) and all(_DETAIL.match(line) for line in more):
            verdict.harmless += 1
            continue
        # The command that failed follows on the same finding: what it holds (names, texts) must decide nothing.
        message = re.split(r"\nCommand was: ", finding)[0]
        errors = re.findall(r"(?:ERROR|FATAL): +(.*)", message)
        if errors and all(any(re.fullmatch(pattern, error) for pattern in HARMLESS_ERRORS) for error in errors):
            verdict.harmless += 1
            continue
        for pattern, code, sentence in NAMED:
            if match := re.search(pattern, message):
                groups = [group for group in match.groups() if group] or [""]
                verdict.codes.setdefault(code, sentence.format(groups[0]))
                break
        else:
            verdict.unknown.append(without_values([first])[0])
    return verdict
