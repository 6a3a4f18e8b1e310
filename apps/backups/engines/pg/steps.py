"""In which steps an archive is restored as a plain role: what a superuser does runs none of the backup's own code."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from apps.backups.engines.pg.archive import Contents, Entry

# Only a superuser can make these; making them runs no function of the backup.
_PRIVILEGED = frozenset(
    {
        "FOREIGN DATA WRAPPER",
        "SERVER",
        "USER MAPPING",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
        "ACCESS METHOD",
        "PROCEDURAL LANGUAGE",
        "TRANSFORM",
        "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE",
    }
)
_LATE = frozenset(
    {
        "COMMENT",
        "SECURITY LABEL",
        "ACL",
        "DEFAULT ACL",
        "PUBLICATION",
        "PUBLICATION TABLE",
        "PUBLICATION TABLES IN SCHEMA",
        "SUBSCRIPTION",
        "SUBSCRIPTION TABLE",
    }
)
_NEVER = frozenset(
    {"EXTENSION", "DATABASE", "DATABASE PROPERTIES"}
)  # made by us beforehand, or no part of one database
_REFRESH = "MATERIALIZED VIEW DATA"
_EVENT = "EVENT TRIGGER"
# With two jobs these may overtake a foreign key whose check then sees, as an owner who obeys policies, too few rows.
_POLICIES = frozenset({"POLICY", "ROW SECURITY"})


@dataclass(frozen=True, slots=True)
class Step:
    """One call of pg_restore with a list of its own."""

    title: str
    entries: tuple[int, ...]
    privileged: bool
    jobs: int = 1
    owners: bool = True
    policies: bool = False  # rows are read as their policies show them: what a materialized view held

    @property
    def list_text(self) -> str:
        """Return the file for --use-list."""
        return "".join(f"{entry};\n" for entry in self.entries)

    @property
    def words(self) -> list[str]:
        """Return what pg_restore is told beside the list."""
        return [
            *([f"--jobs={self.jobs}"] if self.jobs > 1 else []),
            *([] if self.owners else ["--no-owner"]),
            *(["--enable-row-security"] if self.policies else []),
        ]


def schema_step(contents: Contents) -> Step:
    """Return the step that makes the schemas, before extensions go into them."""
    return Step(
        "schemas", tuple(one.id for one in contents.entries if one.kind == "SCHEMA"), privileged=False, owners=False
    )


def steps(contents: Contents, extension_tables: Collection[tuple[str, str]]) -> list[Step]:
    """Return the steps after schemas and extensions, in order (pure).

    Tables are made in the same step as their rows: only then does COPY skip the write-ahead log.
    """
    main = [one for one in contents.entries if one.kind not in _NEVER | {"SCHEMA"} and not _after(one)]
    foreign = [
        one for one in main if one.kind in {"TABLE DATA", "SEQUENCE SET"} and (one.schema, one.name) in extension_tables
    ]
    main = [one for one in main if one not in foreign]
    found = [Step("rows of extensions", _ids(foreign), privileged=True)]
    last = max((at for at, one in enumerate(main) if one.kind in _PRIVILEGED), default=-1)
    for group in _runs(main[: last + 1]):
        privileged = group[0].kind in _PRIVILEGED
        found.append(Step("definitions", _ids(group), privileged=privileged, owners=not _needs_superuser_owner(group)))
    found.append(Step("tables, rows, indexes", _ids(main[last + 1 :]), privileged=False, jobs=2))
    policies = [one for one in contents.entries if one.kind in _POLICIES]
    found.append(Step("row security", _ids(policies), privileged=False))
    late = [one for one in contents.entries if one.kind in _LATE and not _of_event(one)]
    found.append(Step("rights and comments", _ids(late), privileged=True))
    views = [one for one in contents.entries if one.kind == _REFRESH]
    found.append(Step("materialized views", _ids(views), privileged=False, policies=True))
    # An event trigger belongs to a superuser, and no role of the backup is one here: so without its owner.
    found.append(
        Step("event triggers", _ids([one for one in contents.entries if _of_event(one)]), privileged=True, owners=False)
    )
    return [step for step in found if step.entries]


def halves(contents: Contents, *, owners: bool) -> list[Step]:
    """Return the two steps of a restore by one user: up to the last constraint; policies, rights, views (pure)."""
    first = _ids([one for one in contents.entries if not _after(one)])
    second = _ids([one for one in contents.entries if _after(one)])
    found = (
        Step("tables, rows, indexes", first, privileged=False, jobs=2, owners=owners),
        Step("policies, rights, views", second, privileged=False, jobs=2, owners=owners, policies=True),
    )
    return [step for step in found if step.entries]


def _after(entry: Entry) -> bool:
    """Return whether a thing comes after every table, row, index and constraint."""
    return entry.kind in _LATE | _POLICIES | {_REFRESH} or _of_event(entry)


def _ids(entries: Sequence[Entry]) -> tuple[int, ...]:
    return tuple(entry.id for entry in entries)


def _of_event(entry: Entry) -> bool:
    return entry.kind == _EVENT or (entry.kind in _LATE and entry.name.startswith(f"{_EVENT} "))


def _needs_superuser_owner(group: Sequence[Entry]) -> bool:
    return any(entry.kind == "FOREIGN DATA WRAPPER" for entry in group)


def _runs(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Split into stretches that one kind of user restores, keeping the order."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if groups and (groups[-1][0].kind in _PRIVILEGED) == (entry.kind in _PRIVILEGED):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups
