"""The one way in which a service says no to a person."""


class Refused(Exception):  # noqa: N818 the domain's word
    """What was asked for is not done; `sentence` says why, that nothing was changed, and the way out."""

    def __init__(self, sentence: str, field: str = "") -> None:
        """Keep the sentence; `field` names the form field it belongs to, if any."""
        super().__init__(sentence)
        self.sentence, self.field = sentence, field
