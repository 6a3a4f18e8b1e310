"""Template tags for the sign-in pages, which are Django templates in the same look."""
