"""Reads the address of a PostgreSQL database: a URL as people paste it, and the settings that an engine is given."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from apps.backups.engines.base import Target
from apps.backups.facts import EngineTrouble

if TYPE_CHECKING:
    from apps.servers.models import Server

MODES = ("disable", "require", "verify-full")
# What frameworks and poolers add to an address and what says nothing about where the database is.
_IGNORED = frozenset(
    [
        "application_name",
        "connect_timeout",
        "connection_limit",
        "pgbouncer",
        "pool_timeout",
        "schema",
        "channel_binding",
        "target_session_attrs",
        "keepalives",
        "keepalives_idle",
        "gssencmode",
    ]
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and how to speak to it. `host` may be the folder of a unix socket."""

    host: str
    port: int
    database: str
    user: str
    password: str
    sslmode: str  # one of MODES
    ca: str  # PEM; empty: the certificates that this machine trusts
    through: "Server | None" = None  # the server whose gate leads to it; an empty host is then its usual socket

    def __repr__(self) -> str:
        """Show no password."""
        return f"<Address {self.user}@{self.host}:{self.port}/{self.database}>"

    @property
    def is_socket(self) -> bool:
        """Tell whether the host is a folder with a socket in it."""
        return self.host.startswith(("/", "@"))

    @property
    def said(self) -> str:
        """Name host and port for people."""
        if self.through is not None:
            return f"PostgreSQL on {self.through}"
        return self.host if self.is_socket else f"{self.host}:{self.port}"


def wrong(sentence: str) -> EngineTrouble:
    """Return the trouble of an address that cannot be used as it stands."""
    return EngineTrouble(sentence, code="address")


def is_local(host: str) -> bool:
    """Tell whether what is sent to this host never leaves the machine."""
    if host.startswith(("/", "@")) or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address(target: Target) -> Address:
    """Return the checked settings of a target. Raises EngineTrouble(code="address") with the one thing wrong."""
    config, secret = target.config, target.secret
    host = str(config.get("host") or "").strip() or ("" if target.through else "localhost")
    for name, title in (("database", "the name of the database"), ("user", "the name of the user")):
        if not str(config.get(name) or ""):
            raise wrong(f"{title[0].upper()}{title[1:]} is missing. Nothing was changed; fill it in and try again.")
    mode = str(config.get("sslmode") or "") or ("disable" if is_local(host) else "verify-full")
    if mode not in MODES:
        raise wrong(f"The TLS setting {mode!r} is not known. Use one of {', '.join(MODES)}.")
    if host.startswith(("/", "@")) or target.through:
        mode = "disable"  # PostgreSQL speaks no TLS over a unix socket, and nothing leaves the machine
    ca = str(config.get("ca") or "").strip()
    if ca and "-----BEGIN CERTIFICATE-----" not in ca:
        raise wrong(
            "The CA certificate is not in PEM form. Paste the text that begins with -----BEGIN CERTIFICATE-----."
        )
    for name in ("database", "user"):
        if "\0" in str(config[name]):
            raise wrong("A name with a zero byte in it cannot be used.")
    return Address(
        host,
        _port(config.get("port")),
        str(config["database"]),
        str(config["user"]),
        secret.get("password", ""),
        mode,
        ca,
        target.through,
    )


def _port(value: Any) -> int:
    try:
        port = int(value) if value not in {None, ""} else 5432
    except (TypeError, ValueError):
        raise wrong(f"The port {value!r} is not a number. PostgreSQL's own is 5432.") from None
    if not 0 < port < 65536:
        raise wrong(f"The port {port} is not between 1 and 65535. PostgreSQL's own is 5432.")
    return port


def parse_url(text: str) -> Target:
    """Read `postgres://user:password@host:port/name?sslmode=…` into a target. Raises EngineTrouble(code="address").

    Weak TLS modes (allow, prefer, verify-ca) become the safe default of the host. No error holds the password.
    """
    text = text.strip()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        raise wrong(
            "The address must begin with postgres:// or postgresql://, for example postgres://user:password@host:5432/name."
        )
    try:
        parts = urlsplit(text)
        hostname, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong(
            "The address cannot be read: host or port is malformed. A password with / ? # or @ "
            "in it must be percent-encoded "
            "(for example %40 for @), or use the separate fields."
        ) from None
    if "," in parts.netloc.rpartition("@")[2]:
        raise wrong("The address names several hosts. Give the one that should be dumped.")
    query = _query(parts.query)
    host = query.pop("host", "") or unquote(hostname)
    config: dict[str, Any] = {
        "host": host or "localhost",
        "port": _port(query.pop("port", "") or port),
        "database": unquote(parts.path.lstrip("/")) or query.pop("dbname", ""),
        "user": unquote(parts.username or "") or query.pop("user", ""),
    }
    password = unquote(parts.password or "") or query.pop("password", "")
    for name, what in (("database", "database"), ("user", "user")):
        if not config[name]:
            raise wrong(f"The address names no {what}. It looks like postgres://user:password@host:5432/name.")
    if (mode := query.pop("sslmode", "")) and mode not in {"allow", "prefer", "verify-ca"}:
        if mode not in MODES:
            raise wrong(f"The TLS setting sslmode={mode} is not known. Use one of {', '.join(MODES)}.")
        config["sslmode"] = mode
    if "sslrootcert" in query and query.pop("sslrootcert") != "system":
        raise wrong(
            "The address names a file of certificates (sslrootcert). Remove it, and paste the "
            "certificate into the CA field."
        )
    if unknown := sorted(set(query) - _IGNORED):
        raise wrong(f"The address has a setting that Mainstay does not know: {unknown[0]}. Remove it and try again.")
    return Target("postgresql", config, {"password": password} if password else {})


def _query(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def public(config: Mapping[str, Any]) -> str:
    """Return host, port and database as one text for people."""
    return f"{config.get('host') or 'localhost'}:{config.get('port') or 5432}/{config.get('database', '')}"
