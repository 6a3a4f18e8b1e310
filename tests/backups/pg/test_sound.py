"""What "correct" says of the pages of indexes: how many are sound, or which server has no amcheck to look at them."""

from apps.backups.engines.pg.rehearse import sound


def test_a_server_without_amcheck_is_named_and_nothing_is_claimed() -> None:
    said = sound("not available", "PostgreSQL 16.11 of the system's client package")
    assert said.endswith(
        "The pages of its indexes were not checked: PostgreSQL 16.11 of the system's client package has no amcheck."
    )
    assert "sound pages" not in said


def test_with_amcheck_the_number_is_said() -> None:
    assert "1,204 tables and indexes have sound pages." in sound(1204, "PostgreSQL 17.2 of here")
    assert "0 tables and indexes have sound pages." in sound(0, "PostgreSQL 17.2 of here")
