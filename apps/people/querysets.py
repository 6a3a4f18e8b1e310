"""Every read of people, invitations and the audit log, named for the page that needs it."""

from datetime import datetime
from typing import Any, Self

from django.contrib.auth.base_user import BaseUserManager
from django.db import models
from django.db.models import Exists, Max, OuterRef, Q


class PersonManager(BaseUserManager[Any]):
    """Reads of people."""

    def active(self) -> Any:
        """Return the people who may sign in."""
        return self.filter(is_active=True)

    def owners(self) -> Any:
        """Return the owners who may sign in."""
        return self.active().filter(role="owner")

    def managers_with_factors(self) -> Any:
        """Return the active owners and admins, each with `second_factor`."""
        return (
            self.active()
            .filter(role__in=["owner", "admin"])
            .annotate(second_factor=_second_factor())
            .order_by("joined_at")
        )

    def for_team(self) -> Any:
        """Return everybody with `seen_at` and `second_factor`, the active first, one query."""
        from allauth.usersessions.models import UserSession  # noqa: PLC0415 models of other apps load after ours

        seen = (
            UserSession.objects.filter(user=OuterRef("pk"))
            .order_by()
            .values("user")
            .annotate(seen=Max("last_seen_at"))
            .values("seen")
        )
        return self.annotate(second_factor=_second_factor(), seen_at=models.Subquery(seen)).order_by(
            "-is_active", "name", "email"
        )


class InvitationQuerySet(models.QuerySet[Any]):
    """Reads of invitations."""

    def open(self, now: datetime) -> Self:
        """Return the invitations that can still be used."""
        return self.filter(closed_at=None, expires_at__gt=now)

    def for_team(self) -> Self:
        """Return the invitations that wait or ran out, the newest first."""
        return self.filter(closed_at=None).select_related("invited_by").order_by("-created_at")


class AuditQuerySet(models.QuerySet[Any]):
    """Reads of the audit log."""

    def for_page(self, *, actor: str = "", verb: str = "", text: str = "") -> Self:
        """Return the entries of a filter, the newest first. `actor` is a person's id, `verb` a verb or a room."""
        found = self.order_by("-seq")
        if actor:
            found = found.filter(actor_id=actor)
        if verb:
            found = found.filter(Q(verb=verb) | Q(verb__startswith=f"{verb}."))
        if text:
            found = found.filter(
                Q(subject__icontains=text) | Q(actor_name__icontains=text) | Q(detail_json__icontains=text)
            )
        return found


def _second_factor() -> Exists:
    from allauth.mfa.models import Authenticator  # noqa: PLC0415 models of other apps load after ours

    return Exists(Authenticator.objects.filter(user=OuterRef("pk"), type__in=["totp", "webauthn"]))
