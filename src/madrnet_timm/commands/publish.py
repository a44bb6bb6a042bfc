"""``madrnet publish``: a model onto the Hub."""

import argparse
from typing import Any

from madrnet_command import VERBS

from .arguments import MODEL_HELP

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    publish = verbs.add_parser(
        "publish",
        help=VERBS["publish"],
        description="Upload a model folder: weights as safetensors, config.json, model card. What is there "
        "already is not uploaded again; an upload that was cut off goes on with the same command.",
        epilog="Log in with `hf auth login` first. Example: madrnet publish runs/hushem --repo me/my-model --dry-run",
    )
    publish.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    publish.add_argument("--repo", required=True, metavar="OWNER/NAME")
    publish.add_argument("--private", action="store_true", help="if the repository is made: for you alone")
    publish.add_argument(
        "--dry-run", action="store_true", help="only say what would change; works without a network, too"
    )
    publish.add_argument("--tag", metavar="vX.Y", help="give the version a tag, which stays what it is")
    publish.add_argument(
        "--license", metavar="ID",
        help="licence of the weights on the card, as the Hub lists them: apache-2.0, mit, cc-by-4.0, ... (that of the "
        "folder's card, which may name none)",
    )  # fmt: skip
    publish.set_defaults(verb=_publish)


def _publish(args: argparse.Namespace) -> int:
    from ..hub.publish import publish

    options = {name: getattr(args, name) for name in ("private", "dry_run", "tag", "license")}
    for line in publish(args.model, args.repo, **options):
        print(line)
    return 0
