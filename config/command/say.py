"""How the command speaks: lines on the console, and refusals that are one sentence for a person."""

import sys
from typing import IO


class Refusal(Exception):  # noqa: N818 it is an answer to a person, not a fault
    """Something that a person must mend: what happened, what was not harmed, what to do next."""


def say(text: str) -> None:
    """Write one line to the console."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write one line to the error console."""
    _write(sys.stderr, text)


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        pass  # whoever read along has gone; the work goes on
