"""The age identity as backups need it: troubles as sentences, and recipients checked before anything is read."""

import contextlib
from collections.abc import Sequence
from typing import Any

from pyrage import RecipientError, x25519

from apps.backups.facts import EngineTrouble
from apps.core.identity import IdentityError, identity_path, load_identity


def identity() -> str:
    """Return the secret identity ("AGE-SECRET-KEY-1…"). Never put it in a log line, a task, a page or a command line.

    Raises EngineTrouble when it is missing or is not an age identity.
    """
    try:
        return str(load_identity())
    except IdentityError as error:
        raise EngineTrouble(
            f"The key that opens backups is missing or unreadable ({identity_path()}). Nothing was changed. "
            "Put it back from your recovery key.",
            code="key-missing",
        ) from error


def recipient() -> str:
    """Return the public key ("age1…") of this installation's identity: what every backup is encrypted to."""
    return str(x25519.Identity.from_str(identity()).to_public())


def key_of(text: str) -> Any:
    """Return the identity in a text that a person gave (age-keygen's whole file, or its last line).

    Raises EngineTrouble, which never repeats the text.
    """
    found = [line.strip() for line in text.splitlines() if line.strip().startswith("AGE-SECRET-KEY-1")]
    if len(found) == 1:
        # pyrage names no error for a damaged identity that it documents.
        with contextlib.suppress(Exception):
            return x25519.Identity.from_str(found[0])
    raise EngineTrouble(
        "This is not an age identity: one line that starts with AGE-SECRET-KEY-1 is expected. Nothing was changed. "
        "Copy the whole line from your recovery key.",
        code="key-wrong",
    )


def recipients_of(texts: Sequence[str]) -> list[Any]:
    """Return public keys ("age1…") as pyrage takes them. Raises EngineTrouble when one is no key or none is given."""
    if not texts:
        raise EngineTrouble(
            "There is no public key to encrypt to. Nothing was read. Start Mainstay once to make its key."
        )
    try:
        return [x25519.Recipient.from_str(text) for text in texts]
    except RecipientError as error:
        raise EngineTrouble(
            "One of the public keys to encrypt to is not an age key (age1…). Nothing was read."
        ) from error
