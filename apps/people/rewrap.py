"""The part of a master-key rotation that the sign-in library's table needs: its secrets lie inside a JSON column."""

import base64

from allauth.mfa.models import Authenticator
from django.db import transaction

from apps.core.keys import sealed_with, the_ring
from apps.people.factors import seal_factor, unseal_factor

SECRETS = ("secret", "seed")  # of an authenticator app, of recovery codes


def rewrap_factors() -> int:
    """Seal every second factor's secret anew that is not sealed with the current key; return how many."""
    total = 0
    ids = list(
        Authenticator.objects.filter(type__in=["totp", "recovery_codes"]).order_by("pk").values_list("pk", flat=True)
    )
    for pk in ids:
        total += _rewrap(pk)
    return total


def _rewrap(pk: int) -> int:
    done = 0
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().filter(pk=pk).first()
        for name in SECRETS if row else ():
            text = row.data.get(name)
            if text and sealed_with(base64.b64decode(text)) != the_ring().current.id:
                row.data[name] = seal_factor(unseal_factor(text, person_id=row.user_id), person_id=row.user_id)
                done += 1
        if done:
            row.save(update_fields=["data"])
    return done
