"""Every read of the backups room, named for the page or the judge that needs it."""

from typing import Self


from apps.core.runs import RecurringQuerySet, RunQuerySet


class PlanQuerySet(RecurringQuerySet):
    """Reads of plans."""

    def live(self) -> Self:
        """Return the plans that are not paused."""
        return self.filter(paused_at=None)


class BackupQuerySet(RunQuerySet):
    """Reads of backups."""

    def good(self) -> Self:
        """Return the backups that were finished and are still in their store, as far as is known; newest first."""
        return self.filter(state="done", pruned_at=None, lost_at=None).order_by("-taken_at")


class RestoreTestQuerySet(RunQuerySet):
    """Reads of restore tests."""


class RestoreQuerySet(RunQuerySet):
    """Reads of restores."""
