"""Where a bucket's and a database's own clients may not be led: metadata services, under whatever name."""

import socket
from typing import Any

import pytest

from apps.backups.engines.base import Target
from apps.backups.engines.pg.address import address
from apps.backups.engines.pg.connect import connect
from apps.backups.facts import EngineTrouble, StoreTrouble
from apps.backups.stores.base import Place
from apps.backups.stores.s3 import S3Store

KEYS = {"access_key": "a" * 20, "secret_key": "b" * 40}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the only names that have an address; anything else is unknown."""
    known: dict[str, str] = {}

    def look_up(host: Any, *_: Any, **__: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[name], 80))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_a_name_that_turns_to_a_metadata_service_after_the_first_look_is_refused(names: dict[str, str]) -> None:
    names["store.example"] = "127.0.0.1"
    config = {"endpoint": "http://store.example:9", "bucket": "data", "region": "x", "path_style": True}
    store = S3Store(Place("s3", config, KEYS))
    assert store.client
    names["store.example"] = "169.254.169.254"
    with pytest.raises(StoreTrouble, match="metadata service"):
        store.stat("key")


@pytest.mark.parametrize("host", ["169.254.169.254", "meta.example", "0xa9fea9fe"])
def test_a_database_on_a_metadata_service_is_never_asked(names: dict[str, str], host: str) -> None:
    names.update(dict.fromkeys(["169.254.169.254", "meta.example", "0xa9fea9fe"], "169.254.169.254"))
    where = address(Target("postgresql", {"host": host, "port": 80, "database": "d", "user": "u"}, {}))
    with pytest.raises(EngineTrouble, match="metadata service"):
        connect(where)
