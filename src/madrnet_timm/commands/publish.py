"""``madrnet publish``: a model onto the Hub."""

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    publish = verbs.add_parser(
        "publish",
        help="put a model on the Hugging Face Hub",
        description="Upload the model folder of a run: weights as safetensors, config.json, model card. What is there "
        "already is not uploaded again; an upload that was cut off goes on with the same command.",
        epilog="Log in with `hf auth login` first. Example: madrnet publish runs/hushem --repo me/my-model --dry-run",
    )
    publish.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or its model/ folder")
    publish.add_argument("--repo", required=True, metavar="OWNER/NAME")
    publish.add_argument("--private", action="store_true", help="if the repository is made: for you alone")
    publish.add_argument("--dry-run", action="store_true", help="only say what would change")
    publish.add_argument("--tag", metavar="vX.Y", help="give the version a tag, which stays what it is")
    publish.set_defaults(verb=_publish)


def _publish(args: argparse.Namespace) -> int:
    from ..hub.publish import publish

    for line in publish(args.run, args.repo, private=args.private, dry_run=args.dry_run, tag=args.tag):
        print(line)
    return 0
