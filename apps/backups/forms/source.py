"""The form of a source: a PostgreSQL database by URL or by its parts, a SQLite file, or a folder."""

import re
from pathlib import PurePosixPath
from typing import Any, ClassVar

from cryptography import x509
from django.conf import settings

from apps.backups.engines.base import Target
from apps.backups.engines.pg.address import MODES, parse_url
from apps.backups.facts import EngineTrouble
from apps.backups.forms.base import RETYPE, DomainForm, choice, domain_initial, text, whole
from apps.backups.models import Source
from apps.servers.models import Server

_HOST = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$|^[0-9A-Fa-f:.%]+$|^/[^\0]*$")
# A kept password is never sent to another address, or with less protection, than the one it was typed for.
_ADDRESS = ("host", "port", "sslmode", "ca")
_THERE = re.compile(r"/[^\0,]*|localhost|127\.0\.0\.1|::1")  # what a server's gate takes for a place on it


class SourceForm(DomainForm):
    """What to back up. `known` is the source that is being changed, if any."""

    SECRETS: ClassVar[tuple[str, ...]] = ("url", "password")
    LONG: ClassVar[tuple[str, ...]] = ("ca", "excludes")

    pick = text(40)  # an existing source's id; empty is a new one
    kind = choice(*Source.Kind.values, initial=Source.Kind.POSTGRESQL)
    label = text(80)
    by = choice("parts", "url", initial="parts")
    url = text(2000)
    through = text(40)  # the id of the server whose gate leads to it; empty: this machine goes there itself
    host = text(253)
    port = whole(1, 65535, 5432)
    database = text(63)
    user = text(63)
    password = text(1000)
    sslmode = choice(*MODES, initial="")  # empty: verified, but for what never leaves this machine
    ca = text(20_000)
    path = text(1000)
    excludes = text(4000)

    def __init__(self, *args: Any, known: Source | None = None, **kwargs: Any) -> None:
        """Start from what is known of the source that is being changed."""
        self.known = known
        if known is not None:
            config = dict(known.config)
            config["excludes"] = "\n".join(config.get("excludes", ()))
            kwargs["initial"] = {"kind": known.kind, "label": known.name, **config, **domain_initial(known.domain)}
            kwargs["initial"]["through"] = str(known.through_id or "")
        kwargs["prefix"] = "source"
        super().__init__(*args, **kwargs)

    @property
    def chosen(self) -> Source | None:
        """Return the existing source that was picked, if any."""
        return self._chosen

    _chosen: Source | None = None
    server: Server | None = None  # the one whose gate leads to the database

    def check(self) -> None:
        """Look at what the chosen kind needs."""
        if self.known is None and self.got("pick"):
            self._chosen = Source.objects.filter(pk=as_uuid(self.got("pick"))).first()
            if self._chosen is None:
                self.put("pick", "This source was removed meanwhile. Choose another one or describe a new one.")
            return
        if self.known is not None:
            self.cleaned_data["kind"] = (
                self.known.kind
            )  # a source never becomes another kind: its backups stay readable
        if self.got("kind") == Source.Kind.POSTGRESQL:
            self._check_postgresql()
        else:
            self._check_path()

    def _check_postgresql(self) -> None:
        if self.got("by") == "url":
            self._take_url()
            if self.errors:
                return
        if self.got("through"):
            self._check_through()
        elif not self.got("host"):
            self.put("host", "Write the host of the database, for example db.example.com.")
        elif not _HOST.match(self.got("host")):
            self.put("host", "Write only the host here, without http:// and without a port.")
        if not self.got("database"):
            self.put("database", "Write the name of the database.")
        if not self.got("user"):
            self.put("user", "Write the user that may read the database.")
        if not self.cleaned_data.get("port") and "port" not in self.errors:
            self.cleaned_data["port"] = 5432
        self._check_ca()
        if not self.got("password") and self._moved() and not self.server:
            self.put(
                "password",
                "The address changed, so type the password again: a kept one is never sent to another address.",
            )

    def _check_through(self) -> None:
        """Look for the server whose gate leads there; it reaches nothing but itself."""
        self.server = Server.objects.operated().filter(pk=as_uuid(self.got("through"))).first()
        if self.server is None:
            self.put(
                "through", "This server was removed, or its gate may not dump: its level must be at least operate."
            )
        if self.got("host") and not _THERE.fullmatch(self.got("host")):
            self.put(
                "host",
                "A gate reaches only databases on its own server. Leave the host empty, or write localhost.",
            )
        self.cleaned_data["sslmode"] = self.cleaned_data["ca"] = ""

    @property
    def through_options(self) -> list[tuple[str, str]]:
        """Return the servers that a database can be reached through, for a select; empty where there are none."""
        found = [(str(row.pk), row.name) for row in Server.objects.operated()]
        return [("", "None: this machine connects to the database itself"), *found] if found else []

    def _take_url(self) -> None:
        if not self.got("url").strip():
            if self.known is None:
                self.put("url", "Write the URL of the database, or choose to write its parts.")
            return
        try:
            target = parse_url(self.got("url"))
        except EngineTrouble as trouble:
            self.put("url", trouble.sentence)
            return
        found = {"sslmode": "", **target.config, **target.secret}
        self.cleaned_data.update(found)
        # What is shown again are its parts: the URL itself may hold the password.
        shown = {name: str(value) for name, value in found.items() if name not in self.SECRETS}
        self.show_instead(by="parts", **shown)

    def ask_again(self) -> None:
        """Say it at the password where a URL was taken apart: that is what is missing now."""
        if self.data.get("source-by") == "parts" and self.data.get("source-url"):
            self.show_instead(url="")
            self.put("password", RETYPE)
        super().ask_again()

    def _check_ca(self) -> None:
        ca = self.got("ca")
        if not ca or self.got("sslmode") not in {"", "verify-full"}:
            return
        if "PRIVATE KEY" in ca:
            self.show_instead(ca="")
            self.put("ca", "This is a private key. Only the certificate belongs here; the key was not kept.")
            return
        try:
            if not x509.load_pem_x509_certificates(ca.encode()):
                raise ValueError  # noqa: TRY301 one way out for both
        except ValueError:
            self.put("ca", "This is not a certificate in PEM form. It begins with -----BEGIN CERTIFICATE-----.")

    def _check_path(self) -> None:
        path = self.got("path")
        what = "file" if self.got("kind") == Source.Kind.SQLITE else "folder"
        example = "/srv/app/data.sqlite3" if what == "file" else "/srv/app/uploads"
        if sentence := path_trouble(path, f"Write the path of the {what}, for example {example}."):
            self.put("path", sentence)
        elif holds_keys(path):
            self.put(
                "path", f"This {what} holds Mainstay's own keys. A backup must never contain the key that opens it."
            )
        for line in self.excluded():
            if line.startswith("/") or ".." in PurePosixPath(line).parts:
                self.put("excludes", f"Write patterns below the folder, not {line[:60]}. For example cache/ or *.tmp.")

    def _moved(self) -> bool:
        """Return whether the address is not the one that the kept password was typed for."""
        if self.known is None:
            return False
        config = self.config()
        if self.known.through_id != (self.server.pk if self.server else None):
            return bool(self.known.secret)
        return bool(self.known.secret) and any(
            config.get(name) != self.known.config.get(name)
            for name in _ADDRESS
            if config.get(name) or self.known.config.get(name)
        )

    def excluded(self) -> list[str]:
        """Return the patterns to leave out, one a line."""
        return [line.strip() for line in self.got("excludes").splitlines() if line.strip()]

    def config(self) -> dict[str, Any]:
        """Return what may be shown of the source."""
        if self.got("kind") == Source.Kind.POSTGRESQL:
            config: dict[str, Any] = {name: self.got(name) for name in ("host", "database", "user")}
            config["port"] = self.cleaned_data.get("port") or 5432
            if self.got("sslmode"):
                config["sslmode"] = self.got("sslmode")
            if self.got("ca") and self.got("sslmode") in {"", "verify-full"}:
                config["ca"] = self.got("ca")
            return config
        config = {"path": self.got("path")}
        if self.got("kind") == Source.Kind.DIRECTORY:
            config["excludes"] = self.excluded()
        return config

    def secret(self) -> dict[str, str] | None:
        """Return the sealed part; None keeps the one that is known."""
        if self.got("kind") != Source.Kind.POSTGRESQL:
            return {}
        if self.got("password"):
            return {"password": self.got("password")}
        if self.server and self._moved():
            return {}  # there the user's own account may do; a kept password never goes to another address
        return None if self.known is not None else {}

    def title(self) -> str:
        """Return the name that was given, or one that tells it apart."""
        if self.got("label"):
            return self.got("label")
        if self.got("kind") == Source.Kind.POSTGRESQL:
            return f"{self.got('database')} on {self.server or self.got('host')}"[:80]
        return self.got("path")[-80:]

    def target(self) -> Target:
        """Return what an engine needs to try the connection; the kept secret only towards the kept address."""
        if self._chosen is not None:
            return self._chosen.target()
        secret = self.secret()
        if secret is None:
            secret = dict(self.known.secrets) if self.known is not None else {}
        return Target(self.got("kind"), self.config(), secret, self.server)


def path_trouble(path: str, missing: str) -> str:
    """Return what is wrong with a path on this machine, or nothing; `missing` is said where there is none."""
    if not path:
        return missing
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        return "Write the whole path from the root, beginning with / and without .. in it."
    return ""


def holds_keys(path: str) -> bool:
    """Return whether a path is, holds or lies in the folder of Mainstay's keys."""
    keys, given = PurePosixPath(settings.MAINSTAY_KEYS), PurePosixPath(path)
    return given == keys or keys.is_relative_to(given) or given.is_relative_to(keys)


def as_uuid(value: str) -> str | None:
    """Return a row id that may be looked up, or nothing."""
    return value if re.fullmatch(r"[0-9a-fA-F-]{32,36}", value) and len(value.replace("-", "")) == 32 else None
