"""What a person pasted: each line of the table in the security reference, as data in and verdict out."""

import base64
import random
from itertools import count

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.access import blob, keys
from apps.access.keys import Accepted, Refused, read
from tests.access import ssh_keys
from tests.access.ssh_keys import made, number, rsa, string

GOOD = [("ed25519", 0), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 3072), ("rsa", 4096)]
LINE = made("ed25519")[0]
TYPE, BLOB, COMMENT = LINE.split()
OTHER = made("ecdsa", 256, "bob@desk")[0]
RSA_N = int.from_bytes(base64.b64decode(made("rsa", 3072)[0].split()[1])[22:])
SK_RAW = string(b"sk-ssh-ed25519@openssh.com") + base64.b64decode(BLOB)[15:] + string(b"ssh:")
SK_EC = (
    string(b"sk-ecdsa-sha2-nistp256@openssh.com")
    + base64.b64decode(OTHER.split()[1])[len(string(b"ecdsa-sha2-nistp256")) :]
    + string(b"ssh:")
)


def one(text: str | bytes) -> Accepted:
    """Return the one accepted key of a paste."""
    (verdict,) = read(text)
    assert isinstance(verdict, Accepted), verdict
    return verdict


def why(text: str | bytes) -> str:
    """Return the one reason of a refused paste."""
    (verdict,) = read(text)
    assert isinstance(verdict, Refused), verdict
    assert (verdict.said, verdict.run) == keys.SAID[verdict.code]
    return verdict.code


@pytest.mark.parametrize(("kind", "bits"), GOOD)
def test_a_good_key_is_understood_as_ssh_keygen_does(kind: str, bits: int) -> None:
    line = made(kind, bits)[0]
    key = one(line)
    size, fingerprint, comment, _kind = ssh_keys.keygen("-lf", given=line).split()
    assert (key.bits, key.fingerprint, key.comment) == (int(size), fingerprint, comment)
    assert f"{key.type} {key.blob} {key.comment}" == line
    assert not key.repaired


@pytest.mark.parametrize("raw", [SK_RAW, SK_EC], ids=["ed25519", "ecdsa"])
def test_a_security_key_keeps_its_type_and_blob(raw: bytes) -> None:
    text = ssh_keys.line(blob.inner_type(raw), raw)
    key = one(text)
    assert key.hardware
    assert base64.b64decode(key.blob) == raw
    assert key.fingerprint in ssh_keys.keygen("-lf", given=text)


@pytest.mark.parametrize("kind", ["rsa"])
@pytest.mark.parametrize("bits", [1024, 2048])
def test_a_short_rsa_key_is_refused(kind: str, bits: int) -> None:
    assert why(made(kind, bits)[0]) == "rsa_short"


def test_one_bit_less_than_enough_is_refused() -> None:
    assert why(ssh_keys.line("ssh-rsa", rsa(RSA_N >> 1 | 1))) == "rsa_short"


def test_a_dsa_key_is_refused() -> None:
    raw = string(b"ssh-dss") + b"".join(number(n) for n in (3 << 1022, 3 << 158, 5, 7))
    assert why(ssh_keys.line("ssh-dss", raw)) == "dsa"


@pytest.mark.parametrize("e", [1, 3, 17, 257, 65535, 65538])
def test_an_rsa_key_with_an_unsafe_exponent_is_refused(e: int) -> None:
    assert why(ssh_keys.line("ssh-rsa", rsa(RSA_N, e))) == "rsa_exponent"


def test_an_rsa_key_of_close_primes_is_refused() -> None:
    p = ssh_keys.next_prime(random.Random(7).getrandbits(1536) | 3 << 1534 | 1)
    q = ssh_keys.next_prime(p + (1 << 600) | 1)
    assert why(ssh_keys.line("ssh-rsa", rsa(p * q))) == "fermat"
    assert why(ssh_keys.line("ssh-rsa", rsa(p * p))) == "fermat"


def test_an_rsa_key_that_a_small_number_divides_is_refused() -> None:
    assert why(ssh_keys.line("ssh-rsa", rsa(RSA_N * 1009))) == "rsa_factor"


