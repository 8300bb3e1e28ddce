"""The exception for faults that the user can mend."""


class UserError(Exception):
    """A fault of the input: one line says what is wrong and how to mend it. Commands print the line and exit with 2."""
