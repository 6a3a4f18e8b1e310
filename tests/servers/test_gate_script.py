"""The install script as a text: what it holds at each level, and that nothing given to it becomes shell."""

import base64
import gzip
import hashlib
import re
from typing import Any

import pytest

from apps.servers.gate.script import PARTS, gate_text, make, part_text
from tests.servers.gate import SERVER

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
GOOD: dict[str, Any] = {"server": SERVER, "public_key": PUBLIC, "level": "manage", "seen_from": ["192.0.2.7"]}


def test_the_script_is_the_same_each_time_and_says_its_digest() -> None:
    first = make(**GOOD)
    assert first == make(**GOOD)
    assert first.sha256 == hashlib.sha256(first.text.encode()).hexdigest()
    assert re.fullmatch(r"[\n -~]+", first.text)  # no tab, which a shell would complete; no letter like another
    assert not re.findall("@[A-Z_0-9]+@", first.text)


def test_the_script_is_short_apart_from_the_gate_that_it_holds_as_it_is() -> None:
    text = make(**GOOD).text
    assert gate_text() in text
    for part in (gate_text(), *map(part_text, PARTS)):
        assert part in text
        text = text.replace(part, "")
    assert len(text.splitlines()) < 170
    assert max(map(len, text.splitlines())) < 140


def test_each_level_brings_only_its_own() -> None:
    scripts = {level: make(**{**GOOD, "level": level}).text for level in ("observe", "operate", "manage")}
    assert len(set(scripts.values())) == 3
    assert ["def dump(" in text for text in scripts.values()] == [False, True, True]
    assert ["def access(" in text for text in scripts.values()] == [False, False, True]
    assert all(f"level={level} " in text for level, text in scripts.items())


def test_as_cloud_init_it_is_the_same_script_and_fits_most_clouds() -> None:
    script = make(**GOOD)
    packed = re.search(r"content: (\S+)}", script.cloud_init)
    assert packed
    assert gzip.decompress(base64.b64decode(packed[1])).decode() == script.text
    assert len(script.cloud_init) < 48 * 1024
    assert len(make(**{**GOOD, "level": "operate"}).cloud_init) < 32 * 1024


@pytest.mark.parametrize("changed", [
    {"server": "x"}, {"server": SERVER + "\n"}, {"server": "$(id)"}, {"level": "root"}, {"level": "manage;id"},
    {"public_key": ""}, {"public_key": PUBLIC + " me"}, {"public_key": PUBLIC + "\nssh-ed25519 x"},
    {"public_key": "ssh-rsa AAAA" + "A" * 64}, {"seen_from": ["*"]}, {"seen_from": ['192.0.2.1"']},
    {"seen_from": ["$(id)"]}, {"seen_from": ["host.example.com"]}, {"seen_from": ["fe80::1%$(id)"]},
    {"gate": "MAINSTAY_END\nid\n"}, {"gate": "tab\there\n"}, {"gate": "\u202e\n"}, {"gate": ""},
])  # fmt: skip
def test_nothing_that_could_become_shell_gets_into_the_script(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=" is "):
        make(**{**GOOD, **changed})