def test_an_rsa_key_of_the_broken_chips_is_refused() -> None:
    m, source = 1, random.Random(8)
    for p in (p for p in range(2, 702) if all(p % d for d in range(2, p))):
        m *= p  # the 126 primes that keys of 1984 to 3936 bits were made with

    def broken() -> int:
        while True:
            p = source.getrandbits(1536 - m.bit_length()) * m + pow(65537, source.getrandbits(60), m)
            p += m * ((3 << 1534) // m + 1) if p < 3 << 1534 else 0
            if ssh_keys.prime(p):
                return p

    n = broken() * broken()
    assert blob.roca_weak(n)
    assert why(ssh_keys.line("ssh-rsa", rsa(n))) == "roca"
    assert not blob.roca_weak(RSA_N)


def test_a_certificate_is_refused() -> None:
    kind = "ssh-ed25519-cert-v01@openssh.com"
    assert why(ssh_keys.line(kind, string(kind.encode()) + bytes(300))) == "certificate"
    assert why(f"{kind} {BLOB}") == "certificate"


@pytest.mark.parametrize(
    "options",
    [
        'command="/bin/sh"',
        'environment="LD_PRELOAD=/x"',
        "cert-authority",
        "restrict,pty",
        "*.example.com",
        "@revoked *",
    ],
)
def test_options_before_a_key_are_refused(options: str) -> None:
    assert why(f"{options} {LINE}") == "options"


def test_a_key_called_by_another_name_is_refused() -> None:
    assert why(f"ssh-rsa {BLOB}") == "mismatch"
    assert why(f"ecdsa-sha2-nistp384 {OTHER.split()[1]}") == "mismatch"
    assert why(f"sk-ssh-ed25519@openssh.com {BLOB}") == "mismatch"


def test_bytes_after_the_end_of_a_key_are_refused() -> None:
    assert why(ssh_keys.line(TYPE, base64.b64decode(BLOB) + b"\0")) == "trailing"


def test_a_key_that_is_cut_off_is_refused() -> None:
    assert why(LINE[:60]) == "short"
    assert why(TYPE) == "short"
    assert why(f"{LINE[:60]} alice") == "short"


def test_two_spellings_of_one_number_are_not_two_keys() -> None:
    padded = string(b"ssh-rsa") + number(65537) + string(b"\0" + RSA_N.to_bytes(385))
    assert why(ssh_keys.line("ssh-rsa", padded)) == "broken"
    negative = string(b"ssh-rsa") + number(65537) + string(RSA_N.to_bytes(384))
    assert why(ssh_keys.line("ssh-rsa", negative)) == "broken"


def test_points_that_are_on_no_curve_are_refused() -> None:
    raw = bytearray(base64.b64decode(OTHER.split()[1]))
    raw[-1] ^= 1
    assert why(ssh_keys.line("ecdsa-sha2-nistp256", bytes(raw))) == "broken"


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 + 1])
def test_ed25519_points_for_which_anybody_can_sign_are_refused(y: int) -> None:
    assert why(ssh_keys.line(TYPE, string(b"ssh-ed25519") + string(y.to_bytes(32, "little")))) == "broken"


def test_several_keys_get_a_verdict_each() -> None:
    weak = made("rsa", 1024)[0]
    first, second, third = read(f"# mine\n{LINE}\n\n{weak}\r\n{OTHER}\n{LINE}\n")
    assert isinstance(first, Accepted)
    assert isinstance(second, Refused)
    assert (second.at, second.code) == (4, "rsa_short")
    assert isinstance(third, Accepted)
    assert third.comment == "bob@desk"


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{LINE}", f"{LINE}\r\n", LINE.replace(" ", "\xa0"),
        f"\u200b{TYPE} {BLOB[:20]}\u200b{BLOB[20:]} {COMMENT}",
        f"{TYPE} {BLOB[:40]}\n{BLOB[40:]} {COMMENT}", f"{TYPE}\n{BLOB}\n", f"{TYPE} {BLOB[:30]} {BLOB[30:]}",
        f"  {LINE}", BLOB, f"{BLOB} {COMMENT}", LINE.replace(" ", "\t"), f"\x1b[32m{LINE}\x1b[0m",
        f"{TYPE} {BLOB[:64]}\n{BLOB[64:]}", LINE.encode("utf-16"), f"> {LINE}", f'"{LINE}"', f"  `{LINE}`",
        b"\xef\xbb\xbf" + LINE.encode() + b"\r\n",
    ],
    ids=count(),
)  # fmt: skip
def test_what_an_editor_or_a_terminal_does_to_a_key_is_repaired(text: str | bytes) -> None:
    assert one(text).blob == BLOB


def test_a_long_key_wrapped_over_many_lines_is_repaired_and_the_next_is_not_eaten() -> None:
    kind, body, comment = made("rsa", 4096)[0].split()
    text = "\n".join([f"{kind} {body[:60]}", *(body[i : i + 70] for i in range(60, len(body), 70))])
    first, second = read(f"{text} {comment}\n{LINE}")
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.blob, first.comment, first.repaired) == (body, comment, True)
    assert (second.blob, second.repaired) == (BLOB, False)


def test_a_block_of_rfc_4716_is_converted() -> None:
    block = ssh_keys.keygen("-e", "-f", given=LINE)
    assert "BEGIN SSH2" in block
    key = one(block)
    assert key.blob == BLOB
    assert key.repaired
    first, second = read(f"{block}\n{OTHER}")
    assert [type(first), type(second)] == [Accepted, Accepted]


