"""The gate's conversation under attack: what it refuses, what it says then, and what it never does."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.servers.gate.script import PARTS, gate_text, part_text
from tests.servers.gate import SERVER, SOURCE, Call, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "server")


def test_it_is_at_most_900_lines() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 900


@pytest.mark.parametrize("text", [gate_text(), *map(part_text, PARTS)], ids=["gate", *PARTS])
def test_it_is_python_3_7_from_the_standard_library_alone(text: str) -> None:
    grown = ast.parse(text, feature_version=(3, 7))
    named = {alias.name for node in ast.walk(grown) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in ast.walk(grown) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in named} <= set(sys.stdlib_module_names)
    since = {"removeprefix", "removesuffix", "walrus", "cache", "math.lcm", "posix_spawn", "memfd_create"}
    assert not {node.attr for node in ast.walk(grown) if isinstance(node, ast.Attribute)} & since


@pytest.mark.parametrize("part", PARTS)
def test_no_name_of_a_file_beside_it_hides_one_of_its_own(part: str) -> None:
    bodies = [ast.parse(gate_text()).body, ast.parse(part_text(part)).body]
    made = [node.name for body in bodies for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    made += [
        name.id for body in bodies for node in body if isinstance(node, ast.Assign)
        for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
        and isinstance(name.ctx, ast.Store)
    ]  # fmt: skip
    assert sorted(made) == sorted(set(made))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_it_names_the_verbs_of_the_files_beside_it_at_their_levels(tmp_path: Path) -> None:
    verbs = {"dump": {"dump"}, "access": {"keys", "sessions", "access", "commit", "rollback"}}
    for name, there in verbs.items():
        assert there <= {node.name for node in ast.parse(part_text(name)).body if isinstance(node, ast.FunctionDef)}
    for level, known in (("observe", set()), ("operate", verbs["dump"]), ("manage", verbs["dump"] | verbs["access"])):
        call = Tree(tmp_path / level, level).call("root")
        assert set(call.greeting["verbs"]) == {"hello", "facts"} | known
        call.end()


def test_it_greets_with_what_a_panel_needs_to_know_and_answers_one_document(tree: Tree) -> None:
    call = tree.call()
    greeting = call.greeting
    assert set(greeting) == {"gate", "version", "nonce", "clock", "server", "level", "as", "state", "verbs"}
    assert [greeting[name] for name in ("gate", "server", "level", "as")] == [1, SERVER, "observe", "mainstay"]
    assert len(greeting["nonce"]) == len(greeting["state"]) == 64
    answer = call.ask("hello")
    assert answer["ok"]
    assert answer["state"] == greeting["state"]
    assert "OpenSSH" in answer["answer"]["openssh"]


def test_no_two_conversations_share_a_nonce(tree: Tree) -> None:
    calls = [tree.call() for _ in range(5)]
    for call in calls:
        call.end()
    assert len({call.greeting["nonce"] for call in calls}) == 5


def test_a_request_that_was_answered_once_is_refused_in_another_conversation(tree: Tree) -> None:
    first = tree.call()
    text = first.request("hello")
    signature = tree.sign(text)
    assert first.send(text, signature)["ok"]
    assert tree.call().send(text, signature)["code"] == "nonce"


def test_a_request_for_another_server_is_refused(tree: Tree) -> None:
    assert tree.call().ask("hello", server="0198b2f4-0000-7000-8000-000000000002")["code"] == "server"


def test_only_the_panels_key_in_the_gates_namespace_over_exactly_this_text_counts(tree: Tree) -> None:
    stranger = tree.new_key("stranger")
    call = tree.call()
    text = call.request("hello")
    assert call.send(text, tree.sign(text, stranger))["code"] == "signature"
    call = tree.call()
    text = call.request("hello")
    assert call.send(text, tree.sign(text, namespace="file"))["code"] == "signature"
    call = tree.call()
    text = call.request("hello")
    assert call.send(text + " ", tree.sign(text))["code"] == "signature"


BEGIN, END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize("armor", [
    "", "x{good}", "{good}{good}", "{good}trailing", "{good}\n\n", " {good}", "/etc/mainstay/signers",
    BEGIN + END, BEGIN + "\n" + END, BEGIN + "A" * 3000 + "\n" + END, BEGIN + "A" * 99_999 + "\n" + END,
])  # fmt: skip
def test_armor_that_is_not_one_signature_is_refused(tree: Tree, armor: str) -> None:
    call = tree.call()
    text = call.request("hello")
    assert call.send(text, armor.replace("{good}", tree.sign(text)))["code"] == "signature"


@pytest.mark.parametrize(("old", "new"), [("SSH S", "PGP S"), ("\n", "\r\n"), ("\n", "\0\n"), (END, ""), ("\n", "")])
def test_armor_that_was_touched_is_refused(tree: Tree, old: str, new: str) -> None:
    call = tree.call()
    text = call.request("hello")
    assert call.send(text, tree.sign(text).replace(old, new))["code"] == "signature"


def signed(tree: Tree, call: Call, text: str) -> dict[str, Any]:
    return call.send(text, tree.sign(text))


@pytest.mark.parametrize("line", [
    b"\n", b"{}\n", b"[]\n", b"null\n", b'"hello"\n', b"id; reboot\n", b"\xff\xfe\n", b"{\n",
    b'{"request":"{}"}\n', b'{"request":1,"signature":2}\n', b'{"request":null,"signature":""}\n',
    b'{"request":"{}","signature":"","more":1}\n', b'{"request":"{}","signature":"\\u00fc"}\n',
    b'{"request":"\\ud800","signature":""}\n', b"[" * 100_000 + b"\n", b'{"request":' * 50_000 + b"\n",
    b'{"request":' + b"9" * 3_000_000 + b',"signature":""}\n', b'{"request":NaN,"signature":""}\n',
    b'{"request":"{}","signature":""}\n{"request":"{}","signature":""}\n', b"GET / HTTP/1.1\r\n\r\n",
])  # fmt: skip
def test_a_line_that_is_no_request_is_refused_at_once(tree: Tree, line: bytes) -> None:
    answer = tree.call().raw(line)
    assert (answer["ok"], answer["code"]) == (False, "malformed")


@pytest.mark.parametrize("changed", [
    {"verb": 1}, {"verb": None}, {"nonce": ["x"]}, {"server": 5}, {"args": []}, {"args": None}, {"args": "x"},
    {"state": 1}, {"state": None}, {"more": 1}, {"args": {"n": 10**30}}, {"args": {"n": float("inf")}},
])  # fmt: skip
def test_a_signed_request_of_another_shape_is_refused(tree: Tree, changed: dict[str, Any]) -> None:
    call = tree.call()
    text = json.dumps({**json.loads(call.request("hello")), **changed})
    assert signed(tree, call, text)["code"] == "malformed"


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 50_000, "{}"])
def test_a_signed_text_that_is_no_request_is_refused(tree: Tree, text: str) -> None:
    assert signed(tree, tree.call(), text)["code"] == "malformed"


def test_endless_input_is_cut_off(tree: Tree) -> None:
    answer = tree.call().raw(b"x" * (5 << 20))
    assert (answer["code"], "at most" in answer["said"]) == ("malformed", True)


def test_a_panel_that_hangs_up_is_told_so_and_nothing_stays(tree: Tree) -> None:
    call = tree.call()
    assert call.raw(b'{"request":', close=True)["code"] == "malformed"
    assert call.process.returncode == 1


def test_a_panel_that_says_nothing_is_given_up(tree: Tree) -> None:
    tree.gate.write_text(tree.gate.read_text().replace("PATIENCE = 60", "PATIENCE = 1"))
    call = tree.call()
    assert (call.line()["code"], call.process.wait(10)) == ("malformed", 1)
    call.end()


def test_a_panel_that_takes_no_answer_does_not_hold_the_gate(tree: Tree) -> None:
    text = tree.gate.read_text().replace("PATIENCE = 60", "PATIENCE = 1")
    tree.gate.write_text(text.replace('return {"python":', 'return {"much": "x" * 2_000_000, "python":'))
    call = tree.call()
    request = call.request("hello")
    call.write(request, tree.sign(request))
    assert call.process.wait(20) == 0
    call.end()


@pytest.mark.parametrize("verb", ["", "root", "shell", "__class__", "hello\n", "../gate", "HI", "x" * 99_999, "\u202e"])
def test_a_verb_that_it_does_not_have_or_not_at_this_level_is_refused(tree: Tree, verb: str) -> None:
    assert tree.call().ask(verb)["code"] in ("verb", "level")


def test_a_verb_above_the_level_is_refused_with_both_levels(tree: Tree) -> None:
    tree.set_level("observe")
    answer = tree.call().ask("root")
    assert (answer["code"], "observe" in answer["said"]) == ("level", True)


def test_the_levels_hold_each_other(tree: Tree) -> None:
    verbs = []
    for level in ("observe", "operate", "manage"):
        tree.set_level(level)
        call = tree.call()
        call.end()
        verbs.append(set(call.greeting["verbs"]))
    assert verbs[0] < verbs[1] <= verbs[2]
    assert "root" not in verbs[0]


@pytest.mark.parametrize(
    "config", ["", "{}", "[]", '{"server":"x","level":"observe"}', '{"server":7,"level":"manage"}', None]
)
def test_a_damaged_description_is_said_and_nothing_is_done(tree: Tree, config: str | None) -> None:
    path = tree.root / "etc/mainstay/server.json"
    path.unlink() if config is None else path.write_text(config)
    call = tree.call()
    assert (call.greeting["ok"], call.greeting["code"]) == (False, "lacks")
    call.end()


def test_the_original_command_and_the_environment_change_nothing(tree: Tree) -> None:
    (tree.root / "json.py").write_text("raise SystemExit('taken over')")
    here = str(tree.root)
    done = subprocess.run(
        [sys.executable, "-IS", tree.gate], input=b"", capture_output=True, check=False, cwd=tree.root,
        env={"SSH_ORIGINAL_COMMAND": "cat /etc/shadow", "PYTHONPATH": here, "PATH": here, "LC_ALL": "xx"},
    )  # fmt: skip
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["gate"], second["code"], done.stderr) == (1, "malformed", b"")


def test_words_on_the_command_line_are_not_obeyed_by_the_half_without_rights(tree: Tree) -> None:
    for words in (["-c", "id"], ["root", "x"], ["root;id"], [""]):
        done = subprocess.run([sys.executable, "-IS", tree.gate, *words], input=b"", capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (1, b"")


def test_every_refusal_is_one_line_of_the_log_whatever_it_names(tree: Tree) -> None:
    tree.call().ask("evil\n2026-01-01T00:00:00Z 1 root access done\x1b[2J\u2028")
    tree.call().ask("hello")
    lines = tree.log.read_bytes().splitlines()
    assert len(lines) == 2
    assert b"\x1b" not in lines[0]
    assert b"evil?2026" in lines[0]
    assert lines[1].endswith(b" mainstay hello done")


def test_a_log_that_cannot_be_written_stops_nothing(tree: Tree) -> None:
    tree.log.unlink()
    tree.log.symlink_to("/dev/full")
    assert tree.call().ask("hello")["ok"]
    tree.log.unlink()
    assert tree.call().ask("hello")["ok"]


def test_a_full_or_read_only_disk_does_not_stop_the_gate(tree: Tree) -> None:
    call = tree.call()
    before = sorted(path for path in tree.root.rglob("*"))
    assert call.ask("hello")["ok"]
    assert sorted(path for path in tree.root.rglob("*")) == before
    assert "tempfile" not in SOURCE.read_text()


@pytest.mark.parametrize("path", [
    "etc/ssh/mainstay/keys/alice", "etc/ssh/mainstay/revoked.krl", "etc/ssh/mainstay/state.json",
    "etc/sudoers.d/mainstay-alice", "etc/ssh/sshd_config.d/10-mainstay.conf", "etc/mainstay/signers",
])  # fmt: skip
def test_the_digest_moves_with_each_file_that_a_change_builds_on(tree: Tree, path: str) -> None:
    def digest() -> str:
        call = tree.call()
        call.end()
        found: str = call.greeting["state"]
        return found

    target = tree.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("one")
    first = digest()
    assert digest() == first
    target.write_text("two")
    second = digest()
    target.chmod(0o666)
    third = digest()
    assert len({first, second, third}) == 3


def test_the_digest_follows_the_accounts_that_the_panel_manages_and_no_others(tree: Tree) -> None:
    def digest() -> str:
        call = tree.call()
        call.end()
        found: str = call.greeting["state"]
        return found

    etc = tree.root / "etc"
    (etc / "ssh/mainstay/state.json").write_text(json.dumps({"accounts": [{"user": "alice"}]}))
    (etc / "passwd").write_text("alice:x:1000:1000::/srv/alice:/bin/bash\nbob:x:1001:1001::/srv/bob:/bin/sh\n")
    (etc / "shadow").write_text("alice:*:1::::::\nbob:!:1::::::\n")
    first = digest()
    (etc / "passwd").write_text("alice:x:1000:1000::/srv/alice:/bin/bash\n")
    assert digest() == first
    (etc / "shadow").write_text("alice:!:1::::::\nbob:!:1::::::\n")
    second = digest()
    (etc / "passwd").write_text("alice:x:0:1000::/srv/alice:/bin/bash\n")
    assert len({first, second, digest()}) == 3


def test_the_tree_of_the_tests_is_the_only_difference_to_what_is_installed(tree: Tree) -> None:
    assert tree.gate.read_text().replace(f"ROOT = {str(tree.root)!r}", 'ROOT = ""') == SOURCE.read_text()
    assert os.access(SOURCE, os.X_OK)
