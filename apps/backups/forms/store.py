"""The form of a store: an S3-compatible bucket or a local folder, existing or new."""

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django import forms

from apps.backups.forms.base import DomainForm, choice, domain_initial, text
from apps.backups.forms.source import as_uuid, holds_keys, path_trouble
from apps.backups.models import Store
from apps.backups.stores.base import Place

_BUCKET = re.compile(r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")


class StoreForm(DomainForm):
    """Where backups go. `known` is the store that is being changed, if any; `picks` lets one choose an existing one."""

    SECRETS: ClassVar[tuple[str, ...]] = ("access_key", "secret_key")

    pick = text(40)  # an existing store's id; empty is a new one
    kind = choice(*Store.Kind.values, initial=Store.Kind.S3)
    label = text(80)
    endpoint = text(300)
    region = text(80)
    bucket = text(63)
    folder = text(200)  # "prefix" in the config
    path_style = forms.BooleanField(required=False)
    public_confirmed = forms.BooleanField(required=False)
    access_key = text(200)
    secret_key = text(300)
    path = text(1000)

    def __init__(self, *args: Any, known: Store | None = None, picked: Store | None = None, **kwargs: Any) -> None:
        """Start from what is known of the store that is being changed, or from the one that the plan uses."""
        self.known = known
        self._chosen: Store | None = None
        if known is not None:
            kwargs["initial"] = {
                "kind": known.kind,
                "label": known.name,
                **known.config,
                **domain_initial(known.domain),
                "folder": known.config.get("prefix", ""),
                "region": known.config.get("region", "") or known.domain.get("region", ""),
            }
        elif picked is not None:
            kwargs["initial"] = {"pick": str(picked.pk)}
        kwargs["prefix"] = "store"
        super().__init__(*args, **kwargs)

    @property
    def chosen(self) -> Store | None:
        """Return the existing store that was picked, if any."""
        return self._chosen

    def check(self) -> None:
        """Look at what the chosen kind needs."""
        if self.known is None and self.got("pick"):
            self._chosen = Store.objects.filter(pk=as_uuid(self.got("pick"))).first()
            if self._chosen is None:
                self.put("pick", "This store was removed meanwhile. Choose another one or describe a new one.")
            return
        if self.known is not None:
            self.cleaned_data["kind"] = self.known.kind
        if self.got("kind") == Store.Kind.S3:
            self._check_s3()
        else:
            path = self.got("path")
            missing = "Write the path of a folder for backups, best on another disk, for example /srv/backups."
            if sentence := path_trouble(path, missing):
                self.put("path", sentence)
            elif holds_keys(path):
                self.put("path", "Mainstay's own keys lie there. Keep backups in a folder of their own.")

    def _check_s3(self) -> None:
        self._check_endpoint()
        bucket = self.got("bucket")
        if not bucket:
            self.put("bucket", "Write the name of the bucket.")
        elif not _BUCKET.match(bucket):
            self.put(
                "bucket", "A bucket's name has 3 to 63 small letters, digits, dots and dashes. Write only the name."
            )
        if ".." in self.got("folder").split("/"):
            self.put("folder", "Write a plain folder name, for example mainstay/production.")
        for name, what in (("access_key", "access key"), ("secret_key", "secret key")):
            if any(letter.isspace() for letter in self.got(name).strip()):
                self.put(name, f"There is a blank inside this {what}. Copy it again as one word.")
            elif not self.got(name).strip() and not self._kept():
                self.put(name, self._missing(what))
        if bool(self.got("access_key").strip()) != bool(self.got("secret_key").strip()) and self.known is not None:
            lacking = "secret_key" if self.got("access_key").strip() else "access_key"
            self.put(lacking, "The two keys belong together: type both, or leave both blank to keep the stored ones.")

    def _check_endpoint(self) -> None:
        endpoint = self.got("endpoint")
        if not endpoint:
            return  # Amazon's own
        try:
            parts = urlsplit(endpoint)
            whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            whole = False
            parts = urlsplit("")
        if parts.username or parts.password or "@" in endpoint:
            self.show_instead(endpoint="")
            self.put("endpoint", "Write the address without a name and password; the keys have fields of their own.")
        elif not whole or parts.query or parts.fragment:
            self.put("endpoint", "Write the whole address, for example https://s3.eu-central-003.backblazeb2.com.")

    def _kept(self) -> bool:
        """Return whether the kept keys may be used: they exist, and the address is the one they were typed for."""
        return (
            self.known is not None
            and bool(self.known.secret)
            and (self.known.config.get("endpoint") or "") == self.got("endpoint").rstrip("/")
        )

    def _missing(self, what: str) -> str:
        if self.known is not None and self.known.secret:
            return f"The address changed, so type the {what} again: a kept one is never sent to another address."
        return f"Write the {what} that may write to and read from this bucket."

    def config(self) -> dict[str, Any]:
        """Return what may be shown of the store."""
        if self.got("kind") == Store.Kind.LOCAL:
            return {"path": self.got("path")}
        kept = dict(self.known.config) if self.known is not None else {}
        return {
            **kept,
            "endpoint": self.got("endpoint").rstrip("/"),
            "region": self.got("region"),
            "bucket": self.got("bucket"),
            "prefix": self.got("folder").strip("/"),
            "path_style": bool(self.cleaned_data.get("path_style")),
            "public_confirmed": bool(self.cleaned_data.get("public_confirmed")),
        }

    def secret(self) -> dict[str, str] | None:
        """Return the sealed part; None keeps the one that is known."""
        if self.got("kind") == Store.Kind.LOCAL:
            return {}
        if self.got("access_key").strip():
            return {"access_key": self.got("access_key").strip(), "secret_key": self.got("secret_key").strip()}
        return None if self.known is not None else {}

    def title(self) -> str:
        """Return the name that was given, or one that tells it apart."""
        if self.got("label"):
            return self.got("label")
        if self.got("kind") == Store.Kind.LOCAL:
            return f"Folder {self.got('path')}"[:80]
        host = urlsplit(self.got("endpoint")).hostname or "Amazon S3"
        return f"{self.got('bucket')} at {host}"[:80]

    def place(self) -> Place:
        """Return what a store adapter needs to try it; the kept keys only towards the kept address."""
        if self._chosen is not None:
            return self._chosen.place()
        secret = self.secret()
        if secret is None:
            secret = dict(self.known.secrets) if self.known is not None else {}
        return Place(self.got("kind"), self.config(), secret)
