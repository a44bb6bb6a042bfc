"""The command ``madrnet`` up to its verb: help and version come at once, PyTorch only to a verb that asks a network."""

import argparse
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NoReturn

__all__ = ["VERBS", "command_parser", "main"]

VERBS = {
    "quickstart": "the whole way in a minute or two, without any data",
    "measure": "measure the heads of fields or crops",
    "data": "fetch, verify, divide and describe data sets",
    "predict": "classify and measure the heads of fields or crops",
    "report": "one HTML page of a table of predictions",
    "explain": "what a model looks at",
    "tsne": "t-SNE of the embeddings of a data set, as an image",
    "train": "train on all folds but one and measure on that",
    "cross-validate": "train on every fold in turn and sum up",
    "compare": "two cross-validations, paired",
    "ensemble": "several cross-validations as one model",
    "distill": "cross-validated models into a smaller one",
    "export": "a model as ONNX",
    "prepare": "images as a model's network sees them, for other programs",
    "models": "list the models with published weights, and where they are",
    "publish": "put a model on the Hugging Face Hub",
}
"""Each verb and its line of help."""

_WITHOUT_NETWORK = {"measure", "data", "compare", "report", "models"}
_SILENCE = 1.0  # seconds


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        packages = ", ".join(f"{name} {version(name)}" for name in ("madrnet-timm", "torch", "timm"))
        print(f"{packages}, Python {platform.python_version()}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Tells of a mistake in one line; the usage of a verb with fifty options would hide it."""

    def error(self, message: str) -> NoReturn:
        verb = f" {sys.argv[1]}" if " " not in self.prog and sys.argv[1:2] and sys.argv[1] in VERBS else ""
        self.exit(2, f"error: {message}; {self.prog}{verb} --help explains all\n")


def command_parser() -> tuple[argparse.ArgumentParser, Any]:
    """The parser, and where verbs are added to it."""
    parser = _Parser(
        prog="madrnet",
        description="Sperm heads classified and measured. Research use only; not a medical device.",
        epilog="madrnet VERB --help tells what a verb does and takes.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of package, PyTorch and timm")
    parser.add_argument("--debug", action="store_true", help="after a mistake show the traceback, too (with any verb)")
    return parser, parser.add_subparsers(required=True, metavar="VERB")


@contextmanager
def _telling(line: str) -> Iterator[None]:
    """Tell on a terminal what is waited for, once that takes a while."""
    timer = threading.Timer(_SILENCE, print, (line,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    if sys.stderr is not None and sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main() -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""
    words = set(sys.argv[1:])
    if not VERBS.keys() & words:
        parser, verbs = command_parser()
        for name, line in VERBS.items():
            verbs.add_parser(name, help=line)
        parser.parse_args()  # exits: there is no verb
    if words & {"-h", "--help"} or next(word for word in sys.argv[1:] if word in VERBS) in _WITHOUT_NETWORK:
        os.environ["MADRNET_WITHOUT_MODELS"] = "1"
    try:
        with _telling("loading PyTorch and timm ..."):
            from madrnet_timm.cli import main as run_verb
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    run_verb()


if __name__ == "__main__":
    main()
