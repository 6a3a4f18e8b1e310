"""How settings are read: unclear values refuse to start, NAME_FILE is accepted for secrets."""

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def flag(name: str, *, default: bool) -> bool:
    """Return a yes/no setting. Anything but true, false, yes, no, 1, 0, on or off refuses to start."""
    text = os.environ.get(name, "").strip().lower()
    if not text:
        return default
    if text in {"true", "yes", "1", "on"}:
        return True
    if text in {"false", "no", "0", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}")


def secret(name: str, *, default: str) -> str:
    """Return a secret from NAME, or from the file that NAME_FILE names. Both at once is unclear and refused."""
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        raise ImproperlyConfigured(f"set {name} or {name}_FILE, not both")
    if not file:
        return value or default
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {file} ({error.strerror})") from error


def secret_file(path: Path) -> str:
    """Return the random text kept in `path` (mode 0600), making it on first use; several processes may ask at once."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"the data folder cannot be written: {path.parent} ({error.strerror})") from error
    text = secrets.token_urlsafe(50)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
    return text


def broker_socket(data: Path) -> Path:
    """Return where the embedded broker listens: in the data folder, or in a short folder when the path would not fit.

    A Unix socket's path has 107 bytes at most (unix(7)). The short folder is named after the data folder, so that every
    process finds the same one whatever its environment; `./mainstay up` makes it with mode 0700 and checks its owner.
    """
    socket = data / "run" / "broker.sock"
    if len(os.fsencode(socket)) <= 107:
        return socket
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path("/tmp") / f"mainstay-{os.getuid()}-{name}" / "broker.sock"  # noqa: S108 owner and mode are checked


def networks(entries: Iterable[str | Network]) -> tuple[Network, ...]:
    """Return the addresses and networks of MAINSTAY_TRUSTED_PROXIES. Raises ImproperlyConfigured for anything else."""
    found = []
    for entry in entries:
        try:
            found.append(ipaddress.ip_network(str(entry).strip(), strict=False))
        except ValueError as error:
            raise ImproperlyConfigured(
                f"MAINSTAY_TRUSTED_PROXIES must list addresses or networks such as 10.0.0.0/8, not {entry!r}"
            ) from error
    return tuple(found)


MAIL = {"smtp": ("none", 25), "smtp+tls": ("starttls", 587), "smtp+ssl": ("tls", 465), "smtps": ("tls", 465)}
MAIL_FORM = "smtp+tls://user:password@mail.example.com:587?from=mainstay@example.com&to=ops@example.com"


def mail_server(url: str, *, to: str) -> tuple[dict[str, Any], str] | None:
    """Return (settings, password) of the mail channel that EMAIL_URL describes; None when it is empty.

    `to` is written to when the URL names nobody. Raises ImproperlyConfigured, never with the URL: it holds a password.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        security, usual = MAIL[parts.scheme]
        host, port = parts.hostname or "", parts.port or usual
        more = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except (ValueError, KeyError) as error:
        raise ImproperlyConfigured(f"EMAIL_URL must be written like {MAIL_FORM}") from error
    user, people = unquote(parts.username or ""), [one for each in more.pop("to", []) for one in each.split(",")]
    sender = (more.pop("from", None) or [user])[0]
    if more or not host or parts.path not in {"", "/"}:
        raise ImproperlyConfigured(f"EMAIL_URL must be written like {MAIL_FORM}")
    if "@" not in sender:
        raise ImproperlyConfigured("EMAIL_URL does not say who writes: add ?from=mainstay@example.com")
    people = people or ([to] if to else [])
    if not people or not all("@" in one for one in people):
        raise ImproperlyConfigured("EMAIL_URL does not say whom to write to: add to=ops@example.com or set ADMIN_EMAIL")
    config = {
        "host": host, "port": port, "security": security, "user": user, "sender": sender, "to": people,
        "inside": True, "authority": "",  # whoever sets the environment may name a server of their own network
    }  # fmt: skip
    return config, unquote(parts.password or "")
