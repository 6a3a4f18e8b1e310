"""Every read of the alerts room, named for the page or the service that needs it."""

from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from apps.core.runs import RunQuerySet, State


class ChannelQuerySet(models.QuerySet[Any]):
    """Reads of channels."""

    def kept(self) -> Self:
        """Return the channels that were not removed, by name."""
        return self.filter(removed_at=None).order_by("name")

    def active(self) -> Self:
        """Return the channels that are told: neither removed nor paused."""
        return self.kept().filter(paused_at=None)

    def unproven(self, now: datetime, proof_lasts: timedelta) -> Self:
        """Return the active channels without a proof younger than `proof_lasts`."""
        return self.active().filter(Q(proven_at=None) | Q(proven_at__lt=now - proof_lasts))


class IncidentQuerySet(models.QuerySet[Any]):
    """Reads of incidents."""

    def live(self) -> Self:
        """Return what is not closed, told or not."""
        return self.filter(closed_at=None)

    def visible(self) -> Self:
        """Return what people were told of."""
        return self.exclude(opened_at=None)

    def open(self) -> Self:
        """Return what people were told of and what is not mended yet: what needs eyes, the worst and oldest first."""
        return self.live().exclude(told_at=None).order_by("severity", "opened_at")

    def for_list(self, *, show: str = "", severity: str = "", q: str = "") -> Self:
        """Return what the page lists: open ones first, the worst first, then the newest mended."""
        found = self.visible().select_related("acknowledged_by")
        if show:
            found = found.filter(closed_at__isnull=show == "open")
        if severity:
            found = found.filter(severity=severity)
        if q:
            found = found.filter(Q(title__icontains=q) | Q(said__icontains=q))
        return found.order_by(F("closed_at").desc(nulls_first=True), "severity", "-opened_at")

    def of(self, code: str, subject_key: str) -> Self:
        """Return every incident of one cause."""
        return self.filter(code=code, subject_key=subject_key)

    def to_tell(self, now: datetime) -> Self:
        """Return what waited out its patience and was not told yet."""
        return self.live().filter(told_at=None, mended_at=None, tell_at__lte=now)

    def to_close(self) -> Self:
        """Return what looks mended and is only held open to see that it lasts."""
        return self.live().exclude(mended_at=None)

    def to_remind(self, now: datetime, every: timedelta) -> Self:
        """Return what is open, acknowledged by nobody, and was last spoken of `every` ago or longer."""
        last = Q(reminded_at=None, told_at__lte=now - every) | Q(reminded_at__lte=now - every)
        return self.live().filter(last, told_at__isnull=False, acknowledged_at=None, mended_at=None)

    def unknown_to(self, channel: Any) -> Self:
        """Return what is open and was never spoken of to a channel in this spell: it was added or resumed since."""
        messages = self.model._meta.get_field("messages").related_model  # noqa: SLF001 Django's documented name
        said = messages.objects.filter(incident=OuterRef("pk"), spell=OuterRef("spell"), channel=channel)
        return self.live().filter(~Exists(said), told_at__isnull=False, mended_at=None)


class MessageQuerySet(RunQuerySet):
    """Reads of messages."""

    def due(self, now: datetime) -> Self:
        """Return the messages that may be sent: due, and no earlier one about the same incident still under way there.

        So a "mended" never overtakes its "opened" on one channel, and no channel waits for another.
        """
        earlier = self.model.objects.active().filter(
            incident=OuterRef("incident"), channel=OuterRef("channel"), created_at__lt=OuterRef("created_at")
        )
        return super().due(now).filter(~Exists(earlier))

    def dead_letters(self) -> Self:
        """Return what could not be delivered to a channel that is still kept and nobody dismissed, the newest first."""
        return self.filter(state=State.FAILED, channel__removed_at=None, dismissed_at=None).order_by("-finished_at")
