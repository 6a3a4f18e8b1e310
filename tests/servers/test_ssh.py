"""The way in, against real sshd: whom it speaks with, what it makes of hostile servers, and what it never does."""

import asyncio
import base64
import contextlib
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from apps.servers import ssh
from apps.servers.gate import wire
from apps.servers.ssh import Target, Trouble, line, offer, reach, scan
from tests.servers.sshd import WHY, Sshd, gate, missing, script, sshd

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing, reason=WHY)]

ID = str(uuid.UUID(int=50))
PRIVATE, PUBLIC = wire.new_pair()
GOOD = {"hello": "hello"}
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return an sshd with three kinds of host keys and a real gate at the level operate."""
    folder = tmp_path_factory.mktemp("sshd")
    with sshd(folder, users=("mainstay", "alice", "bob"), kinds=("ed25519", "ecdsa", "rsa")) as running:
        program = gate(folder, server=ID, public_key=PUBLIC, level="operate")
        running.authorize("mainstay", f'restrict,command="{program}" {PUBLIC}')
        yield running


@pytest.fixture
def hostile(server: Sshd) -> Iterator[Any]:
    """Return what puts another program in the gate's place for one test."""
    before = (server.folder / "keys" / "mainstay").read_text()

    def put(body: str) -> Target:
        program = script(server.folder / f"hostile-{uuid.uuid4().hex[:8]}", body)
        server.authorize("mainstay", f'restrict,command="{program}" {PUBLIC}')
        return target(server)

    yield put
    (server.folder / "keys" / "mainstay").write_text(before)


def target(server: Sshd, **changed: Any) -> Target:
    made = Target(ID, "web-1", server.address, server.port, PRIVATE, server.host_keys)
    return replace(made, **changed)


def run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


def trouble(work: Awaitable[Any], code: str) -> Trouble:
    with pytest.raises(Trouble) as caught:
        run(work)
    assert caught.value.code == code, caught.value.said
    assert caught.value.said.isprintable()
    assert caught.value.said.endswith((".", ")"))
    return caught.value


async def quick(one: Target, verb: str = "hello", **more: Any) -> Any:
    asked = line.Line(one)
    try:
        return await asked.ask(verb, **more)
    finally:
        await asked.close()


# --- what works ---------------------------------------------------------------------------------------


def test_the_real_gate_answers_a_signed_question(server: Sshd) -> None:
    answer = run(quick(target(server)))
    assert answer.data["python"].startswith("3.")
    assert answer.greeted.half == "mainstay"
    assert len(answer.state) == 64


def test_the_root_half_answers_on_the_same_channel_after_a_greeting_of_its_own(server: Sshd) -> None:
    answer = run(quick(target(server), root=True))
    assert answer.greeted.half == "root"


def test_many_questions_go_over_one_kept_connection(server: Sshd) -> None:
    before = server.log().count("Accepted publickey for mainstay")

    async def talk() -> list[str]:
        kept = line.Line(target(server))
        halves = [(await kept.ask("hello", root=root)).greeted.half for root in (False, True, False, True)]
        before = kept.is_open
        await kept.close()
        return [*halves, f"{before} {kept.is_open}"]

    assert run(talk()) == ["mainstay", "root", "mainstay", "root", "True False"]
    assert server.log().count("Accepted publickey for mainstay") == before + 1


def test_any_of_the_pinned_kinds_is_enough(server: Sshd) -> None:
    for kept in server.host_keys:
        assert run(quick(target(server, host_keys=(kept,)))).data


def test_a_scan_shows_every_kind_without_signing_in(server: Sshd) -> None:
    before = server.log().count("Accepted publickey")
    found = scan(server.address, server.port)
    order = list(line.FAMILIES)
    expected = sorted(server.host_keys, key=lambda key: order.index(key[0]))
    assert [(key.type, key.blob) for key in found] == expected
    assert [key.fingerprint for key in found] == [wire.fingerprint(base64.b64decode(blob)) for _, blob in expected]
    assert server.log().count("Accepted publickey") == before


# --- whom it does not speak with ----------------------------------------------------------------------


