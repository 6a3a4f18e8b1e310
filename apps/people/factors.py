"""How a second factor's secret is sealed: with the key ring, bound to its person, as text."""

import base64

from apps.core.keys import KeyRingError, seal, unseal


def factor_context(person_id: object) -> str:
    """Return what a second factor's ciphertext is bound to: the library writes it before the row has an id."""
    return f"mfa_authenticator.data:person {person_id}"


def seal_factor(text: str, *, person_id: object) -> str:
    """Seal a second factor's secret for its person, as text."""
    return base64.b64encode(seal(text.encode(), context=factor_context(person_id))).decode("ascii")


def unseal_factor(text: str, *, person_id: object) -> str:
    """Open what `seal_factor` made. Raises KeyRingError for another person's, damaged or plain text."""
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise KeyRingError("this is not a sealed value") from error
    return unseal(blob, context=factor_context(person_id)).decode()
