"""The one way in which access tells a person no."""


class Refused(Exception):  # noqa: N818 it is an answer to a person, not a fault
    """Something that a person must change: the field and one sentence."""

    def __init__(self, sentence: str, field: str = "") -> None:
        """Keep both."""
        super().__init__(sentence)
        self.sentence, self.field = sentence, field