def test_another_host_key_is_a_hard_stop_and_nothing_is_sent(server: Sshd, tmp_path: Path) -> None:
    """A machine in the middle has a key of its own of the same kind."""
    with sshd(tmp_path / "middle", kinds=("ed25519",)) as middle:
        middle.authorize("mainstay", PUBLIC)
        said = trouble(quick(target(middle, host_keys=server.host_keys)), "host_key")
        assert said.permanent
        assert [(key.type, key.blob) for key in said.offered] == list(middle.host_keys)
        assert "for mainstay" not in middle.log()  # it did not even hear who we are


def test_a_server_with_only_another_kind_of_key_is_a_changed_one_too(server: Sshd, tmp_path: Path) -> None:
    with sshd(tmp_path / "other", kinds=("rsa",)) as other:
        other.authorize("mainstay", PUBLIC)
        pinned = tuple(key for key in server.host_keys if key[0] == "ssh-ed25519")
        said = trouble(quick(target(other, host_keys=pinned)), "host_key")
        assert [key.type for key in said.offered] == ["ssh-rsa"]


def test_no_file_agent_or_password_of_this_machine_is_used(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home with a trusting known_hosts, a key that fits and an agent changes nothing."""
    home = tmp_path / ".ssh"
    home.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "id_ed25519")], check=True)
    kind, blob = server.host_keys[0]
    (home / "known_hosts").write_text(f"* {kind} {blob}\n")
    (home / "config").write_text("Host *\n  StrictHostKeyChecking no\n  User alice\n")
    server.authorize("alice", (home / "id_ed25519.pub").read_text().strip())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    other = wire.new_pair()[0]
    before = server.log().count("Accepted publickey")
    trouble(quick(target(server, private_key=other)), "auth")
    trouble(quick(target(server, host_keys=(("ssh-ed25519", wire.new_pair()[1].split()[1]),))), "host_key")
    assert server.log().count("Accepted publickey") == before


def test_a_key_that_is_not_allowed_is_tried_once(server: Sshd) -> None:
    before = server.log().count("Failed publickey for mainstay")
    said = trouble(quick(target(server, private_key=wire.new_pair()[0])), "auth")
    assert said.permanent
    assert server.log().count("Failed publickey for mainstay") <= before + 1


def test_a_gate_of_another_server_is_not_asked(server: Sshd) -> None:
    assert "another server" in trouble(quick(target(server, id=str(uuid.UUID(int=51)))), "server").said


def test_a_metadata_address_is_never_dialled() -> None:
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254"):
        assert trouble(line.scan(address, 22), "address").permanent


def test_a_private_address_is_refused_where_the_setting_says_so(settings: Any) -> None:
    settings.MAINSTAY_ALLOW_PRIVATE = False
    assert "MAINSTAY_ALLOW_PRIVATE" in trouble(line.scan("127.0.0.1", 22), "address").said


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a b", "x" * 300, "1.2.3.4\n", "$(id)", "-oProxyCommand=x"])
def test_an_address_that_is_none_says_so(name: str) -> None:
    with pytest.raises(Trouble) as caught:
        run(line.scan(name, 22))
    assert caught.value.code in {"resolve", "address"}


# --- what a gate refuses ------------------------------------------------------------------------------


def test_a_verb_above_the_level_is_named(server: Sshd, hostile: Any) -> None:
    program = gate(server.folder / "observing", server=ID, public_key=PUBLIC, level="observe")
    server.authorize("mainstay", f'restrict,command="{program}" {PUBLIC}')
    assert "observe" in trouble(quick(target(server), "keys"), "level").said


def test_a_verb_that_the_gate_does_not_know_asks_for_the_new_script(server: Sshd) -> None:
    assert "Paste the new script" in trouble(quick(target(server), "no_such", root=False), "gate_old").said


def test_a_signature_of_another_key_is_refused_by_the_gate(server: Sshd, hostile: Any) -> None:
    program = gate(server.folder / "signed", server=ID, public_key=wire.new_pair()[1])
    server.authorize("mainstay", f'restrict,command="{program}" {PUBLIC}')
    assert trouble(quick(target(server)), "signature").permanent


# --- what hostile servers say -------------------------------------------------------------------------

GREET = f"""
SERVER = {ID!r}
import json, os, sys, time
""" + """
def greet(**more):
    said = {"gate": 1, "version": "1.0", "nonce": "ab" * 32, "clock": time.time(), "server": SERVER, "level": "manage",
            "as": "mainstay", "state": "cd" * 32, "verbs": ["hello", "root", "sample"]}
    said.update(more)
    print(json.dumps(said), flush=True)
def kill_sshd(pid):
    name = open(f"/proc/{pid}/comm").read()
    parent = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    os.kill(pid, 9) if name.startswith("sshd") else kill_sshd(parent)
def say(**document):
    greet(); sys.stdin.readline(); print(json.dumps(document))
"""
KILL_SSHD = "kill_sshd(os.getppid())"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("print('Welcome!')", "gate_missing"),
        ("print('{}')", "gate_missing"),
        ("import sys; sys.stdout.write('\\x1b[2J' * 50000)", "malformed"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "malformed"),
        ("import sys\nwhile True: sys.stderr.write('x' * 65536)", "malformed"),
        ("import sys; sys.exit(127)", "gate_missing"),
        ("import sys; sys.stderr.write('/usr/bin/env: \\u2018python3\\u2019: No such file'); sys.exit(127)", "python"),
        ("import sys; sys.stderr.write('\\x1b[31m</script>'); sys.exit(3)", "gate_missing"),
        (GREET + "greet(gate=2)", "gate_old"),
        (GREET + "greet(server='x')", "server"),
        (GREET + "greet(nonce='short')", "malformed"),
        (GREET + "greet(); sys.exit(0)", "malformed"),
        (GREET + "greet(); sys.stdin.readline(); print('{\"ok\": true}')", "malformed"),
        (GREET + "say(ok=True, answer={}, state='</script>')", "malformed"),
        (GREET + "greet(); sys.stdin.readline(); print('[' * 100000)", "malformed"),
        (GREET + "greet(); sys.stdin.readline()\nwhile True: print('x' * 65536)", "malformed"),
        (GREET + "say(ok=False, code='\\x1b[31m', said='A.')", "malformed"),
        (GREET + "say(ok=False, code='busy', said='\\x1b[31mA.')", "busy"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_named_and_bounded(hostile: Any, body: str, code: str) -> None:
    trouble(quick(hostile(body)), code)


def test_a_gate_that_dies_in_the_middle_of_a_request_is_no_answer(hostile: Any) -> None:
    with pytest.raises(Trouble) as caught:
        run(quick(hostile(f"{GREET}greet(); {KILL_SSHD}")))
    assert caught.value.code == "closed"


def test_a_root_half_that_does_not_come_names_sudo(hostile: Any) -> None:
    body = GREET + "greet(); sys.stdin.readline(); sys.stderr.write('sudo: a password is required'); sys.exit(1)"
    trouble(quick(hostile(body), "keys"), "sudo")


def test_a_refusal_instead_of_the_root_half_keeps_its_words(hostile: Any) -> None:
    said = "json.dumps({'ok': False, 'code': 'lacks', 'said': 'sudo is missing.'})"
    found = trouble(quick(hostile(f"{GREET}greet(); sys.stdin.readline(); print({said})"), "keys"), "lacks")
    assert found.said == "web-1: sudo is missing."


def test_silence_ends(hostile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "SECONDS_GREETING", 0.5)
    monkeypatch.setitem(line.SECONDS, "hello", 0.5)
    trouble(quick(hostile("import sys; sys.stdin.read()")), "timeout")
    trouble(quick(hostile(GREET + "greet(); sys.stdin.readline(); sys.stdin.read()")), "timeout")


def test_a_drip_ends_too(hostile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(line.SECONDS, "hello", 1.0)
    body = GREET + "greet(); sys.stdin.readline()\nwhile True: print(' ', end='', flush=True); time.sleep(0.05)"
    began = time.monotonic()
    trouble(quick(hostile(body)), "timeout")
    assert time.monotonic() - began < 15


def test_a_server_that_takes_connections_and_is_silent_times_out(
    monkeypatch: pytest.MonkeyPatch, server: Sshd
) -> None:
    monkeypatch.setattr(line, "SECONDS_SIGN_IN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        trouble(quick(target(server, port=frozen.getsockname()[1])), "timeout")


def test_nobody_listening_is_refused(server: Sshd) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        trouble(quick(target(server, port=free.getsockname()[1])), "refused")


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n" * 9000, b"SSH-2.0-x\r\n" + b"\xff" * 99, b"SSH-1.5-x\r\n", b""]
)
def test_what_does_not_speak_ssh_is_no_server(server: Sshd, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            with contextlib.suppress(OSError):
                caller, _ = other.accept()
                with caller:
                    caller.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Trouble) as caught:
            run(quick(target(server, port=other.getsockname()[1])))
        thread.join()
    assert caught.value.code in {"protocol", "closed"}


def test_a_private_key_is_never_in_words(server: Sshd) -> None:
    assert "PRIVATE" not in repr(target(server))
    pinned = (("ssh-ed25519", wire.new_pair()[1].split()[1]),)
    said = trouble(quick(target(server, host_keys=pinned)), "host_key")
    assert not any(line in f"{said} {said.offered}" for line in PRIVATE.splitlines()[1:-1])


# --- whether sshd would let somebody in ---------------------------------------------------------------


def offered(server: Sshd, user: str, *keys: Any) -> ssh.Offered:
    """Return what sshd says of keys that are offered in one connection."""
    return run(offer.offered(target(server), user, [tuple(key) for key in keys]))


def new_key() -> list[str]:
    """Return type and blob of a key that nobody knows."""
    return wire.new_pair()[1].split()


def test_would_accept_asks_the_real_sshd_for_every_kind_of_key(server: Sshd, tmp_path: Path) -> None:
    lines = []
    for kind in ("ed25519", "ecdsa", "rsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(tmp_path / kind)], check=True)
        lines.append((tmp_path / f"{kind}.pub").read_text().split()[:2])
    server.authorize("alice", *(" ".join(one) for one in lines))
    before = server.log().count("Accepted publickey")
    for key in lines:
        assert offered(server, "alice", key).accepted
        assert not offered(server, "bob", key).accepted
        assert not offered(server, "nobody-here", key).accepted
    server.authorize("alice")
    assert not offered(server, "alice", lines[0]).accepted
    assert server.log().count("Accepted publickey") == before


def test_would_accept_knows_a_lease_that_is_over(server: Sshd) -> None:
    kind, blob = new_key()
    server.authorize("bob", f'expiry-time="20200101Z" {kind} {blob}')
    assert not offered(server, "bob", (kind, blob)).accepted
    server.authorize("bob", f'expiry-time="20990101Z" {kind} {blob}')
    assert offered(server, "bob", (kind, blob)).accepted


def test_many_keys_are_offered_in_one_connection_up_to_the_first_that_is_taken(server: Sshd) -> None:
    keys = [new_key() for _ in range(5)]
    before = server.log().count("Connection from")
    assert offered(server, "alice", *keys) == ssh.Offered(accepted=False, answered=5)
    server.authorize("alice", " ".join(keys[2]))
    assert offered(server, "alice", *keys) == ssh.Offered(accepted=True, answered=3)
    server.authorize("alice")
    assert server.log().count("Connection from") == before + 2


def test_a_server_that_allows_fewer_tries_has_answered_for_those(server: Sshd) -> None:
    keys = [new_key() for _ in range(9)]
    assert offered(server, "alice", *keys) == ssh.Offered(accepted=False, answered=6)  # sshd's own default


def test_would_accept_is_never_tried_with_a_stranger_or_with_what_is_no_key(server: Sshd) -> None:
    pinned = (("ssh-ed25519", new_key()[1]),)
    kind, blob = new_key()
    trouble(offer.offered(target(server, host_keys=pinned), "alice", [(kind, blob)]), "host_key")
    trouble(offer.offered(target(server), "alice", [("ssh-ed25519", "AAAA")]), "malformed")


def test_an_error_of_the_network_has_its_own_words() -> None:
    errors = (OSError(113, "x"), TimeoutError(), OSError(104, "x"))
    assert {reach.unreachable("x port 22", error).code for error in errors} == {"unreachable", "timeout", "closed"}
