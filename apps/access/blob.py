"""What is inside the blob of an SSH public key, read by our own strict parser: type, size, and whether it is weak.

Structure: RFC 4253 section 6.6 (RSA, DSA), RFC 5656 (ECDSA), RFC 8709 (Ed25519), OpenSSH's PROTOCOL.u2f (sk-). Parsers
in libraries accept what no server should (security reference, A4), so each rule stands here and is tested on its own.
"""

import base64
import hashlib
from dataclasses import dataclass
from math import isqrt

ED25519, RSA, DSA = "ssh-ed25519", "ssh-rsa", "ssh-dss"
SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
LEAST_RSA, MOST_RSA = 3072, 16384  # bits; OpenSSH reads no number of more than 16384 bits
LEAST_E = 65537

# Curve y² = x³ − 3x + b over p: FIPS 186-4, D.1.2.
_CURVES: dict[str, tuple[int, int, int]] = {
    "nistp256": (
        256,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": (
        384,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "nistp521": (
        521,
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF1 << 272
        | 0x09E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}  # fmt: skip
ECDSA = {f"ecdsa-sha2-{curve}": curve for curve in _CURVES}
TYPES = frozenset({ED25519, SK_ED25519, SK_ECDSA, RSA, *ECDSA})  # what may be accepted
_FIELDS = {ED25519: 1, SK_ED25519: 2, SK_ECDSA: 3, RSA: 2, DSA: 4, **dict.fromkeys(ECDSA, 2)}  # after the type

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P  # RFC 8032, 5.1
_PRIMES = tuple(n for n in range(2, 2000) if all(n % d for d in range(2, isqrt(n) + 1)))
_ROCA = tuple(p for p in _PRIMES if p <= 167)  # the 39 primes whose product is part of every such M
_FERMAT_ROUNDS = 100


class BlobError(Exception):
    """Why a blob is no key that may be used; `code` names the reason, see keys.SAID."""

    def __init__(self, code: str) -> None:
        """Keep the reason."""
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Blob:
    """One well-formed public key: its own type and its size in bits."""

    type: str
    bits: int


def fingerprint(raw: bytes) -> str:
    """Return the SHA-256 fingerprint as OpenSSH writes it: "SHA256:" and base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def inner_type(raw: bytes) -> str:
    """Return the type that the blob itself names, "" when it names none."""
    try:
        name, _ = _string(raw, 0)
        return name.decode("ascii")
    except (BlobError, UnicodeDecodeError):
        return ""


def cut_off(raw: bytes) -> bool:
    """Return whether more bytes are needed before the last field of the key is whole."""
    at = 0
    try:
        name, at = _string(raw, 0)
        for _ in range(_FIELDS.get(name.decode("ascii", "replace"), 0)):
            _, at = _string(raw, at)
    except BlobError:
        return True
    return False


def read(raw: bytes) -> Blob:
    """Return what the blob holds, or raise BlobError with the one reason why it is not accepted."""
    name = inner_type(raw)
    if "-cert-v0" in name:
        raise BlobError("certificate")
    if name == DSA:
        raise BlobError("dsa")
    if name not in TYPES:
        raise BlobError("unknown")
    at, fields = 4 + len(name), []
    for _ in range(_FIELDS[name]):
        field, at = _string(raw, at)
        fields.append(field)
    if at != len(raw):
        raise BlobError("trailing")
    if name == RSA:
        return Blob(name, _rsa(_number(fields[0]), _number(fields[1])))
    if name in {ED25519, SK_ED25519}:
        _ed25519(fields[0])
        bits = 256
    else:
        curve = ECDSA.get(name, "nistp256")
        if fields[0] != curve.encode():
            raise BlobError("mismatch")
        bits = _point(fields[1], curve)
    if name in {SK_ED25519, SK_ECDSA}:
        where = fields[-1]  # the application, usually "ssh:"
        if not 0 < len(where) <= 256 or not where.isascii() or not where.decode("ascii").isprintable():
            raise BlobError("broken")
    return Blob(name, bits)


def fermat_weak(n: int) -> bool:
    """Return whether the primes are so close that Fermat's method splits n within 100 rounds (CVE-2022-26320)."""
    a = isqrt(n - 1) + 1
    for _ in range(_FERMAT_ROUNDS):
        rest = a * a - n
        if isqrt(rest) ** 2 == rest:
            return True
        a += 1
    return False


def roca_weak(n: int) -> bool:
    """Return whether n has the fingerprint of Infineon's broken generator (ROCA, CVE-2017-15361).

    Its primes are k·M + (65537^a mod M), so n is a power of 65537 modulo each prime of M (Nemec et al., CCS 2017,
    section 2.3). A sound key shows that by chance once in 2^27.
    """
    return all(n % p in _powers(p) for p in _ROCA)


def _powers(p: int) -> frozenset[int]:
    seen, x = set(), 1
    while x not in seen:
        seen.add(x)
        x = x * 65537 % p
    return frozenset(seen)


def _rsa(e: int, n: int) -> int:
    bits = n.bit_length()
    if bits < LEAST_RSA:
        raise BlobError("rsa_short")
    if bits > MOST_RSA:
        raise BlobError("rsa_long")
    if e < LEAST_E or e % 2 == 0:
        raise BlobError("rsa_exponent")
    if e.bit_length() > 256:
        raise BlobError("broken")
    if any(n % p == 0 for p in _PRIMES):
        raise BlobError("rsa_factor")
    if isqrt(n) ** 2 == n or fermat_weak(n):
        raise BlobError("fermat")
    if roca_weak(n):
        raise BlobError("roca")
    return bits


def _point(field: bytes, curve: str) -> int:
    """Return the bits of the curve when the field is an uncompressed point on it."""
    bits, p, b = _CURVES[curve]
    size = (bits + 7) // 8
    if len(field) != 1 + 2 * size or field[0] != 4:
        raise BlobError("broken")
    x, y = int.from_bytes(field[1 : 1 + size]), int.from_bytes(field[1 + size :])
    if x >= p or y >= p or (y * y - (x * x * x - 3 * x + b)) % p:
        raise BlobError("broken")
    return bits


def _ed25519(field: bytes) -> None:
    """Refuse what is no point of the curve, and points of small order: with those anybody can sign (RFC 8032)."""
    if len(field) != 32:
        raise BlobError("broken")
    word = int.from_bytes(field, "little")
    sign, y = word >> 255, word & (2**255 - 1)
    if y >= _P:
        raise BlobError("broken")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if (x * x - square) % _P or (x == 0 and sign):
        raise BlobError("broken")
    for _ in range(3):  # the curve has 8 times a prime number of points
        product = _D * x * x * y * y % _P
        x, y = 2 * x * y * pow(1 + product, -1, _P) % _P, (y * y + x * x) * pow(1 - product, -1, _P) % _P
    if (x, y) == (0, 1):
        raise BlobError("broken")


def _string(raw: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(raw[at : at + 4])
    if len(raw) < at + 4 or len(raw) < at + 4 + size:
        raise BlobError("short")
    return raw[at + 4 : at + 4 + size], at + 4 + size


def _number(field: bytes) -> int:
    """Return a positive mpint in its shortest form: two spellings of one key would be two fingerprints."""
    if not field or field[0] & 0x80 or (field[0] == 0 and (len(field) == 1 or not field[1] & 0x80)):
        raise BlobError("broken")
    return int.from_bytes(field)
