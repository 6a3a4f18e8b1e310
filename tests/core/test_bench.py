"""The benches' interface: options named as the functions' arguments, figures from a process apart, folders gone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.bench import apart
from config.bench.data import ROWS, SHOP
from config.bench.figure import Figure
from config.command import bench
from config.command.say import Refusal


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["pages"], ("pages", {})),
        (["backup", "--size-mb", "9", "--runs=1", "--memory"], ("backup", {"size_mb": 9, "runs": 1, "memory": True})),
        (["--runs", "2", "proof"], ("proof", {"runs": 2})),
        (["all"], ("all", {})),
    ],
)  # fmt: skip
def test_options_are_read(words: list[str], found: tuple[str, dict[str, object]]) -> None:
    assert bench.parsed(words) == found


@pytest.mark.parametrize(
    "words",
    [
        ["backup", "--size-mb"],
        ["backup", "--size-mb", "many"],
        ["backup", "--size-mb=0"],
        ["backup", "--size-mb=-5"],
        ["start", "--runs", "2"],
        ["all", "--runs", "2"],
        ["backup", "proof"],
    ],
)
def test_an_option_that_is_none_is_refused_with_a_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(words) == 2
    assert capsys.readouterr().err.endswith(".\n")


def test_a_bench_in_a_process_of_its_own_hands_back_its_figures_and_leaves_no_folder() -> None:
    found, where = apart.figures("tests.core.test_bench:two_figures", name="told")
    assert (found.bench, found.figure, found.unit) == ("test", "told", "tables")
    assert found.value > 10
    assert found.ratio == 0.5
    assert where.figure.startswith("/")
    assert not Path(where.figure).exists()


def test_a_bench_that_fails_is_one_sentence() -> None:
    with pytest.raises(Refusal, match="The bench stopped"):
        list(apart.figures("tests.core.test_bench:refused"))


def test_every_table_of_the_shop_is_given_its_rows() -> None:
    text = SHOP.read_text(encoding="utf-8")
    assert {table for table in ROWS if f"%({table})s" not in text} == set()


def two_figures(*, name: str) -> Iterator[Figure]:
    """Yield the number of tables of a Mainstay of its own, and its data folder as a figure's name."""
    from django.db import connection  # noqa: PLC0415 only the process apart has set Django up

    tables = len(connection.introspection.table_names())
    yield Figure("test", name, tables, "tables", 2.0 * tables)
    yield Figure("test", os.environ["MAINSTAY_DATA"], 1, "folder")


def refused() -> Iterator[Figure]:
    """Refuse."""
    yield from ()
    raise Refusal("Nothing can be measured here.")