@pytest.mark.parametrize(("form", "code"), [("PKCS8", "pkcs8"), ("PEM", "pem")])
def test_keys_in_pem_form_are_explained(form: str, code: str) -> None:
    assert why(ssh_keys.keygen("-e", "-m", form, "-f", given=made("rsa", 3072)[0])) == code


@pytest.mark.parametrize(
    "text",
    [
        made("ed25519")[1], made("rsa", 3072)[1], f"{LINE}\n{made('ed25519')[1]}",
        made("ed25519")[1].replace("-----", ""), "\n".join(made("ed25519")[1].splitlines()[1:-1]),
        made("ed25519")[1].replace("\n", " "), made("ed25519")[1].replace("-", "–"),
        made("ed25519")[1].replace("PRIVATE", "PRI\u200bVATE"), made("ed25519")[1].encode("utf-16"),
        base64.b64encode(made("ed25519")[1].encode()), base64.encodebytes(made("rsa", 3072)[1].encode()),
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAA\n",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF", "-----BEGIN RSA PRIVATE KEY-----",
        "x" * 70_000 + made("ed25519")[1],
        "MC4CAQAwBQYDK2VwBCIEIHg0" + "A" * 40, '{"kty":"OKP","d": "abc"}',
    ],
    ids=count(),
)  # fmt: skip
def test_a_private_key_is_refused_with_all_around_it_and_never_echoed(text: str | bytes) -> None:
    if len(text) > keys.MOST:
        assert why(text) == "long"  # what is not read is not kept either
        return
    assert keys.leaked(text)
    assert why(text) == "private"
    assert "leaked" in read(text)[0].said  # type: ignore[union-attr]


def test_the_words_private_key_in_a_comment_are_no_private_key() -> None:
    assert one(f"{TYPE} {BLOB} my private key for work").comment == "my private key for work"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('"\n', "line"), ("ssh-rsa " + " ".join(["QUJDQUJDQUJDQUJD"] * 3000), "unknown"),
        ("", "empty"), (" \n# only this\n", "empty"), ("hello", "line"), ("x" * 70_000, "long"),
        ("2048 65537 " + "9" * 300, "ssh1"), ("SHA256:" + "A" * 43, "fingerprint"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "x509"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "block"), (f"ssh-ed448 {BLOB}", "mismatch"),
        ("ssh-xmss@openssh.com " + base64.b64encode(string(b"ssh-xmss@openssh.com")).decode(), "unknown"),
    ],
    ids=count(),
)  # fmt: skip
def test_what_is_no_key_is_refused_with_its_reason(text: str, code: str) -> None:
    assert why(text) == code


def test_a_comment_is_kept_short_printable_and_harmless() -> None:
    first, second = read(f"{TYPE} {BLOB} '; rm -rf /\x07 \x1b[31mred\x1b[0m {'x' * 200}\nssh-second-line here")
    assert isinstance(first, Accepted)
    assert first.comment.startswith("'; rm -rf / red xx")
    assert len(first.comment) == 64
    assert isinstance(second, Refused)


def test_no_more_than_fifty_keys_are_read() -> None:
    verdicts = read("line\n" * 60)
    assert len(verdicts) == 51
    assert isinstance(verdicts[-1], Refused)
    assert verdicts[-1].code == "many"


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_whatever_is_pasted_gets_verdicts_and_is_not_echoed(text: str | bytes) -> None:
    for verdict in read(text):
        assert isinstance(verdict, Refused)
        assert verdict.said == keys.SAID[verdict.code][0]


@settings(deadline=None)  # a busy machine is no fault
@given(st.data())
def test_no_change_of_a_key_is_taken_for_another_good_one_unless_it_is_one(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from([LINE, OTHER, made("rsa", 3072)[0]]))
    at = data.draw(st.integers(0, len(line) - 1))
    text = line[:at] + data.draw(st.text(max_size=3)) + line[at + data.draw(st.integers(0, 3)) :]
    for verdict in read(text):
        if isinstance(verdict, Accepted):
            load_ssh_public_key(f"{verdict.type} {verdict.blob}".encode())  # raises when it is none
            assert verdict.comment.isprintable()
            assert len(verdict.comment) <= keys.COMMENT


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(16, 80), st.sampled_from(["\n", "\r\n", "\n  "]))
def test_a_key_wrapped_at_any_width_is_the_same_key(width: int, gap: str) -> None:
    body = gap.join(BLOB[i : i + width] for i in range(0, len(BLOB), width))
    accepted = [verdict for verdict in read(f"{TYPE} {body}") if isinstance(verdict, Accepted)]
    assert [key.blob for key in accepted] == [BLOB]


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(min_size=32, max_size=32))
def test_ed25519_keys_are_judged_by_the_curve(point: bytes) -> None:
    verdict = read(ssh_keys.line(TYPE, string(b"ssh-ed25519") + string(point)))[0]
    assert isinstance(verdict, Accepted) or verdict.code == "broken"
