"""What a case is: a disaster and its healthy twin in one function, and the words by which its sentence is known."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.disasters.scene import Scene

Play = Callable[[Scene], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """One disaster. `play` does it when the scene is broken and leaves it out otherwise, and returns what people hear.

    It is flagged when one sentence names both the cause and the next step. A twin is flagged by any sentence at all.
    """

    id: str  # of the reference's list, with a word where one disaster has several ways
    name: str
    mechanism: str  # the part of the product that has to see it
    cause: str  # regular expressions, case does not matter
    step: str
    play: Play
    needs: str = ""  # "postgres", "s3", "mail"; empty: files only

    def flag(self, heard: list[str]) -> str:
        """Return the sentence that names cause and next step, or ""."""
        return next((one for one in heard if _said(self.cause, one) and _said(self.step, one)), "")


def _said(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


CASES: list[Case] = []


def case(
    id: str,  # noqa: A002 the list's word
    name: str,
    *,
    mechanism: str,
    cause: str,
    step: str,
    needs: str = "",
) -> Callable[[Play], Play]:
    """Register a case."""

    def keep(play: Play) -> Play:
        CASES.append(Case(id, name, mechanism, cause, step, play, needs))
        return play

    return keep
