"""People against servers: what is wanted, what is so, and where they differ."""

from dataclasses import dataclass
from datetime import datetime

from apps.access import wanted
from apps.access.models import AccessState, KeyPush
from apps.access.services.ground import Ground, place_of
from apps.access.wanted import Verdict
from apps.core.runs import State
from apps.people.models import Person


@dataclass(frozen=True, slots=True)
class Column:
    """One server, and how the last look or push there ended."""

    state: AccessState
    busy: bool


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One person: how each server stands."""

    person: Person
    keys: list[str]  # "Ed25519"
    cells: list[Verdict]

    @property
    def shows(self) -> bool:
        """Return whether a phone shows this person: somebody with access, or with a difference."""
        return any(cell.cell != wanted.Cell.NONE for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The whole page."""

    columns: list[Column]
    rows: list[MatrixRow]
    differences: int
    looked_at: datetime | None


SAME = {wanted.Cell.NONE, wanted.Cell.SAME}


def matrix_of(now: datetime) -> Matrix:
    """Compare everybody with every server whose access is managed."""
    ground = Ground.fetch(now)
    states = list(AccessState.objects.managed().order_by("server__name"))
    busy = set(KeyPush.objects.filter(state__in=[State.WAITING, State.RUNNING]).values_list("server_id", flat=True))
    people = {str(one.pk): one for one in Person.objects.all()}
    per_server = []
    for state in states:
        accounts = {account.person: account for account in ground.wanted_on(state.server, state).accounts}
        actual = {row["user"]: wanted.Actual.from_json(row) for row in state.actual}
        per_server.append((state, place_of(state.server, state), accounts, actual))
    kinds: dict[str, list[str]] = {}
    for key in ground.keys:
        if key.state == "active":
            kinds.setdefault(key.person, []).append(_kind(key.type))
    rows = []
    for one in sorted(ground.people, key=lambda person: person.name.lower()):
        cells = [
            wanted.compare(
                one,
                place,
                wanted.right(one, place, ground.grants, now),
                accounts.get(one.id),
                actual.get(one.user) if one.user else None,
                looked_at=state.looked_at,
                now=now,
            )
            for state, place, accounts, actual in per_server
        ]
        if one.active or any(cell.cell not in SAME for cell in cells):
            rows.append(MatrixRow(people[one.id], sorted(kinds.get(one.id, [])), cells))
    differences = sum(cell.cell not in SAME for row in rows for cell in row.cells)
    looked = [state.looked_at for state in states if state.looked_at]
    return Matrix(
        [Column(state, state.server_id in busy) for state in states], rows, differences, min(looked, default=None)
    )


def _kind(kind: str) -> str:
    hard = "security key" if kind.startswith("sk-") else ""
    family = "Ed25519" if "ed25519" in kind else "RSA" if "rsa" in kind else "ECDSA"
    return f"{family}, {hard}" if hard else family
