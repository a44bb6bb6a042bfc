"""What a user can put right."""

__all__ = ["BUGS", "InputError"]

BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What no server, no disk and no user's word brings about: a mistake in the code, which keeps its traceback."""


class InputError(ValueError):
    """Bad input: the message names the file or argument, what was expected and what to do.

    Commands print it as one line, without a traceback, and exit with status 2.
    """
