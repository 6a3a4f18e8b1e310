"""Every disaster of PostgreSQL and its programs is flagged with cause and next step; no twin is."""

from pathlib import Path

import pytest

from tests.disasters.cases import CASES, Case
from tests.disasters.scene import Servers, scene

pytestmark = [pytest.mark.django_db, pytest.mark.real]
MINE = [case for case in CASES if case.needs == "postgres"]


@pytest.mark.parametrize("case", MINE, ids=lambda case: case.id)
@pytest.mark.parametrize("broken", [True, False], ids=["disaster", "twin"])
def test_a_disaster_is_flagged_and_its_twin_is_not(
    case: Case, *, broken: bool, tmp_path: Path, servers: Servers
) -> None:
    with scene(tmp_path, servers, broken=broken) as played:
        heard = case.play(played)
    assert not broken or case.flag(heard), heard
    assert broken or heard == []
