"""The age identity of the test's own installation, made when there is none."""

from apps.core.identity import identity_path, make_identity


def have_identity() -> None:
    """Make the identity unless it is there; one that exists is never touched."""
    if not identity_path().exists():
        make_identity(identity_path())
