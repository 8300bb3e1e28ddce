"""The exception for faults that the user can mend."""


class UserError(Exception):
    """A fault of the input: one line says what is wrong and how to mend it. Commands print the line and exit with 2."""


class BrokenMessage(UserError):
    """A fault of one message or frame alone, such as a JPEG that was cut off: its stream may be sound otherwise."""
