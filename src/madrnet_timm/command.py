"""How a command of this package ends: a user's mistake is one line and exit status 2, a bug of ours a traceback."""

import errno
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from .errors import InputError

__all__ = ["check_extra", "run_command"]

_INTERRUPTED, _NOBODY_READS = 130, 141  # as a shell tells of a process that SIGINT or SIGPIPE has ended


def run_command(main: Callable[[], int | None]) -> None:
    """Run ``main`` and exit with its status, 2 after a user's mistake, 130 after an interrupt, 141 where nobody reads.

    Every command takes ``--debug``, which adds the traceback to the line that tells of a mistake.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for ours in ("Corrupt EXIF data", "Image size .* could be decompression bomb"):  # our own line says what is wrong
        warnings.filterwarnings("ignore", ours, module=r"PIL\.")
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    for closed in [name for name in ("stdout", "stderr") if getattr(sys, name) is None]:
        setattr(sys, closed, open(os.devnull, "w"))  # noqa: SIM115
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()  # while a full disk or a closed pipe can still be told in one line
    except BrokenPipeError:
        status = _NOBODY_READS
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        status = _INTERRUPTED
    except Exception as error:
        line = _mistake(error)
        if line is None:
            raise
        if debug:
            _print_traceback(error)
        print(f"error: {line}", file=sys.stderr)
        status = 2
    _drop_output()
    sys.exit(status)


def _drop_output() -> None:
    """What could not be written is not tried again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_traceback(error: BaseException) -> None:
    shown: BaseException | None = error
    while shown is not None:
        shown.__suppress_context__ = shown.__cause__ is not None  # what `from None` keeps from the user
        shown = shown.__cause__ or shown.__context__
    traceback.print_exception(error)


def _mistake(error: Exception) -> str | None:
    """What to tell the user, in one line, or None after a bug of ours."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        extra = _extra_of(error.name or "")
        return extra and f"{error.name} is not installed; pip install 'madrnet-timm[{extra}]'"
    reason = _os_reason(error) if isinstance(error, OSError) else None
    if isinstance(error, ValueError) and _is_about_users_words(error):
        reason = str(error).splitlines()[0]
    return reason and f"{reason} (--debug shows where)"


def check_extra(extra: str) -> None:
    """Raise `InputError` where something that an extra of this package brings along is not installed."""
    for project, its in _extras():
        module = {"scikit-learn": "sklearn"}.get(project, project)
        if its == extra and find_spec(module) is None:
            raise InputError(f"{project} is not installed; pip install 'madrnet-timm[{extra}]'")


def _extra_of(module: str) -> str | None:
    """The extra of this package that brings a module along, or None."""
    project = {"sklearn": "scikit-learn", "pyarrow": "datasets"}.get(module, module)
    return dict(reversed(_extras())).get(project)


def _extras() -> list[tuple[str, str]]:
    """Each project that an extra of this package brings along, and the extra."""
    lines = (re.fullmatch(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line) for line in requires("madrnet-timm") or ())
    return [(line[1], line[2]) for line in lines if line]


def _os_reason(error: OSError) -> str | None:
    """What the system says of a file that is none of this package or of Python, or of the output."""
    if error.errno is None or error.strerror is None:
        return None
    if isinstance(error.filename, str | bytes):
        path = Path(os.fsdecode(error.filename))
        ours = path.absolute().is_relative_to(Path(__file__).parent) or path.absolute().is_relative_to(sys.prefix)
        return None if ours else f"{path}: {error.strerror}"
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return f"the output can't be written: {error.strerror}" if error.errno in full else None


def _is_about_users_words(error: ValueError) -> bool:
    """A text that can't be decoded or parsed, a path or URL that is none, or a word of the command line."""
    if isinstance(error, UnicodeError | json.JSONDecodeError) or str(error).startswith("embedded null"):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    parsed = frame.f_globals.get("__name__", "").partition(".")[0] in ("ipaddress", "urllib")
    return parsed or any(repr(word) in str(error) for word in sys.argv[1:])
