"""The words spoken with a gate: what a hostile server may say, and signatures that the real ssh-keygen accepts."""

import base64
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.servers.gate import wire

SERVER = str(uuid.UUID(int=7))
GREETING: dict[str, Any] = {
    "gate": 1, "version": "1.0", "nonce": "ab" * 32, "clock": 1790000000.25, "server": SERVER, "level": "operate",
    "as": "mainstay", "state": "cd" * 32, "verbs": ["facts", "hello", "root", "sample"],
}  # fmt: skip


def line(**changed: Any) -> bytes:
    return json.dumps({**GREETING, **changed}).encode()


def verified(folder: Path, public: str, message: bytes, signature: str, namespace: str = wire.NAMESPACE) -> bool:
    """Return whether the real ssh-keygen takes a signature, with the signers file of the design."""
    (folder / "signers").write_text(f'mainstay namespaces="mainstay-gate" {public}\n')
    (folder / "signature").write_text(signature)
    words = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "mainstay", "-n", namespace, "-s", "signature"]
    return subprocess.run(words, cwd=folder, input=message, capture_output=True, check=False).returncode == 0


def test_ssh_keygen_accepts_our_signature_and_no_other(tmp_path: Path) -> None:
    private, public = wire.new_pair()
    signature = wire.Signer(private).sign(b"a message")
    assert verified(tmp_path, public, b"a message", signature)
    assert not verified(tmp_path, public, b"another message", signature)
    assert not verified(tmp_path, wire.new_pair()[1], b"a message", signature)
    assert not verified(tmp_path, public, b"a message", wire.Signer(private).sign(b"a message", "file"))
    assert not verified(tmp_path, public, b"a message", signature, "file")


def test_a_new_pair_is_one_that_openssh_reads(tmp_path: Path) -> None:
    private, public = wire.new_pair()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(private)
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True)
    assert said.stdout.split()[:2] == public.split()
    assert len(public.split()) == 2


def test_a_request_is_one_signed_line_bound_to_nonce_server_and_state(tmp_path: Path) -> None:
    private, public = wire.new_pair()
    greeted = wire.greeting(line())
    said = wire.request(
        signer=wire.Signer(private), greeted=greeted, server=SERVER, verb="access", args={"a": "é\n"}, state="ef" * 32
    )
    assert said.count(b"\n") == 1
    assert said.endswith(b"\n")
    outer = json.loads(said)
    assert set(outer) == {"request", "signature"}
    assert verified(tmp_path, public, outer["request"].encode(), outer["signature"])
    asked = json.loads(outer["request"])
    assert asked == {"nonce": "ab" * 32, "server": SERVER, "verb": "access", "args": {"a": "é\n"}, "state": "ef" * 32}


def test_a_request_without_a_change_names_no_state() -> None:
    signer = wire.Signer(wire.new_pair()[0])
    said = wire.request(signer=signer, greeted=wire.greeting(line()), server=SERVER, verb="hello", args={})
    assert "state" not in json.loads(json.loads(said)["request"])


def test_a_request_that_no_gate_would_read_is_not_made() -> None:
    signer = wire.Signer(wire.new_pair()[0])
    with pytest.raises(ValueError, match="more than a gate reads"):
        wire.request(signer=signer, greeted=wire.greeting(line()), server=SERVER, verb="x", args={"a": "x" * 2**22})


def test_a_key_of_another_kind_signs_nothing(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "key")], check=True)
    with pytest.raises(ValueError, match="Ed25519"):
        wire.Signer((tmp_path / "key").read_text())


