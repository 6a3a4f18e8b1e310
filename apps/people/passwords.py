"""What a password must be, each rule with a sentence of ours: long enough, not common, not like the name."""

from django.contrib.auth import password_validation as stock


class LongEnough(stock.MinimumLengthValidator):
    """At least so many characters."""

    def get_error_message(self) -> str:
        """Return what to do about a short one."""
        return f"Write at least {self.min_length} characters. A sentence is easy to keep."


class NotCommon(stock.CommonPasswordValidator):
    """None of the 20,000 that everybody tries first."""

    def get_error_message(self) -> str:
        """Return what to do about a common one."""
        return "Many people use this password, so it is tried first. Choose another."


class NotLikeTheName(stock.UserAttributeSimilarityValidator):
    """Not the person's own name or address."""

    def get_error_message(self) -> str:
        """Return what to do about one that gives itself away; Django puts the field's name into `%(verbose_name)s`."""
        return "This password is too much like your %(verbose_name)s. Choose another."
