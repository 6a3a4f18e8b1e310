"""What a form field says when it is filled in wrongly: our sentences in place of Django's, set once when we start.

A field that knows better says so in its own `error_messages`; these are what is said where nobody thought of more.
Forms of the sign-in library say them too.
"""

from collections.abc import Mapping

from django import forms

SENTENCES: Mapping[type[forms.Field], Mapping[str, str]] = {
    forms.Field: {"required": "Fill this in; it cannot stay empty."},
    forms.CharField: {
        "max_length": "Write at most %(limit_value)d characters. These are %(show_value)d.",
        "min_length": "Write at least %(limit_value)d characters. These are %(show_value)d.",
        "null_characters_not_allowed": "There is a character in here that cannot be typed. Write it again by hand.",
    },
    forms.RegexField: {"invalid": "This is not written as it has to be. Look at the example."},
    forms.EmailField: {"invalid": "Write a whole e-mail address, such as name@example.com."},
    forms.URLField: {"invalid": "Write a whole address, such as https://www.example.com."},
    forms.JSONField: {"invalid": "What the browser sent cannot be read. Load the page again, then try once more."},
    forms.UUIDField: {"invalid": "There is nothing here by this id."},
    forms.IntegerField: {
        "invalid": "Write a whole number.",
        "min_value": "Write a number that is not below %(limit_value)s.",
        "max_value": "Write a number that is not above %(limit_value)s.",
        "step_size": "Write a multiple of %(limit_value)s.",
    },
    forms.FloatField: {"invalid": "Write a number."},
    forms.DateField: {"invalid": "Write the day as year, month and day, such as 2026-11-25."},
    forms.TimeField: {"invalid": "Write the time as hours and minutes of a 24-hour clock, such as 02:05."},
    forms.DateTimeField: {"invalid": "Write day and time, such as 2026-11-25 02:05."},
    forms.BooleanField: {"required": "Tick this to go on."},
    forms.ChoiceField: {"required": "Choose one.", "invalid_choice": "Choose one of what is offered."},
    forms.MultipleChoiceField: {
        "required": "Choose at least one.",
        "invalid_choice": "Choose only from what is offered.",
        "invalid_list": "Choose from what is offered.",
    },
    forms.ModelChoiceField: {"required": "Choose one.", "invalid_choice": "Choose one of what is offered."},
}


def speak() -> None:
    """Put our sentences into Django's fields. Safe to call twice; forms made before and after say the same."""
    for field, said in SENTENCES.items():
        own = vars(field).get("default_error_messages", {})
        field.default_error_messages = {**own, **said}
