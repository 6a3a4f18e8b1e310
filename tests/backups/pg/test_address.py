"""An address of a database is read as people paste it, and what is wrong with it is said without the password."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.backups.engines.base import Target
from apps.backups.engines.pg.address import address, parse_url
from apps.backups.facts import EngineTrouble

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(user=TEXT, password=TEXT, database=TEXT, port=st.integers(1, 65535))
def test_whatever_stands_in_a_url_comes_out_as_it_was(user: str, password: str, database: str, port: int) -> None:
    def q(part: str) -> str:
        return quote(part, safe="")

    target = parse_url(f"postgres://{q(user)}:{q(password)}@db.example.com:{port}/{q(database)}")
    read = address(target)
    assert (read.user, read.password, read.database, read.port) == (user, password, database, port)
    assert read.sslmode == "verify-full"
    assert password not in repr(read) or password in f"{user}{database}db.example.com{port}<Address @:/>"


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("postgresql://u@localhost/d", {"host": "localhost", "port": 5432, "database": "d", "user": "u"}),
        ("postgres://u:p@[::1]:6000/d", {"host": "::1", "port": 6000, "database": "d", "user": "u"}),
        (
            "postgresql+psycopg://u@h/d?sslmode=require",
            {"host": "h", "port": 5432, "database": "d", "user": "u", "sslmode": "require"},
        ),
        (
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/d",
            {"host": "/var/run/postgresql", "port": 5432, "database": "d", "user": "u"},
        ),
        ("postgres:///d?host=/run/pg&user=u&port=7", {"host": "/run/pg", "port": 7, "database": "d", "user": "u"}),
        ("postgres://u@h/d?pgbouncer=true&schema=public", {"host": "h", "port": 5432, "database": "d", "user": "u"}),
        ("postgres://u@h/d?sslmode=prefer", {"host": "h", "port": 5432, "database": "d", "user": "u"}),
    ],
)
def test_the_usual_forms_are_understood(url: str, config: dict[str, object]) -> None:
    assert parse_url(url).config == config


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://u:hunter2@h/d", "postgres://"),
        ("h:5432/d", "postgres://"),
        ("", "postgres://"),
        ("postgres://u:hunter2@h", "no database"),
        ("postgres://h/d", "no user"),
        ("postgres://u:hunter2@h:99999/d", "malformed"),
        ("postgres://u:hunter2@h:x/d", "malformed"),
        ("postgres://u:hunter2@[::1/d", "malformed"),
        ("postgres://u:hunter2@a,b/d", "several hosts"),
        ("postgres://u:hunter2@h/d?sslmode=sometimes", "sslmode=sometimes"),
        ("postgres://u:hunter2@h/d?sslrootcert=/x.pem", "CA field"),
        ("postgres://u:hunter2@h/d?options=-crole", "options"),
        ("postgres://u:hunter2@h/d?port=x", "not a number"),
    ],
)
def test_what_is_wrong_is_said_and_the_password_is_not(url: str, word: str) -> None:
    with pytest.raises(EngineTrouble) as caught:
        parse_url(url)
    assert word in caught.value.sentence
    assert caught.value.code == "address"
    assert "hunter2" not in caught.value.sentence


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fall_over(text: str) -> None:
    try:
        target = parse_url("postgres://" + text)
    except EngineTrouble:
        return
    assert target.config["database"]


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("localhost", "disable"),
        ("127.0.0.9", "disable"),
        ("::1", "disable"),
        ("/run/pg", "disable"),
        ("10.0.0.1", "verify-full"),
        ("db", "verify-full"),
    ],
)
def test_what_leaves_the_machine_is_encrypted_and_checked(host: str, mode: str) -> None:
    assert address(Target("postgresql", {"host": host, "database": "d", "user": "u"}, {})).sslmode == mode
