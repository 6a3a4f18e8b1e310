"""Keys for tests: real ones by ssh-keygen, and blobs made by hand that no tool would make."""

import base64
import functools
import random
import subprocess
import tempfile
from pathlib import Path


def string(data: bytes) -> bytes:
    """Return an SSH string."""
    return len(data).to_bytes(4) + data


def number(n: int) -> bytes:
    """Return an SSH mpint."""
    return string(n.to_bytes(n.bit_length() // 8 + 1))


def rsa(n: int, e: int = 65537) -> bytes:
    """Return the blob of an RSA key."""
    return string(b"ssh-rsa") + number(e) + number(n)


def line(kind: str, raw: bytes, comment: str = "made@test") -> str:
    """Return a public key line."""
    return f"{kind} {base64.b64encode(raw).decode()} {comment}".rstrip()


@functools.cache
def made(kind: str, bits: int = 0, comment: str = "alice@laptop") -> tuple[str, str]:
    """Return the public line and the private text of a key that the real ssh-keygen made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        size = ["-b", str(bits)] if bits else []
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", comment, "-f", path], check=True)
        return path.with_suffix(".pub").read_text().strip(), path.read_text()


def keygen(*arguments: str, given: str = "") -> str:
    """Return what ssh-keygen says of a file with the given text, whose name follows the arguments."""
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
        file.write(given)
        file.flush()
        done = subprocess.run(["ssh-keygen", *arguments, file.name], capture_output=True, text=True, check=False)
    return done.stdout


def prime(n: int) -> bool:
    """Return whether a number is prime (Miller and Rabin, 12 rounds)."""
    if any(n % p == 0 for p in (2, 3, 5, 7, 11, 13, 17, 19, 23)):
        return False
    d, twos = n - 1, 0
    while d % 2 == 0:
        d, twos = d // 2, twos + 1
    for _ in range(12):
        x = pow(random.randrange(2, n - 1), d, n)
        if x not in {1, n - 1} and not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def next_prime(n: int) -> int:
    """Return the first prime after an odd number."""
    n += 2
    while not prime(n):
        n += 2
    return n
