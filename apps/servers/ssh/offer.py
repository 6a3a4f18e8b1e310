"""Public keys that are offered to sshd and never used: it says which it would take, and nothing is signed."""

from collections.abc import Sequence

import asyncssh

from apps.servers.ssh import Offered, Target, Trouble
from apps.servers.ssh.line import signed_in


async def offered(target: Target, user: str, keys: Sequence[tuple[str, str]]) -> Offered:
    """Return what sshd says of public keys (type, base64) that are offered for a user, all in one connection.

    It ends with the first that sshd would take (PK_OK; RFC 4252, section 7), or when sshd hangs up because it allows no
    more tries (MaxAuthTries). Raises Trouble where it answered for none.
    """
    try:
        offers = [_Offer(asyncssh.import_public_key(f"{kind} {blob}")) for kind, blob in keys]
    except asyncssh.KeyImportError as error:
        raise Trouble("malformed", "This is not a public key that can be offered.") from error
    sent: list[_Offer] = []

    def next_one() -> list[_Offer]:
        if len(sent) == len(offers) or any(offer.wanted for offer in sent):
            return []
        sent.append(offers[len(sent)])
        return sent[-1:]

    try:
        connection = await signed_in(target, user, next_one)
    except Trouble as trouble:
        if trouble.code != "auth" or not sent:
            raise
        return Offered(any(offer.wanted for offer in sent), len(sent))
    connection.abort()
    return Offered(accepted=True, answered=len(sent))  # who signed nothing was let in: it lets anybody in


class _Offer(asyncssh.SSHKeyPair):
    """A public key that is offered and never signs: being asked to sign is the answer."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        super().__init__(key.algorithm, key.algorithm, key.sig_algorithms, (), key.public_data, None)
        self.wanted = False

    def sign(self, data: bytes) -> bytes:  # noqa: ARG002 the library's signature
        self.wanted = True
        raise ValueError("nothing is signed")
