"""A server that accepts only TLS is dumped by a client without TLS, and only when its certificate holds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from apps.backups.engines.base import Target
from apps.backups.engines.pg.address import address
from apps.backups.engines.pg.connect import ca_file
from apps.backups.engines.pg.relay import relay, without_binding
from apps.backups.engines.pg.tools import dump_client
from tests.backups.lent import Lent
from tests.backups.pg.kit import ENGINE, climbed, opener, taken, trouble
from tests.servers.postgres import PASSWORD, Server, server
from tests.servers.tls import make_certificate

pytestmark = pytest.mark.real
Secure = tuple[Server, str]


@pytest.fixture(scope="module", params=[17, 18])
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Run a PostgreSQL that accepts nothing but TLS, and give its authority."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = make_certificate(folder, "localhost")
    with server(request.param, tls=(folder / "chain.pem", folder / "key.pem")) as running:
        with running.connect(sslmode="require") as connection:
            connection.execute("CREATE DATABASE shop")
        with running.connect("shop", sslmode="require") as connection:
            connection.execute("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 50000) g")
        yield running, certificate.authority


def target(secure: Secure, **change: object) -> Target:
    """Return the target by the name in the certificate, fully verified."""
    config = {
        "host": "localhost",
        "port": secure[0].port,
        "database": "shop",
        "user": "postgres",
        "sslmode": "verify-full",
    }
    return Target("postgresql", {**config, "ca": secure[1], **change}, {"password": PASSWORD})


@pytest.mark.parametrize("major", [17, 18])
def test_the_client_for_a_new_server_has_no_tls_here(major: int) -> None:
    assert not dump_client(major).tls


def test_a_dump_through_the_relay_is_whole(secure: Secure, work: Lent) -> None:
    assert ENGINE.check(target(secure)).version.startswith(str(secure[0].major))
    data, manifest = taken(target(secure), work)
    assert manifest.members[0].count == 50000
    assert [rung.ok for rung in climbed(data, manifest, work)] == [True, True, True]


def test_what_is_written_while_the_relay_dumps_is_not_in_the_manifest(secure: Secure, work: Lent) -> None:
    def meanwhile() -> None:
        with secure[0].connect("shop", sslmode="require") as connection:
            connection.execute("INSERT INTO t VALUES (0, 'late')")
            connection.execute("DELETE FROM t WHERE g = 1 OR md5 = 'late'")
            connection.execute("INSERT INTO t VALUES (1, md5('1'))")
            connection.execute("UPDATE t SET md5 = md5 WHERE g < 1000")

    data, manifest = taken(target(secure), work, meanwhile)
    assert [rung.ok for rung in climbed(data, manifest, work)] == [True, True, True]


def test_a_restore_through_the_relay_equals_the_backup(secure: Secure, work: Lent, name: str) -> None:
    data, manifest = taken(target(secure), work)
    assert "50,000 rows" in ENGINE.restore(opener(data), manifest, target(secure, database=name), work)
    with secure[0].connect(name, sslmode="require") as connection:
        assert connection.execute("SELECT count(*), sum(g) FROM t").fetchone() == (50000, 1250025000)


def test_the_server_itself_refuses_what_is_plain(secure: Secure) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry .* no encryption"):
        secure[0].connect("shop", sslmode="disable")


def test_a_wrong_password_inside_tls_is_the_servers_own_refusal(secure: Secure, work: Lent) -> None:
    wrong = Target("postgresql", target(secure).config, {"password": "guess"})
    assert trouble(lambda: taken(wrong, work)).code == "password"


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"host": "127.0.0.1"}, "tls-name", "127.0.0.1"),
        ({"ca": ""}, "tls-ca", "CA certificate"),
        ({"sslmode": "disable"}, "tls-required", "only TLS"),
    ],
)
def test_what_is_wrong_with_tls_is_told_apart(
    secure: Secure, work: Lent, change: dict[str, object], code: str, word: str
) -> None:
    for told in (
        trouble(lambda: ENGINE.check(target(secure, **change))),
        trouble(lambda: taken(target(secure, **change), work)),
    ):
        assert told.code == code, told.log
        assert word in told.sentence


@pytest.mark.parametrize(("change", "code"), [({"host": "127.0.0.1"}, "tls-name"), ({"ca": ""}, "tls-ca")])
def test_the_relay_itself_refuses_what_the_engine_would(
    secure: Secure, tmp_path: Path, change: dict[str, object], code: str
) -> None:
    where = address(target(secure, **change))

    def use() -> None:
        with ca_file(where) as ca, relay(where, ca, tmp_path):
            raise AssertionError("it was let through")

    assert trouble(use).code == code
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_tls_is_refused_by_the_relay(postgres: Callable[[int], Server], tmp_path: Path) -> None:
    where = address(postgres(17).target(sslmode="require"))

    def use() -> None:
        with relay(where, "", tmp_path):
            raise AssertionError("it was let through")

    assert trouble(use).code == "tls-refused"


def test_the_socket_is_for_us_alone_and_gone_afterwards(secure: Secure, tmp_path: Path) -> None:
    where = address(target(secure))
    with ca_file(where) as ca, relay(where, ca, tmp_path):
        path = tmp_path / ".s.PGSQL.5432"
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_encrypted_but_unchecked_is_a_warning(secure: Secure) -> None:
    found = ENGINE.check(target(secure, sslmode="require", host="127.0.0.1"))
    assert any("not checked" in warning for warning in found.warnings)


def test_only_the_offer_of_channel_binding_is_taken_out() -> None:
    body = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    offer = b"R" + (len(body) + 4).to_bytes(4, "big") + body
    plain = b"\0\0\0\x0aSCRAM-SHA-256\0\0"
    for cut in range(len(offer)):
        assert without_binding(offer[:cut]) == b""
    assert without_binding(offer + b"more") == b"R" + (len(plain) + 4).to_bytes(4, "big") + plain + b"more"
    refused = b"E\0\0\0\x08oops"
    assert without_binding(refused) == refused
