"""The words spoken with a gate: a hostile server's greeting and answer taken apart, our request signed, key pairs made.

Whatever a server says is judged here before anything else sees it: size, depth, types, and text without a character
that a terminal, a page or a database would take for something else. Signatures are SSHSIG (OpenSSH, PROTOCOL.sshsig),
made by the Ed25519 key that is for this one server, in a namespace of their own, over the gate's random nonce.
"""

import base64
import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMESPACE = "mainstay-gate"
MOST_GREETING = 32 * 1024  # bytes of a greeting
MOST_REQUEST = 4 * 1024 * 1024  # bytes of a request, as the gate counts them
DEEPEST = 32  # levels of an answer
MOST_VALUES = 400_000  # values in an answer, at any level
LONGEST_SAID = 600  # characters of a sentence of the gate
LEVELS = ("observe", "operate", "manage")
KIND = b"ssh-ed25519"

_WORD = re.compile(r"[a-z][a-z_]{0,19}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")


class WireError(Exception):
    """What a server said cannot be understood: a code (malformed, gate_missing, gate_old) and one sentence."""

    def __init__(self, code: str, said: str) -> None:
        """Keep both."""
        super().__init__(said)
        self.code, self.said = code, said


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a gate says first; each field is checked, none is believed."""

    version: str
    nonce: str
    clock: float  # Unix seconds
    server: str
    level: str
    half: str  # mainstay | root
    state: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What a gate answered: data and the digest after, or a refusal with its code and sentence."""

    ok: bool
    answer: dict[str, Any]
    state: str
    code: str = ""
    said: str = ""


def greeting(line: bytes) -> Greeting:
    """Take a gate's first line apart. Raises WireError when it is no gate, or one that cannot be spoken to."""
    try:
        found = document(line, most=MOST_GREETING)
    except WireError:
        found = {}
    if "gate" not in found:
        raise WireError("gate_missing", "What answers there is not Mainstay's gate.")
    if found["gate"] != 1 or isinstance(found["gate"], bool):
        raise WireError("gate_old", "The gate there speaks another version of the protocol.")
    clock = found.get("clock")
    verbs = found.get("verbs")
    if (
        not _matches(_VERSION, found.get("version"))
        or not _matches(_HEX64, found.get("nonce"))
        or not _matches(_HEX64, found.get("state"))
        or not isinstance(clock, int | float)
        or isinstance(clock, bool)
        or not 0 <= clock < 1e11
        or not _text(found.get("server"), 36)
        or found.get("level") not in LEVELS
        or found.get("as") not in {"mainstay", "root"}
        or not isinstance(verbs, list)
        or len(verbs) > 100
        or not all(_matches(_WORD, verb) for verb in verbs)
    ):
        raise WireError("malformed", "The gate's greeting is not what it should be.")
    return Greeting(
        version=found["version"],
        nonce=found["nonce"],
        clock=float(clock),
        server=found["server"],
        level=found["level"],
        half=found["as"],
        state=found["state"],
        verbs=tuple(verbs),
    )


def answer(data: bytes, *, most: int) -> Said:
    """Take a gate's answer apart: exactly one JSON document. Raises WireError for anything else."""
    found = document(data, most=most)
    ok = found.get("ok")
    if ok is True and isinstance(found.get("answer"), dict) and _matches(_HEX64, found.get("state")):
        return Said(ok=True, answer=found["answer"], state=found["state"])
    if ok is False and _matches(_WORD, found.get("code")) and isinstance(found.get("said"), str):
        return Said(ok=False, answer={}, state="", code=found["code"], said=found["said"][:LONGEST_SAID])
    raise WireError("malformed", "The gate's answer is not what it should be.")


def document(data: bytes, *, most: int) -> dict[str, Any]:
    """Parse one bounded JSON object whose strings are then printable. Raises WireError("malformed")."""
    if len(data) > most:
        raise WireError("malformed", f"The server sent more than {most} bytes.")
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_object)
        _Cleaner().clean(found, DEEPEST)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WireError("malformed", "The server's answer is not one JSON document of a sane size.")
    return found


def printable(text: str) -> str:
    r"""Return text in which unprintable characters (controls, bidi marks, surrogates) are written as \x, \u or \U."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def request(
    *, signer: "Signer", greeted: Greeting, server: str, verb: str, args: Mapping[str, Any], state: str | None = None
) -> bytes:
    """Return the signed line that answers a greeting. Raises ValueError when it is longer than a gate reads."""
    asked: dict[str, Any] = {"nonce": greeted.nonce, "server": server, "verb": verb, "args": dict(args)}
    if state is not None:
        asked["state"] = state
    text = json.dumps(asked, separators=(",", ":"))
    line = json.dumps({"request": text, "signature": signer.sign(text.encode())}, separators=(",", ":")) + "\n"
    if len(line) > MOST_REQUEST:
        raise ValueError(f"a request of {len(line)} bytes is more than a gate reads")
    return line.encode("ascii")


class Signer:
    """Signs with one server's private key."""

    def __init__(self, private: str) -> None:
        """Load an OpenSSH Ed25519 private key without a passphrase. Raises ValueError for anything else."""
        key = serialization.load_ssh_private_key(private.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the private key of a server is Ed25519")  # noqa: TRY004 the text is wrong, not its type
        self._key = key
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._public = _string(KIND) + _string(raw)

    def sign(self, message: bytes, namespace: str = NAMESPACE) -> str:
        """Return an armored SSHSIG over a message, as `ssh-keygen -Y verify` takes it."""
        digest = hashlib.sha512(message).digest()
        frame = _string(namespace.encode()) + _string(b"") + _string(b"sha512")
        signature = self._key.sign(b"SSHSIG" + frame + _string(digest))
        blob = (
            b"SSHSIG"
            + struct.pack(">I", 1)
            + _string(self._public)
            + frame
            + _string(_string(KIND) + _string(signature))
        )
        body = base64.b64encode(blob).decode("ascii")
        lines = "\n".join(body[at : at + 70] for at in range(0, len(body), 70))
        return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def new_pair() -> tuple[str, str]:
    """Make a server's key pair; return the private key (OpenSSH, no passphrase) and the public line without comment."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode("ascii"), public.decode("ascii")


def fingerprint(blob: bytes) -> str:
    """Return the SHA-256 fingerprint of a public key's bytes, as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


class _Cleaner:
    """Walks a parsed document once: counts its values, bounds its depth and numbers, makes its strings printable."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def clean(self, found: Any, depth: int) -> Any:
        self.left -= 1
        if not depth or self.left < 0:
            raise ValueError
        if isinstance(found, str):
            return printable(found)
        if isinstance(found, list):
            for at, value in enumerate(found):
                found[at] = self.clean(value, depth - 1)
        elif isinstance(found, dict):
            for name, value in found.items():  # the keys stay: only their values are replaced
                found[name] = self.clean(value, depth - 1)
        elif isinstance(found, int | float) and not abs(found) < (2**63 if isinstance(found, int) else 1e300):
            raise ValueError  # 1e999 is parsed as infinity
        return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says a thing twice: which of the two counts would be the parser's whim."""
    found = {printable(name): value for name, value in pairs}
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_number(_word: str) -> Any:
    raise ValueError


def _escaped(sign: str) -> str:
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _string(data: bytes) -> bytes:
    """Return an SSH string (RFC 4251)."""
    return struct.pack(">I", len(data)) + data
