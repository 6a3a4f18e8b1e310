"""The form of a restore: the new, empty database or folder that an admin names."""

from typing import Any, ClassVar

from apps.backups.engines.base import Target
from apps.backups.forms.source import SourceForm
from apps.backups.models import Backup, Source


class RestoreForm(SourceForm):
    """Where to restore one backup; the fields are those of a source of the same kind, and never its own address."""

    SECRETS: ClassVar[tuple[str, ...]] = SourceForm.SECRETS

    def __init__(self, *args: Any, backup: Backup, **kwargs: Any) -> None:
        """Start with the kind of the backup's source; nothing of its secret is used."""
        self.source: Source = backup.plan.source
        super().__init__(*args, **kwargs)
        del self.fields["through"]  # a gate only reads
        self.fields["kind"].initial = self.source.kind

    def check(self) -> None:
        """Look at the place; refuse what is plainly the source itself (the engine looks again, at the real one)."""
        self.cleaned_data["kind"], self.cleaned_data["pick"] = self.source.kind, ""
        super().check()
        if self.errors:
            return
        given, own = self.config(), self.source.config
        names = ("host", "port", "database") if self.source.kind == Source.Kind.POSTGRESQL else ("path",)
        if all(str(given.get(name, "")) == str(own.get(name, "")) for name in names):
            self.put(
                names[-1],
                "This is the source itself. Name a new, empty place; nothing is ever restored over the source.",
            )

    def where(self) -> Target:
        """Return the place to restore into."""
        return Target(self.got("kind"), self.config(), self.secret() or {})
