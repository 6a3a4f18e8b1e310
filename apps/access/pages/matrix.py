"""People against servers: what is wanted, what is so, and where they differ."""

from dataclasses import dataclass
from datetime import datetime

from apps.access import wanted
from apps.access.models import AccessState, Asking, KeyPush, PublicKey
from apps.access.pages.keys import kind_of
from apps.access.services import ground as services
from apps.access.services.ground import Ground
from apps.access.wanted import Verdict
from apps.people.models import Person


@dataclass(frozen=True, slots=True)
class Column:
    """One server, and how the last look or push there ended."""

    state: AccessState
    busy: bool


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One person on one server: the verdict, and whether they ask for access there."""

    verdict: Verdict
    asks: bool = False
    free: bool = False  # some key of theirs there has no lease

    @property
    def glyph(self) -> str:
        """Return the drawing: admin, user, temp, wait, no; bad for what must not be, none for what is not known."""
        cell = self.verdict.cell
        if cell in {wanted.Cell.EXTRA, wanted.Cell.REFUSED}:
            return "bad"
        if cell == wanted.Cell.UNKNOWN:
            return "none"
        if cell in {wanted.Cell.WAITING, wanted.Cell.KEYLESS} or self.asks:
            return "wait"
        if cell == wanted.Cell.NONE:
            return "no"
        return "temp" if self.verdict.until else "user" if self.verdict.wanted == "access" else "admin"

    @property
    def said(self) -> str:
        """Return the cell in words."""
        free = " Without a lease: it works even when Mainstay is gone." if self.free else ""
        return f"{self.verdict.said}{free}{' They ask for it.' if self.asks else ''}"


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One person: how each server stands."""

    person: Person
    keys: list[str]  # "Ed25519"
    cells: list[MatrixCell]

    @property
    def shows(self) -> bool:
        """Return whether a phone shows this person: somebody with access, or with a difference."""
        return any(cell.glyph != "no" for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The whole page."""

    columns: list[Column]
    rows: list[MatrixRow]
    differences: int
    looked_at: datetime | None

    @property
    def trouble(self) -> list[Column]:
        """Return the servers that have something to say below the matrix."""
        return [column for column in self.columns if column.state.refused or column.state.unsure]


SAME = {wanted.Cell.NONE, wanted.Cell.SAME}


def matrix_of(now: datetime) -> Matrix:
    """Compare everybody with every server whose access is managed."""
    ground = Ground.fetch(now)
    states = list(AccessState.objects.for_list())
    busy = KeyPush.objects.busy()
    asked = set(Asking.objects.open().values_list("person_id", "server_id"))
    people = {str(one.pk): one for one in Person.objects.all()}
    columns = [services.Column.make(ground, state) for state in states]
    kinds: dict[str, list[str]] = {}
    for key in PublicKey.objects.active():
        kinds.setdefault(str(key.person_id), []).append(kind_of(key))
    rows = []
    for one in sorted(ground.people, key=lambda person: person.name.lower()):
        person = people[one.id]
        cells = [
            MatrixCell(column.cell(one), (person.pk, column.state.server_id) in asked, column.has_no_lease(one))
            for column in columns
        ]
        if one.active or any(cell.verdict.cell not in SAME for cell in cells):
            rows.append(MatrixRow(person, sorted(kinds.get(one.id, [])), cells))
    differences = sum(cell.verdict.cell not in SAME for row in rows for cell in row.cells)
    looked = [state.looked_at for state in states if state.looked_at]
    return Matrix(
        [Column(state, state.server_id in busy) for state in states], rows, differences, min(looked, default=None)
    )
