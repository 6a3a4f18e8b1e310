"""The key ring: master keys in a file of mode 0600, outside the database and outside every backup, and what they seal.

Every ciphertext is `version | key id | wrapped data key | nonce | body`: a fresh data key (AES-256-GCM) encrypts the
body, the master key of that id wraps the data key, and both are bound to the same context (table, column and row id):
a ciphertext moved to another row, column or table does not open. A *mark* in the database remembers which keys
were ever used; a start with a mark whose key is missing or wrong is refused and nothing is overwritten.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

VERSION = 1
ID_BYTES = 8
_WRAPPED = 12 + 32 + 16  # nonce, data key, tag


class KeyRingError(Exception):
    """The ring is missing, unreadable or not the one that sealed this data; the message names the key id."""


@dataclass(frozen=True, slots=True)
class Key:
    """One master key: 32 random bytes, base64, with a public id of 16 hex digits."""

    id: str
    created: str
    state: str  # "current" or "decrypt-only"
    key: str = field(repr=False)  # in no log line and no error page

    @property
    def raw(self) -> bytes:
        """Return the 32 bytes."""
        return base64.b64decode(self.key)

    @property
    def check(self) -> str:
        """Return a value that tells a wrong key from damaged data and gives nothing away (HMAC-SHA256)."""
        return hmac.new(self.raw, b"mainstay key check v1", hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of this installation, the newest current one first."""

    keys: tuple[Key, ...]

    @property
    def current(self) -> Key:
        """Return the key that seals."""
        for key in self.keys:
            if key.state == "current":
                return key
        raise KeyRingError("the key ring holds no current key")

    def get(self, key_id: str) -> Key:
        """Return a key by id, or raise naming the id."""
        for key in self.keys:
            if key.id == key_id:
                return key
        raise KeyRingError(f"master key {key_id} is not in the key ring; restore the ring from your recovery key")

    def rotated(self) -> "KeyRing":
        """Return a ring with a new current key; the others can only decrypt from now on."""
        old = tuple(Key(key.id, key.created, "decrypt-only", key.key) for key in self.keys)
        return KeyRing((new_key(), *old))


def new_key() -> Key:
    """Return a fresh current key."""
    return Key(
        id=secrets.token_hex(ID_BYTES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        state="current",
        key=base64.b64encode(secrets.token_bytes(32)).decode("ascii"),
    )


def ring_path() -> Path:
    """Return where the ring lies."""
    return Path(settings.MAINSTAY_KEYS) / "ring.json"


def save_ring(ring: KeyRing, path: Path) -> None:
    """Write the ring atomically with mode 0600; the folder is 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump({"keys": [asdict(key) for key in ring.keys]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def load_ring(path: Path) -> KeyRing:
    """Read the ring. Raises KeyRingError when it is missing or damaged; never makes one."""
    try:
        data = json.loads(path.read_text(encoding="ascii"))
        ring = KeyRing(tuple(Key(**entry) for entry in data["keys"]))
        sizes = {len(key.raw) for key in ring.keys}
    except FileNotFoundError as error:
        raise KeyRingError(f"the key ring is missing: {path}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyRingError(f"the key ring cannot be read: {path}") from error
    if sizes != {32}:
        raise KeyRingError(f"the key ring cannot be read: {path}")
    return ring


class _Cache:
    """The loaded ring, read again when the file changes (another process may have rotated it)."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: tuple[str, int, int] | None = None
        self.ring: KeyRing | None = None

    def get(self) -> KeyRing:
        path = ring_path()
        try:
            stat = path.stat()
        except FileNotFoundError as error:
            raise KeyRingError(f"the key ring is missing: {path}") from error
        seen = (str(path), stat.st_mtime_ns, stat.st_ino)
        with self.lock:
            if self.ring is None or self.seen != seen:
                self.ring, self.seen = load_ring(path), seen
            return self.ring


_cache = _Cache()


def the_ring() -> KeyRing:
    """Return the ring of this installation."""
    return _cache.get()


def seal(plain: bytes, *, context: str) -> bytes:
    """Encrypt with a fresh data key under the current master key, bound to `context` ("table.column:row id")."""
    key = the_ring().current
    bound = _bound(context, key.id)
    data_key, wrap_nonce, nonce = secrets.token_bytes(32), secrets.token_bytes(12), secrets.token_bytes(12)
    wrapped = wrap_nonce + AESGCM(key.raw).encrypt(wrap_nonce, data_key, bound)
    return bytes([VERSION]) + bytes.fromhex(key.id) + wrapped + nonce + AESGCM(data_key).encrypt(nonce, plain, bound)


def unseal(blob: bytes, *, context: str) -> bytes:
    """Decrypt what `seal` made for the same context. Raises KeyRingError for a key that is not here or damaged data."""
    key_id = sealed_with(blob)
    key = the_ring().get(key_id)
    bound = _bound(context, key_id)
    at = 1 + ID_BYTES
    wrapped, nonce, body = (
        blob[at : at + _WRAPPED],
        blob[at + _WRAPPED : at + _WRAPPED + 12],
        blob[at + _WRAPPED + 12 :],
    )
    try:
        data_key = AESGCM(key.raw).decrypt(wrapped[:12], wrapped[12:], bound)
        return AESGCM(data_key).decrypt(nonce, body, bound)
    except InvalidTag as error:
        raise KeyRingError(f"a value sealed with master key {key_id} is damaged or was moved from its row") from error


def sealed_with(blob: bytes) -> str:
    """Return the id of the master key that sealed a value."""
    if len(blob) < 1 + ID_BYTES + _WRAPPED + 12 + 16 or blob[0] != VERSION:
        raise KeyRingError("this is not a sealed value")
    return blob[1 : 1 + ID_BYTES].hex()


def _bound(context: str, key_id: str) -> bytes:
    return f"mainstay|v{VERSION}|{context}|{key_id}".encode()
