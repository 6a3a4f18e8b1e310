"""Through a server's gate: the same exact dump with that server's own pg_dump, and nothing else that could be reached."""

import pytest

from tests.backups.lent import Lent
from tests.backups.pg.gated import Gated
from tests.backups.pg.kit import ENGINE, climbed, taken
from tests.fleet.server import Server

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def gated(postgresql_server: Server) -> Gated:
    return Gated(postgresql_server)


def test_first(gated: Gated, work: Lent) -> None:
    target = gated.make(
        "shop",
        "CREATE TABLE a (id bigserial primary key, x text)",
        "INSERT INTO a (x) SELECT md5(g::text) FROM generate_series(1, 200000) g",
    )
    print(ENGINE.check(target))
    data, manifest = taken(target, work)
    print(len(data), manifest.members, manifest.tools)
    rungs = climbed(data, manifest, work)
    assert [(r.name, r.ok, r.said, r.log) for r in rungs if not r.ok] == []
    assert gated.calm() == ""
