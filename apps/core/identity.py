"""The age identity of this installation: backups are encrypted to its recipient; only proofs and restores read it.

The file has the format of age-keygen(1), so that with Mainstay gone `age -d -i age.txt` opens every backup.
"""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from pyrage import x25519


class IdentityError(Exception):
    """The age identity is missing or unreadable; the message says where it should be."""


def identity_path() -> Path:
    """Return where the identity lies: beside the key ring, outside the database and outside every backup."""
    return Path(settings.MAINSTAY_KEYS) / "age.txt"


def make_identity(path: Path) -> str:
    """Write a fresh identity with mode 0600, never over an existing file, and return its recipient."""
    identity = x25519.Identity.generate()
    recipient = str(identity.to_public())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            created = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(f"# created: {created}\n# public key: {recipient}\n{identity}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike rename, refuses to replace
    finally:
        partial.unlink()
    return recipient


def load_identity(path: Path | None = None) -> x25519.Identity:
    """Return the identity. Raises IdentityError when it is missing or damaged; never makes one."""
    path = path or identity_path()
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return x25519.Identity.from_str(next(line for line in lines if line.startswith("AGE-SECRET-KEY-")))
    except FileNotFoundError as error:
        raise IdentityError(f"the age identity is missing: {path}; restore it from your recovery key") from error
    except Exception as error:  # pyrage has no public error type for a damaged key
        raise IdentityError(f"the age identity cannot be read: {path}") from error


def recipient() -> str:
    """Return the public half, to which every backup is encrypted."""
    return str(load_identity().to_public())
