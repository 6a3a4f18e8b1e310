"""A server's answer about keys is read strictly: what is wrong refuses all of it, what is odd is made harmless."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.access import found
from apps.access.found import FoundError, printable, read
from tests.access import ssh_keys
from tests.access.answers import account, answer, line, source

GOOD = answer(
    account("alice", 1000, source("/people/alice/.ssh/authorized_keys", line("alice")), sudo="all"),
    everywhere=[source("/etc/hosts.equiv", kind="rhosts")],
    sudoers=[{"path": "/etc/sudoers", "sha256": "a" * 64, "uid": 0, "mode": 0o440, "lines": ["root ALL=(ALL) ALL"]}],
    twins=[{"user": "toor", "uid": 0}],
    files=[{"path": "/x", "sha256": None, "uid": 0, "mode": 0o644, "wanted": "b" * 64}],
)


def test_a_good_answer_is_read() -> None:
    told = read(json.loads(json.dumps(GOOD)))
    alice = told.account("alice")
    assert alice
    assert alice.effective
    assert alice.effective.words("authorizedkeysfile")[0] == "/etc/ssh/mainstay/keys/%u"
    key = alice.sources[0].lines[0]
    assert key.fingerprint in ssh_keys.keygen("-lf", given=f"{key.type} {key.blob}")
    assert told.files[0].sha256 == ""
    assert told.twins == (("toor", 0),)


def every_path(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value of a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, each in inner for path in every_path(each, (*at, key)))]


PATHS = [path for path in every_path(GOOD) if path and "options" not in path[-2:-1] and path[-1] != "user"]
PATHS.remove(("effective", 0, "options"))  # names that we do not know are no fault there


def changed(path: tuple[Any, ...], value: Any) -> Any:
    """Return the good answer with one value replaced."""
    doc = copy.deepcopy(GOOD)
    place = doc
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return doc


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_value_of_another_kind_refuses_the_whole_answer(path: tuple[Any, ...]) -> None:
    for value in ({"x": 1}, object(), [[]]):
        with pytest.raises(FoundError) as caught:
            read(changed(path, value))
        assert str(caught.value).endswith(".")


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.sampled_from(PATHS), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
)
def test_no_value_at_all_breaks_the_reader(path: tuple[Any, ...], value: Any) -> None:
    try:
        told = read(changed(path, value))
    except FoundError as error:
        assert len(str(error)) < 200  # noqa: PT017 the sentence names the field, never the value
        return
    for source_ in (source_ for each in told.accounts for source_ in each.sources):
        assert source_.path.isprintable()
        assert all(row.comment.isprintable() and row.options.isprintable() for row in source_.lines)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"accounts": []}])
def test_what_is_no_answer_is_refused(value: object) -> None:
    with pytest.raises(FoundError):
        read(value)


@pytest.mark.parametrize(
    "doc",
    [
        answer(account("alice", 1), account("alice", 2)),
        answer(*[account(f"u{i}", i, source("/x", *[line("a")] * 500)) for i in range(41)]),
        answer(account("a", 1, effective=1)), answer(account("a", 1, effective=-1)), answer(account("a", -1)),
        answer(account("a", True)), answer(account("a", 1, expires=float("inf"))),
        answer(twins=[{"user": "a", "uid": 1.5}]),
        answer(account("a" * 65, 1)), answer(account("a", 1, password="hunter2")), answer(taken=float("nan")),
        answer(lacks=["x"] * 51), answer(account("a", 1, source("/x", *[line("a")] * 501))),
        answer(sudoers=[{"path": "/x", "sha256": "A" * 64, "uid": 0, "mode": 0, "lines": []}]),
    ],
)  # fmt: skip
def test_too_much_or_too_odd_is_refused(doc: dict[str, Any]) -> None:
    with pytest.raises(FoundError):
        read(doc)


def test_what_a_screen_would_act_on_is_written_as_an_escape() -> None:
    evil = "\x1b[2J\r\n</script>\u202egnp\u200b\0"
    doc = answer(account("alice", 1, source("/people/\nx", line("alice", comment=evil)), shell="/bin/\x07sh"))
    alice = read(doc).account("alice")
    assert alice
    assert alice.sources[0].path == "/people/\\nx"
    assert alice.sources[0].lines[0].comment == "\\x1b[2J\\r\\n</script>\\u202egnp\\u200b\\x00"
    assert alice.shell == "/bin/\\x07sh"


def test_a_blob_that_is_no_base64_is_no_key() -> None:
    row = {**line("alice"), "blob": "AAAA<script>"}
    told = read(answer(account("alice", 1, source("/x", row)))).account("alice")
    assert told
    assert (told.sources[0].lines[0].blob, told.sources[0].lines[0].fingerprint) == ("", "")


def test_options_that_we_do_not_know_are_left_out() -> None:
    doc = answer(effective=[{"error": None, "options": {"allowusers": ["a", "b c"], "banner": ["x"], "none": 3}}])
    effective = read(doc).accounts[0].effective
    assert effective
    assert dict(effective.options) == {"allowusers": ("a", "b c")}
    assert effective.words("allowusers") == ["a", "b", "c"]


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=60))
def test_printable_text_stays_and_the_rest_can_be_seen(text: str) -> None:
    assert printable(text).isprintable()
    assert text.isprintable() is (printable(text) == text)


def test_every_kind_is_told_in_the_schema() -> None:
    assert {"file", "command", "authority", "principals", "rhosts", "shosts", "unread"} == found.KINDS
