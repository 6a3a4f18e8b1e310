"""Connects to a PostgreSQL server and says in a sentence why that did not work."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from apps.backups.engines.pg.address import Address
from apps.backups.facts import EngineTrouble
from apps.core.outbound import OutboundError, refuse_never

CONNECT_SECONDS = 15
OLDEST = 12  # the oldest server that today's pg_dump reads
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

# What the text of one value must not depend on, whoever runs the server; set in every session that reads values.
STABLE = {
    "search_path": "",
    "extra_float_digits": "3",
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "xmloption": "content",
    "xmlbinary": "base64",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "row_security": "off",  # fail rather than see less (disaster D32)
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
    "client_encoding": "UTF8",
}


def system_ca() -> str:
    """Return the file of certificates that this machine trusts, or ""."""
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, *_BUNDLES, paths.openssl_cafile):
        if path and Path(path).is_file():
            return path
    return ""


@contextmanager
def ca_file(where: Address) -> Iterator[str]:
    """Lend the path of the certificates to trust for the block; the pasted ones go into a file of their own."""
    if not where.ca:
        yield system_ca()
        return
    with TemporaryDirectory(prefix="mainstay-ca-") as folder:
        path = Path(folder, "ca.pem")
        path.write_text(where.ca + "\n", encoding="ascii", errors="replace")
        yield str(path)


def connect(where: Address, *, stable: bool = True) -> psycopg.Connection:
    """Connect, in autocommit and with settings that make every value's text the same on every server.

    Raises EngineTrouble with a sentence and a code: dns, refused, unreachable, password, no-database, no-role,
    tls-refused, tls-name, tls-ca, tls-required, busy, starting, connect.
    """
    if not where.is_socket:
        try:
            refuse_never(where.host, where.port, seconds=CONNECT_SECONDS)
        except OutboundError as error:
            raise EngineTrouble(f"{error} Nothing was sent.", code="address") from None
    with ca_file(where) as ca:
        settings: dict[str, Any] = {"sslmode": where.sslmode}
        if where.sslmode == "verify-full":
            if not ca:
                raise EngineTrouble(
                    "The server's certificate cannot be checked: this machine has no list of "
                    "trusted certificates. Install the "
                    "package ca-certificates, or paste the server's CA certificate.",
                    code="tls-ca",
                )
            settings["sslrootcert"] = ca
        else:
            settings["sslrootcert"] = "/nonexistent"  # "require" with a root file in the home would mean something else
        try:
            connection = psycopg.connect(
                host=where.host,
                port=where.port,
                dbname=where.database,
                user=where.user,
                password=where.password or None,
                connect_timeout=CONNECT_SECONDS,
                application_name="mainstay",
                autocommit=True,
                gssencmode="disable",
                keepalives=1,
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=6,
                passfile="/nonexistent",
                **settings,
            )
        except psycopg.Error as error:
            raise refusal(where, str(error)) from None
        except ValueError:
            raise EngineTrouble(
                "The address holds something that PostgreSQL cannot take (a zero byte).", code="address"
            ) from None
    if stable:
        try:
            steady(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def steady(connection: psycopg.Connection) -> None:
    """Make this session's texts independent of the server's configuration."""
    names = {row[0].lower() for row in connection.execute("SELECT name FROM pg_settings").fetchall()}
    chosen = {name: value for name, value in STABLE.items() if name in names}
    if "transaction_timeout" in names:
        chosen["transaction_timeout"] = "0"
    for name, value in chosen.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


_REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        r"could not translate host name|Name or service not known|No address associated|Temporary failure in name",
        "dns",
        "The name {host} is not known. Check its spelling, and that this machine may ask for it.",
    ),
    (
        r"Connection refused",
        "refused",
        "Nothing answers at {said}. Check host and port, and that PostgreSQL listens for this machine.",
    ),
    (
        r"No such file or directory.*\n?.*server running locally|Is the server running locally",
        "refused",
        "There is no PostgreSQL socket in {said}. Check the folder and the port.",
    ),
    (
        r"password authentication failed|no password supplied|SCRAM authentication|fe_sendauth",
        "password",
        "{said} refuses user {user} with this password. Check both and type them again; nothing was changed.",
    ),
    (
        r'database "[^"]*" does not exist|database .* does not exist',
        "no-database",
        "There is no database {database} on {said}. Check its name: it may have been renamed or dropped.",
    ),
    (r'role "[^"]*" does not exist', "no-role", "There is no user {user} on {said}. Check the name."),
    (
        r"does not match host name|hostname mismatch|for \"[^\"]*\" \(and \d+ other name",
        "tls-name",
        "The server's certificate was made for another name than {host}. Use the name in the certificate as host.",
    ),
    (
        r"certificate verify failed|unable to get local issuer|self.signed certificate|certificate has expired",
        "tls-ca",
        "The certificate of {said} has expired or is signed by nobody this machine trusts. Paste the CA certificate.",
    ),
    (
        r"root certificate file .* does not exist",
        "tls-ca",
        "The file of trusted certificates is missing on this machine.",
    ),
    (
        r"server does not support SSL",
        "tls-refused",
        "{said} does not speak TLS. Turn it on there, or choose another TLS setting if the way to it is safe.",
    ),
    (
        r"no pg_hba.conf entry.*(no encryption|SSL off)",
        "tls-required",
        "{said} accepts only TLS for this user. Choose verify-full.",
    ),
    (
        r"no pg_hba.conf entry",
        "not-allowed",
        "{said} does not let this machine in as {user} for {database}. Allow it in pg_hba.conf.",
    ),
    (
        r"permission denied for database",
        "no-rights",
        "User {user} may not connect to {database}. Grant it: GRANT CONNECT ON DATABASE.",
    ),
    (
        r"too many connections|remaining connection slots|too many clients",
        "busy",
        "{said} has no free connection. It will be tried again.",
    ),
    (
        r"the database system is (starting up|shutting down|in recovery)",
        "starting",
        "{said} is just starting or stopping. It will be tried again.",
    ),
    (
        r"timeout expired|timed out|No route to host|Network is unreachable|unreachable",
        "unreachable",
        "{said} does not answer. A firewall may be in the way, or the machine may be down.",
    ),
)
_PASSING = frozenset({"busy", "starting", "unreachable", "refused", "dns"})


def refusal(where: Address, text: str) -> EngineTrouble:
    """Turn the client library's text into a sentence; the text itself goes into the log without the password."""
    log = tuple(line.strip() for line in clean(text, where).splitlines() if line.strip())[:6]
    for pattern, code, sentence in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            said = sentence.format(host=where.host, said=where.said, user=where.user, database=where.database)
            return EngineTrouble(said, code=code, permanent=code not in _PASSING, log=log)
    return EngineTrouble(
        f"The connection to {where.said} failed. Nothing was changed; the log below says why.",
        code="connect",
        permanent=False,
        log=log,
    )


def clean(text: str, where: Address) -> str:
    """Return a text without the password."""
    return text.replace(where.password, "…") if len(where.password) > 3 else text


def major_of(connection: psycopg.Connection) -> int:
    """Return the server's major version."""
    return connection.info.server_version // 10000


def version_of(connection: psycopg.Connection) -> str:
    """Return the server's version as people write it, e.g. "16.4"."""
    number = connection.info.server_version
    return f"{number // 10000}.{number % 10000}"


def identity_of(connection: psycopg.Connection) -> str:
    """Return the cluster's system identifier, or "" where the server keeps it to itself."""
    try:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    except psycopg.Error:
        return ""
    return str(row[0]) if row else ""
