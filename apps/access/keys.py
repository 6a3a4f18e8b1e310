"""What a person pasted as an SSH public key: each key understood, or refused with one sentence and what to run instead.

Nothing that was pasted is ever repeated in a refusal: it may be a piece of a private key. Of an accepted key only type,
blob and a short printable comment are kept, and the server's line is rebuilt from the first two.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from apps.access import blob

MOST = 64 * 1024  # characters or bytes of one paste
MOST_KEYS = 50
MOST_PARTS = 400  # pieces that one wrapped key may be in
COMMENT = 64

NEW = "ssh-keygen -t ed25519"
SHOW = "cat ~/.ssh/id_ed25519.pub"

# code → what is wrong and what to do, in one sentence each; what to run instead
SAID: dict[str, tuple[str, str]] = {
    "private": (
        (
            "This is a private key: it was not kept, not logged and is not shown again, but treat it as leaked. "
            "Make a new one, then paste the file that ends in .pub."
        ), NEW,
    ),
    "long": ("This is longer than any set of public keys. Paste the content of the file that ends in .pub.", SHOW),
    "many": (f"Only {MOST_KEYS} keys are read at once. Paste the rest afterwards.", ""),
    "empty": ("There is no key in it. Paste the content of the file that ends in .pub.", SHOW),
    "dsa": ("DSA keys can be broken, and OpenSSH no longer takes them. Make a new key.", NEW),
    "rsa_short": (f"This RSA key is too short: at least {blob.LEAST_RSA} bits are needed. Make a new key.", NEW),
    "rsa_long": (f"This RSA key is longer than the {blob.MOST_RSA} bits that OpenSSH reads. Make a new key.", NEW),
    "rsa_exponent": (
        f"This RSA key has an unsafe exponent: it must be odd and at least {blob.LEAST_E}. Make a new key.", NEW,
    ),
    "rsa_factor": ("This RSA key was made by broken software: a small number divides it. Make a new key.", NEW),
    "fermat": (
        (
            "Anybody can compute the private half of this RSA key: its two primes are too close together "
            "(CVE-2022-26320). Make a new key."
        ), NEW,
    ),
    "roca": (
        "This RSA key was made by a chip with a broken generator (ROCA, CVE-2017-15361). Make a new key outside of it.",
        NEW,
    ),
    "certificate": ("This is a certificate, not a key. Paste the file that ends in .pub and not in -cert.pub.", SHOW),
    "options": (
        (
            "There is text before the key type. Options such as command= or from= are set by Mainstay: paste from the "
            "key type on."
        ), SHOW,
    ),
    "mismatch": ("The key says inside that it is of another type than it is called. Copy it again, whole.", SHOW),
    "trailing": ("There are more bytes after the end of the key. Copy it again, one key a line.", SHOW),
    "short": ("The key is cut off: its end is missing. Copy the whole line.", SHOW),
    "broken": ("The key is damaged: what is inside cannot be a key. Copy it again, whole.", SHOW),
    "unknown": (
        "This type of key is not known here. Ed25519, ECDSA, RSA and security keys (sk-) are. Make a new key.", NEW,
    ),
    "ssh1": ("Keys of SSH version 1 work nowhere any more. Make a new key.", NEW),
    "pkcs8": ("This is a public key in PEM form. Convert it, then paste what the command prints.",
              "ssh-keygen -i -m PKCS8 -f key.pem"),
    "pem": ("This is an RSA public key in PEM form. Convert it, then paste what the command prints.",
            "ssh-keygen -i -m PEM -f key.pem"),
    "x509": ("This is a certificate for TLS, not an SSH key. Paste the file that ends in .pub.", SHOW),
    "fingerprint": ("This is a fingerprint, not the key. Paste the content of the file that ends in .pub.", SHOW),
    "block": ("The block has no end line, or what is inside is no key. Export it again.",
              "ssh-keygen -e -f ~/.ssh/id_ed25519.pub"),
    "line": (
        (
            "This line is not a public key. If it is a piece of a private key, treat that as leaked; else paste the "
            "file that ends in .pub."
        ), SHOW,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """One key as it was understood. `repaired`: it was not pasted as one clean line, so let the person compare."""

    type: str
    bits: int
    blob: str  # base64, as we write it
    fingerprint: str
    comment: str
    repaired: bool = False

    @property
    def hardware(self) -> bool:
        """Return whether the private half lives in a security key."""
        return self.type.startswith("sk-")


@dataclass(frozen=True, slots=True)
class Refused:
    """One piece that is not taken: `at` is its line (from 1), `said` why, `run` the command that helps."""

    at: int
    code: str
    said: str
    run: str


Verdict = Accepted | Refused


def _refused(at: int, code: str) -> Refused:
    return Refused(at, code, *SAID[code])


# --- private keys: looked for first, in everything ----------------------------------------------------

_PRIVATE = re.compile(
    r"(BEGIN|END)[A-Z0-9 _-]{0,40}PRIVATE[ _-]{0,5}KEY"  # PEM, OpenSSH, PKCS8, SSH2
    r"|PuTTY-User-Key-File|Private-(Lines|MAC|Hash)\s*:"  # .ppk holds both halves
    r"|SSH PRIVATE KEY FILE FORMAT"
    r"|AGE-SECRET-KEY-|\"d\"\s*:\s*\""  # age identity, JWK
    r"|PrivateKey\s*[:=]",
    re.IGNORECASE,
)
# The first bytes of the bodies, for a paste without its BEGIN line: OpenSSH's magic "openssh-key-v1"; then DER, a
# SEQUENCE that opens with INTEGER 0 (PKCS1, PKCS8) or INTEGER 1 (SEC1).
_OPENSSH = "b3BlbnNzaC1rZXktdj"
_BEGIN_AGAIN = "LS0tLS1CRUdJTi"  # "-----BEGIN"
_DER = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01][\x02\x04\x30]", re.DOTALL)


def leaked(text: str | bytes) -> bool:
    """Return whether a paste holds a private key, or what looks like one: then nothing of it may be kept or shown."""
    return _leaked(_clean(text))


def _leaked(clean: str) -> bool:
    if _PRIVATE.search(clean) or _PRIVATE.search(re.sub(r"[ \t]+", " ", clean)):
        return True
    packed = re.sub(r"\s+", "", clean)
    if _OPENSSH in packed or any(_DER.match(_loose(word[:64])) for word in clean.split() if word[:1] == "M"):
        return True
    _, begun, rest = packed.partition(_BEGIN_AGAIN)  # a whole file in base64 once more, as for a variable of CI
    return bool(begun and _PRIVATE.search(_loose(begun + rest[:200]).decode("latin-1")))


# --- reading ----------------------------------------------------------------------------------------


def read(text: str | bytes) -> tuple[Verdict, ...]:
    """Return a verdict on each key of a paste (characters, or the bytes of a dropped file), in its order."""
    if len(text) > MOST:
        return (_refused(1, "private" if _leaked(_clean(text[:MOST])) else "long"),)
    clean = _clean(text)
    if _leaked(clean):
        return (_refused(1, "private"),)
    verdicts: list[Verdict] = []
    for verdict in _pieces(clean):
        if isinstance(verdict, Accepted) and any(
            isinstance(other, Accepted) and other.blob == verdict.blob for other in verdicts
        ):
            continue  # one key pasted twice is one key
        if len(verdicts) == MOST_KEYS:
            verdicts.append(_refused(1, "many"))
            break
        verdicts.append(verdict)
    return tuple(verdicts) or (_refused(1, "empty"),)


_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_BREAKS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def _clean(text: str | bytes) -> str:
    """Return the paste with plain line ends and spaces, without marks that nobody sees."""
    if isinstance(text, bytes):
        coding = "utf-16" if text[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
        text = text.decode(coding, "replace")
    text = _ANSI.sub("", text)
    text = _BREAKS.sub("\n", text)
    text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cf", "Cc", "Cs"})


_QUOTES = re.compile(r"^[\s>\"'`]+|[\s\"'`]+$")  # of mail, chat and source code around a whole line
_TYPE = re.compile(r"(?:ssh|ecdsa|sk|rsa|webauthn)-[a-z0-9-]{2,60}(?:@[a-z.]{1,40})?", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,3}")
_PREFIXED = re.compile(r"(?:^|[\s,\"'=])(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\w+|sk-[\w.@-]+)\s+AAAA")
_SSH1 = re.compile(r"\d{3,5} \d{1,10} \d{100,}")
_FINGERPRINT = re.compile(r"(?:\d+ )?(?:SHA256:[A-Za-z0-9+/]{43}|(?:MD5:)?(?:[0-9a-f]{2}:){15}[0-9a-f]{2})")
_BEGIN = re.compile(r"-{4,5} ?BEGIN ([A-Z0-9 ]+?) ?-{4,5}")
_PEM = {"PUBLIC KEY": "pkcs8", "RSA PUBLIC KEY": "pem"}


def _pieces(clean: str) -> Iterator[Verdict]:
    lines = clean.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if begun := _BEGIN.match(line):
            verdict, at = _block(lines, at, begun[1])
            yield verdict
        elif not line or line.startswith("#"):
            at += 1
        else:
            verdict, at = _key(lines, at)
            yield verdict


def _block(lines: list[str], at: int, label: str) -> tuple[Verdict, int]:
    """Return the verdict on a block with BEGIN and END lines, and the line after it."""
    end = next((i for i in range(at + 1, len(lines)) if re.match(r"\s*-{4,5} ?END ", lines[i])), None)
    if end is None:
        return _refused(at + 1, "block"), len(lines)
    if label != "SSH2 PUBLIC KEY":
        code = _PEM.get(label, "x509" if "CERTIFICATE" in label else "unknown")
        return _refused(at + 1, code), end + 1
    body, comment, inside = [], "", [line.strip() for line in lines[at + 1 : end]]
    while inside:
        line = inside.pop(0)
        name, colon, value = line.partition(":")
        if not colon:
            body.append(line)
            continue
        while value.endswith("\\") and inside:  # RFC 4716, 3.3: a header goes on after a backslash
            value = value[:-1] + inside.pop(0)
        if name.strip().lower() == "comment":
            comment = value.strip().strip('"')
    raw = _strict("".join(body).replace(" ", ""))
    if raw is None:
        return _refused(at + 1, "block"), end + 1
    return _judged(at + 1, "", raw, comment, repaired=True), end + 1


def _key(lines: list[str], at: int) -> tuple[Verdict, int]:
    """Return the verdict on the key that begins on a line, and the line after its last."""
    line = _QUOTES.sub("", lines[at])
    if not line:
        return _refused(at + 1, "line"), at + 1
    first, *rest = line.split()
    bare = first.startswith("AAAA") and _BASE64.fullmatch(first) is not None
    if not bare and not _TYPE.fullmatch(first):
        return _refused(at + 1, _why_not(line)), at + 1
    label, words = ("", [first, *rest]) if bare else (first, rest)
    parts: list[str] = []
    used, last = at, at
    while True:  # words belong to the blob until its own lengths say that it is whole
        while (
            words and _BASE64.fullmatch(words[0]) and _open(parts) and not (parts and used == at and _short(words[0]))
        ):
            parts.append(words.pop(0))
            last = used
        if words or not _open(parts) or used + 1 == len(lines):
            break
        coming = lines[used + 1].split()
        goes_on = 0 < len(coming) < 3 and _BASE64.fullmatch(coming[0])
        if not goes_on or (parts and blob.inner_type(_loose(coming[0]))):
            break
        used, words = used + 1, coming
    if "-cert-v0" in label or not parts:
        return _refused(at + 1, "certificate" if "-cert-v0" in label else "short"), last + 1
    comment = " ".join(words) if used == last else ""
    repaired = bare or len(parts) > 1 or last > at or line != lines[at]
    raw = _strict("".join(parts))
    if raw is None:
        return _refused(at + 1, "short" if _open(parts) else "broken"), last + 1
    return _judged(at + 1, label, raw, comment, repaired=repaired), last + 1


def _open(parts: list[str]) -> bool:
    """Return whether the blob so far still lacks bytes."""
    if not parts:
        return True
    return len(parts) < MOST_PARTS and not parts[-1].endswith("=") and blob.cut_off(_loose("".join(parts)))


def _short(word: str) -> bool:
    """Return whether a word behind the blob on its line must be a comment: no terminal wraps that short."""
    return len(word) < 16 and not word.endswith("=")


def _why_not(line: str) -> str:
    if _PREFIXED.search(line):
        return "options"
    if _SSH1.match(line):
        return "ssh1"
    return "fingerprint" if _FINGERPRINT.match(line) else "line"


def _judged(at: int, label: str, raw: bytes, comment: str, *, repaired: bool) -> Verdict:
    try:
        found = blob.read(raw)
    except blob.BlobError as error:
        return _refused(at, error.code)
    if label and label != found.type:
        return _refused(at, "mismatch")
    text = base64.b64encode(raw).decode()
    return Accepted(found.type, found.bits, text, blob.fingerprint(raw), shown(comment), repaired)


def shown(comment: str) -> str:
    """Return at most 64 printable characters of a comment, for display only."""
    plain = "".join(c for c in _ANSI.sub("", comment) if c.isprintable())
    return " ".join(plain.split())[:COMMENT].rstrip()


def _loose(text: str) -> bytes:
    """Return the bytes of the whole groups of four so far."""
    plain = text.rstrip("=")
    try:
        return base64.b64decode(plain[: len(plain) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _strict(text: str) -> bytes | None:
    """Return the bytes of base64, with or without its padding; None when it is none."""
    plain = text.rstrip("=")
    if len(plain) % 4 == 1 or len(text) - len(plain) > 3:
        return None
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
