"""Row ids: version 7, in the order of time, never twice."""

import time

from apps.core.ids import uuid7


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after


def test_ids_are_never_twice_and_sort_by_time() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    stamps = [each.int >> 80 for each in made]
    assert stamps == sorted(stamps)
    assert len({each.int & (1 << 62) - 1 for each in made}) == len(made)
