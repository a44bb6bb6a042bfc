"""How a command of this package ends: a user's mistake is one line and exit status 2, never a traceback."""

import logging
import sys
from collections.abc import Callable

from .errors import InputError

__all__ = ["run_command"]


def run_command(main: Callable[[], None]) -> None:
    """Run ``main`` and exit: 0, 2 after a user's mistake, 130 after an interrupt."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        main()
    except InputError as error:
        sys.exit(_report(str(error)))
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing == "madrnet_timm":
            raise
        extra = "onnx" if missing.startswith("onnx") else "train"
        sys.exit(_report(f"{missing} is not installed; pip install 'madrnet-timm[{extra}]'"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _report(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
