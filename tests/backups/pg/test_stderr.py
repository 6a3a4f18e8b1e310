"""Every line that pg_dump and pg_restore say is known to be harmless, known to be trouble, or a failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.backups.engines.pg.dump import dump_trouble
from apps.backups.engines.pg.rehearse import restored_rung
from apps.backups.engines.pg.stderr import Verdict, classify

TIMEOUT = [
    "pg_restore: while INITIALIZING:",
    'pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"',
    "Command was: SET transaction_timeout = 0;",
    "pg_restore: warning: errors ignored on restore: 1",
]


def test_silence_is_fine() -> None:
    assert classify([]).ok
    assert dump_trouble(0, Verdict()) is None


def test_what_a_newer_client_says_to_an_older_server_is_harmless() -> None:
    verdict = classify(TIMEOUT)
    assert verdict.ok
    assert restored_rung(verdict, 1, 1.0, {"server": "15.2"}).ok is True


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('pg_restore: error: could not execute query: ERROR:  role "x" does not exist', "missing-role"),
        (
            'pg_restore: error: could not execute query: ERROR:  extension "vector" is not available',
            "missing-extension",
        ),
        ("pg_restore: error: unexpected end of file", "truncated"),
        ("pg_restore: error: could not read from input file: end of file", "truncated"),
        ("pg_restore: error: did not find magic string in file header", "not-an-archive"),
        (
            "pg_dump: error: aborting because of server version mismatch\npg_dump: detail: server version: 18.6",
            "client-too-old",
        ),
        (
            "pg_dump: error: query failed: FATAL:  terminating connection due to administrator command",
            "connection-lost",
        ),
        ('pg_dump: error: query failed: ERROR:  permission denied for table "t"', "no-rights"),
        (
            (
                'pg_restore: error: COPY failed for table "t": ERROR:  permission denied to COPY to '
                "or from an external program"
            ),
            "hostile",
        ),
        (
            (
                'pg_restore: error: COPY failed for table "t": ERROR:  new row for relation "t" '
                'violates check constraint "c"'
            ),
            "violated",
        ),
    ],
)
def test_known_trouble_has_a_name(line: str, code: str) -> None:
    verdict = classify(line.splitlines())
    assert code in verdict.codes
    assert dump_trouble(1, verdict) is not None
    assert restored_rung(verdict, 1, 1.0, {"server": "17.1"}).ok is not True


def test_a_line_that_nobody_knows_is_a_failure_even_with_exit_code_0() -> None:
    verdict = classify(["pg_dump: warning: something new"])
    assert verdict.unknown
    told = dump_trouble(0, verdict)
    assert told is not None
    assert told.code == "unclassified"
    assert "something new" in told.sentence
    assert restored_rung(verdict, 0, 1.0, {"server": "17.1"}).ok is False


def test_an_exit_code_without_a_word_is_a_failure() -> None:
    told = dump_trouble(1, Verdict())
    assert told is not None
    assert told.code == "exit"
    assert restored_rung(Verdict(), 1, 1.0, {"server": "17.1"}).ok is False
    assert restored_rung(classify(TIMEOUT), 137, 1.0, {"server": "17.1"}).ok is False


def test_a_harmless_error_does_not_hide_the_one_behind_it() -> None:
    verdict = classify(
        [
            *TIMEOUT[:3],
            'pg_restore: error: could not execute query: ERROR:  relation "a" does not exist',
            "Command was: x",
        ]
    )
    assert not verdict.ok


def test_what_stands_in_a_failed_command_decides_nothing() -> None:
    verdict = classify(
        [
            "pg_restore: error: could not execute query: ERROR:  something odd",
            "Command was: COMMENT ON TABLE t IS 'ERROR:  schema \"public\" already exists';",
        ]
    )
    assert verdict.unknown


def test_a_lack_of_rights_as_a_plain_role_is_unproven_and_not_failed() -> None:
    verdict = classify(["pg_restore: error: could not execute query: ERROR:  permission denied for language c"])
    rung = restored_rung(verdict, 1, 1.0, {"server": "17.1"})
    assert rung.ok is None
    assert "superuser" in rung.said


def test_an_advice_for_data_only_restores_is_harmless_with_its_details() -> None:
    lines = [
        "pg_dump: warning: there are circular foreign-key constraints on this table:",
        "pg_dump: detail: users",
        "pg_dump: hint: You might not be able to restore the dump without using --disable-triggers.",
    ]
    assert classify(lines).ok
    assert not classify(lines[1:]).ok


@given(st.lists(st.text(max_size=80), max_size=6))
def test_no_text_at_all_passes_for_harmless_by_accident(lines: list[str]) -> None:
    verdict = classify(lines)
    if any(line.strip() for line in lines):
        assert not verdict.ok


def test_values_of_rows_and_bodies_of_functions_stay_out_of_the_log() -> None:
    said = [
        'pg_restore: error: could not execute query: ERROR:  could not create unique index "people_email"',
        "DETAIL:  Key (email, note)=(canary@example.com, (canary)) is duplicated.",
        "Command was: CREATE UNIQUE INDEX people_email ON people (email) WHERE token <> 'canary';",
        "",
        "  'canary on a second line'",
        'pg_restore: error: COPY failed for table "t": ERROR:  new row for relation "t" violates check constraint "c"',
        "DETAIL:  Failing row contains (7, canary, (canary)).",
        'CONTEXT:  COPY t, line 3: "7	canary"',
        'pg_restore: error: COPY failed for table "t": ERROR:  invalid input syntax for type integer: "canary"',
        "CONTEXT:  COPY t, line 9, column id: canary",
        'pg_restore: error: insert or update on table "a" violates foreign key constraint "f"',
        'DETAIL:  Key (b_id)=(canary) is not present in table "b".',
        'pg_restore: error: something new: invalid input value for enum mood: "canary"',
    ]
    verdict = classify(said)
    assert "canary" not in "\n".join((*verdict.log, *verdict.unknown))
    assert 'DETAIL:  Key (b_id)=(…) is not present in table "b".' in verdict.log
    assert "Command was: CREATE UNIQUE INDEX …" in verdict.log
