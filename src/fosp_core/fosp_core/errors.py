"""The one exception for what the user can mend."""


class UserError(Exception):
    """Bad input: one line that says what is wrong and how to mend it. Command lines print it and exit 2."""
