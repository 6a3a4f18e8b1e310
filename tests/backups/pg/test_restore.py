"""A real restore goes into a new, empty database and nowhere else, and says what it left out."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from apps.backups.engines.pg.archive import Recorder, read_contents
from apps.backups.engines.pg.steps import halves, steps
from apps.backups.facts import Manifest
from tests.backups.lent import Lent
from tests.backups.pg.kit import ENGINE, climbed, opener, taken, trouble
from tests.servers.postgres import Server

pytestmark = pytest.mark.real
Postgres = Callable[[int], Server]
SHOP = (
    "CREATE TABLE orders (id serial PRIMARY KEY, total int)",
    "INSERT INTO orders (total) SELECT g FROM generate_series(1, 300) g",
    "CREATE VIEW big AS SELECT * FROM orders",
)


def test_a_new_database_is_made_and_equals_the_backup(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    data, manifest = taken(server.make(name, *SHOP), work)
    said = ENGINE.restore(opener(data), manifest, server.target(f"{name}_new"), work)
    assert "300 rows" in said
    with server.connect(f"{name}_new") as connection:
        assert connection.execute("SELECT count(*) FROM big").fetchone() == (300,)
    assert not list(work.folder.glob("archive*"))


def test_an_older_backup_goes_into_a_newer_server(postgres: Postgres, work: Lent, name: str) -> None:
    data, manifest = taken(postgres(15).make(name, *SHOP), work)
    assert "300 rows" in ENGINE.restore(opener(data), manifest, postgres(18).target(name), work)


@pytest.mark.parametrize("where", ["source", "full", "older"])
def test_what_must_not_be_written_to_is_refused_and_untouched(
    postgres: Postgres, work: Lent, name: str, where: str
) -> None:
    server = postgres(17)
    data, manifest = taken(server.make(name, *SHOP), work)
    target, code = {
        "source": (server.target(name), "is-source"),
        "full": (server.make(f"{name}_full", "CREATE TABLE mine (id int)"), "not-empty"),
        "older": (postgres(16).target(f"{name}_older"), "server-too-old"),
    }[where]
    told = trouble(lambda: ENGINE.restore(opener(data), manifest, target, work))
    assert told.code == code
    assert "Nothing was changed" in told.sentence
    if where == "older":
        with postgres(16).connect() as connection:
            assert not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (f"{name}_older",)).fetchone()


def test_the_source_by_another_name_is_still_the_source(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    data, manifest = taken(server.make(name, *SHOP), work)
    with server.connect(name) as connection:
        connection.execute("DROP TABLE orders CASCADE")  # empty now, but still what was backed up
    told = trouble(lambda: ENGINE.restore(opener(data), manifest, server.target(name, host="localhost"), work))
    assert told.code == "is-source"


FORCED = (  # many keys to check, and each table's owner under its own policies: whichever job is quicker, they wait
    *(f"CREATE TABLE p{n} (id int PRIMARY KEY, boss int)" for n in range(12)),
    *(f"INSERT INTO p{n} SELECT g, nullif(g - 1, 0) FROM generate_series(1, 20000) g" for n in range(12)),
    *(f"ALTER TABLE p{n} ADD FOREIGN KEY (boss) REFERENCES p{n}" for n in range(12)),
    *(f"ALTER TABLE p{n} {word} ROW LEVEL SECURITY" for n in range(12) for word in ("ENABLE", "FORCE")),
    *(f"CREATE POLICY own ON p{n} USING (id > 0)" for n in range(12)),
    "COMMENT ON POLICY own ON p0 IS 'mine'",
    "CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM p0",
)


def test_policies_come_in_a_later_step_than_the_last_constraint(postgres: Postgres, work: Lent, name: str) -> None:
    data, _ = taken(postgres(17).make(name, *FORCED), work)
    contents = read_contents(Recorder(io.BytesIO(data)))
    kinds = {entry.id: entry.kind for entry in contents.entries}
    for order in (steps(contents, ()), halves(contents, owners=False)):
        turns = {kind: [at for at, step in enumerate(order) for one in step.entries if kinds[one] == kind]
                 for kind in ("FK CONSTRAINT", "POLICY", "ROW SECURITY", "MATERIALIZED VIEW DATA")}  # fmt: skip
        assert len(turns["FK CONSTRAINT"]) == len(turns["POLICY"]) == len(turns["ROW SECURITY"]) == 12
        assert max(turns["FK CONSTRAINT"]) < min(turns["POLICY"] + turns["ROW SECURITY"])
        (view,) = turns["MATERIALIZED VIEW DATA"]
        assert order[view].policies
    restored = [one for step in halves(contents, owners=False) for one in step.entries]
    assert sorted(restored) == sorted(kinds), "each thing of the archive is restored once"


def test_tables_whose_owner_obeys_policies_are_restored_and_proven(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    owned = [f"ALTER TABLE p{n} OWNER TO {name}_o" for n in range(12)]
    data, manifest = taken(server.make(name, f"CREATE ROLE {name}_o", *FORCED, *owned), work)
    assert [rung.said for rung in climbed(data, manifest, work) if not rung.ok] == []
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'x'")
    target = server.target(f"{name}_n", user=name, password="x")
    assert "240,000 rows" in ENGINE.restore(opener(data), manifest, target, work)
    with server.connect(f"{name}_n") as connection:
        assert connection.execute("SELECT * FROM sums").fetchone() == (20000,)
        forced = "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
        assert connection.execute(forced).fetchone() == (12,)


def test_a_plain_user_restores_without_owners_and_is_told(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(18)
    data, manifest = taken(server.make(name, *SHOP), work)
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'x'")
    said = ENGINE.restore(opener(data), manifest, server.target(f"{name}_n", user=name, password="x"), work)
    assert "Owners and rights were left out" in said


def test_a_damaged_archive_makes_no_database(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    _, manifest = taken(server.make(name, *SHOP), work)
    assert (
        trouble(lambda: ENGINE.restore(opener(b"junk" * 99), manifest, server.target(f"{name}_n"), work)).code
        == "not-an-archive"
    )
    with server.connect() as connection:
        assert not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (f"{name}_n",)).fetchone()


def test_rows_that_do_not_equal_the_manifest_are_told(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    data, manifest = taken(server.make(name, *SHOP), work)
    first = replace(manifest.members[0], digest="1")
    changed: Manifest = replace(manifest, members=(first,))
    told = trouble(lambda: ENGINE.restore(opener(data), changed, server.target(f"{name}_n"), work))
    assert told.code == "unequal"
    assert "public.orders" in told.sentence