def test_a_greeting_is_taken_apart() -> None:
    greeted = wire.greeting(line())
    assert (greeted.half, greeted.level, greeted.clock) == ("mainstay", "operate", 1790000000.25)
    assert greeted.verbs == ("facts", "hello", "root", "sample")


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "AB" * 32}, {"nonce": "ab" * 33}, {"nonce": 7}, {"nonce": None}, {"state": ""},
        {"state": ["cd" * 32]},
        {"clock": True}, {"clock": "1"}, {"clock": -1}, {"clock": 1e12}, {"clock": None}, {"level": "root"},
        {"level": ["observe"][0:0]}, {"as": "admin"}, {"verbs": "root"}, {"verbs": [1]}, {"verbs": ["a b"]},
        {"verbs": ["a"] * 101}, {"verbs": {"root": 1}}, {"server": ""}, {"server": "x" * 37}, {"server": 5},
        {"version": "1.0; rm"}, {"version": "9" * 40}, {"version": 1.0},
    ],
)  # fmt: skip
def test_a_greeting_with_one_wrong_field_is_malformed(changed: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.greeting(line(**changed))
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "said",
    [
        b"", b"Welcome to Debian", b"\x1b[31mhello", b"[]", b"{}", b'{"ok":true}', b"\xff\xfe", b"null",
        b'{"gate":1' * 2000, b"[" * 30000, b'{"gate":1,"gate":1}',
    ],
)  # fmt: skip
def test_what_is_no_greeting_is_no_gate(said: bytes) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.greeting(said)
    assert caught.value.code == "gate_missing"


@pytest.mark.parametrize("number", [0, 2, "1", True, None, 1.5])
def test_a_gate_of_another_protocol_is_named_so(number: object) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.greeting(line(gate=number))
    assert caught.value.code == "gate_old"


def test_an_answer_is_data_or_a_refusal() -> None:
    good = wire.answer(json.dumps({"ok": True, "answer": {"a": [1]}, "state": "ab" * 32}).encode(), most=1000)
    assert (good.ok, good.answer, good.state) == (True, {"a": [1]}, "ab" * 32)
    bad = wire.answer(b'{"ok":false,"code":"busy","said":"Another change."}', most=1000)
    assert (bad.ok, bad.code, bad.said) == (False, "busy", "Another change.")


@pytest.mark.parametrize(
    "said",
    [
        b"", b"{}", b'{"ok":1,"answer":{},"state":""}', b'{"ok":true,"answer":[],"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{}}', b'{"ok":false,"code":"A B","said":"x"}', b'{"ok":false,"code":"busy"}',
        b'{"ok":true,"answer":{"a":NaN},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{"a":1e999},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{"a":' + b"9" * 5000 + b'},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{"a":' + b"9" * 30 + b'},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{"a":1,"a":2},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":true,"answer":{"a":' + b"[" * 40 + b"]" * 40 + b'},"state":"' + b"ab" * 32 + b'"}',
        b'{"ok":false,"code":"busy","said":"x"}{"ok":true}', b"[" * 100000,
    ],
)  # fmt: skip
def test_anything_else_is_malformed(said: bytes) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.answer(said, most=1_000_000)
    assert caught.value.code == "malformed"


def test_an_answer_over_its_size_is_refused_unread() -> None:
    with pytest.raises(wire.WireError, match="more than 10 bytes"):
        wire.answer(b"x" * 11, most=10)


def test_too_many_values_are_refused() -> None:
    said = b'{"ok":true,"answer":{"a":[' + b"0," * wire.MOST_VALUES + b'0]},"state":"' + b"ab" * 32 + b'"}'
    with pytest.raises(wire.WireError):
        wire.answer(said, most=10_000_000)


def test_no_text_of_a_server_moves_a_terminal_or_turns_a_line() -> None:
    hostile = {"a\x1b[2J": "\x1b[31mred\u202e\x00\n\ud800", "b": ["</script>\r"], "c": {"d": "\u2028"}}
    said = wire.answer(json.dumps({"ok": True, "answer": hostile, "state": "ab" * 32}).encode(), most=10_000)
    assert said.answer == {
        r"a\x1b[2J": r"\x1b[31mred\u202e\x00\x0a\ud800",
        "b": [r"</script>\x0d"],
        "c": {"d": r"\u2028"},
    }


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    for parse in (wire.greeting, lambda given: wire.answer(given, most=1000)):
        try:
            parse(data)
        except wire.WireError:
            continue


@given(st.text())
def test_printable_text_is_printable_and_says_the_same_when_it_was(text: str) -> None:
    shown = wire.printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_a_fingerprint_is_what_ssh_keygen_says(tmp_path: Path) -> None:
    public = wire.new_pair()[1]
    (tmp_path / "key.pub").write_text(public)
    said = subprocess.run(["ssh-keygen", "-lf", "key.pub"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split()[1] == wire.fingerprint(base64.b64decode(public.split()[1]))
