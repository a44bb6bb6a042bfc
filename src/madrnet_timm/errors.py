"""What a user can put right."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: the message names the file or argument, what was expected and what to do.

    Commands print it as one line, without a traceback, and exit with status 2.
    """
