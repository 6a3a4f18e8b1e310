"""Reads the table of contents of a pg_dump archive (custom format, 1.12 to 1.16), which stands at its beginning.

Source of the layout: ReadHead and ReadToc of PostgreSQL's pg_backup_archiver.c, and ReadExtraToc of pg_backup_custom.c.
"""

from dataclasses import dataclass
from typing import IO

from apps.backups.facts import EngineTrouble

MAGIC = b"PGDMP"
_LONGEST = 256 * 1024 * 1024  # of one string: a view or a function; more is not an archive


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the archive. `name` is its tag: for tables the bare name, for functions with arguments."""

    id: int
    kind: str  # "TABLE", "TABLE DATA", "ACL", …
    schema: str
    name: str
    owner: str
    has_data: bool
    catalog: int  # oid of the system table that it is a row of; 0 for parts such as data and grants
    oid: int
    needs: tuple[int, ...]
    section: int = 0  # 2 before the data, 3 data, 4 after it
    value: str = ""  # for "SEQUENCE SET" the statement that sets it


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents."""

    version: tuple[int, int]
    database: str
    server: str  # version of the dumped server
    client: str  # version of pg_dump
    entries: tuple[Entry, ...]

    def tables(self) -> frozenset[tuple[str, str]]:
        """Return (schema, name) of every table whose rows are in the archive."""
        return frozenset((entry.schema, entry.name) for entry in self.entries if entry.kind == "TABLE DATA")


class Recorder:
    """Reads exactly, and keeps what it read so that it can be handed on."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read from `stream`."""
        self.stream = stream
        self.kept = bytearray()

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes; EOFError when the stream ends before."""
        data = bytearray()
        while len(data) < size:
            piece = self.stream.read(size - len(data))
            if not piece:
                self.kept += data
                raise EOFError
            data += piece
        self.kept += data
        return bytes(data)


def read_contents(recorder: Recorder) -> Contents:
    """Read head and table of contents. Raises EOFError on a cut archive, EngineTrouble on something else."""
    if recorder.take(5) != MAGIC:
        raise _strange("it does not begin like one")
    major, minor, _revision, int_size, offset_size, form = recorder.take(6)
    if major != 1 or not 12 <= minor <= 16 or form != 1 or int_size not in {4, 8}:
        raise _strange(f"version {major}.{minor}, format {form}")

    def number() -> int:
        raw = recorder.take(1 + int_size)
        value = int.from_bytes(raw[1:], "little")
        return -value if raw[0] else value

    def text() -> str | None:
        length = number()
        if length < 0:
            return None
        if length > _LONGEST:
            raise _strange("a string is too long")
        return recorder.take(length).decode("utf-8", errors="surrogateescape")

    if minor >= 15:
        recorder.take(1)  # compression algorithm
    else:
        number()  # compression level
    for _ in range(7):
        number()  # creation time
    database, server, client = text() or "", text() or "", text() or ""

    def entry() -> Entry:
        number_, has_data = number(), bool(number())
        catalog, oid, name, kind = text(), text(), text(), text()
        section = number()
        definition = text() or ""
        for _ in range(2):
            text()  # drop and copy statements
        schema, _tablespace = text(), text()
        if minor >= 14:
            text()  # table access method
        if minor >= 16:
            number()  # relkind
        owner, _with_oids = text(), text()
        needs: list[int] = []
        while (need := text()) is not None:
            needs.append(int(need))
        recorder.take(1 + offset_size)
        return Entry(
            number_,
            kind or "",
            schema or "",
            name or "",
            owner or "",
            has_data,
            int(catalog or 0),
            int(oid or 0),
            tuple(needs),
            section,
            definition if kind == "SEQUENCE SET" else "",
        )

    entries = tuple(entry() for _ in range(number()))
    return Contents((major, minor), database, server, client, entries)


def _strange(why: str) -> EngineTrouble:
    return EngineTrouble(f"This is not an archive of pg_dump that Mainstay knows: {why}.", code="not-an-archive")
