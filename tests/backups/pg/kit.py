"""What the tests of the PostgreSQL engine share: take a dump, climb the ladder, catch a trouble."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from apps.backups.engines.base import Opener, Target
from apps.backups.engines.postgresql import PostgresEngine
from apps.backups.facts import EngineTrouble, Manifest, Rung
from tests.backups.lent import Lent

KINDS = (Path(__file__).parent / "kinds.sql").read_text(encoding="utf-8")
ENGINE = PostgresEngine()


def opener(data: bytes) -> Opener:
    """Open bytes as an archive."""

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        yield io.BytesIO(data)

    return opened


def taken(target: Target, work: Lent, meanwhile: Callable[[], object] = lambda: None) -> tuple[bytes, Manifest]:
    """Dump to memory; `meanwhile` runs after the first bytes."""
    with ENGINE.dump(target, work) as dump:
        data = dump.stream.read(1000)
        meanwhile()
        data += dump.stream.read()
        return data, Manifest.from_json(dump.finish().to_json())


def climbed(data: bytes, manifest: Manifest, work: Lent) -> list[Rung]:
    """Climb the three upper rungs, and see that nothing is left behind."""
    rungs = list(ENGINE.rehearse(opener(data), manifest, work))
    assert work.left == []
    return rungs


def trouble(call: Callable[[], object]) -> EngineTrouble:
    """Return the trouble that a call raises."""
    with pytest.raises(EngineTrouble) as caught:
        call()
    return caught.value
