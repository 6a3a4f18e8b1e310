"""A real restore goes into a new, empty database and nowhere else, and says what it left out."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from apps.backups.facts import Manifest
from tests.backups.lent import Lent
from tests.backups.pg.kit import ENGINE, opener, taken, trouble
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
