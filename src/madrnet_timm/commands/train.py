"""``madrnet train``: one fold of a recipe."""

import argparse
from typing import Any

from madrnet_command import VERBS

from ..cli import run_verb
from ..command import check_extra
from .arguments import saying_how_to_go_on
from .training_arguments import add_arguments, from_arguments

__all__ = ["add_parser"]

_DESCRIPTION = """\
Train MADRNet, or any timm model, on all folds but one, and measure it on the
images of that one. The run folder gets the options, the history, the
predictions and the model folder model/, which other verbs take as --model, and
timm.create_model("local-dir:...") after `import madrnet_timm`.
"""
_EXAMPLES = """\
examples:
  madrnet train --model madrnet_test_resnet --epochs 20    # drawn heads, a minute
  madrnet train --data-dir my_crops --model madrnet_resnet18 --pretrained-backbone
  accelerate launch -m madrnet_timm.commands.train --data-dir HuSHeM --fold 0
"""


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    train = verbs.add_parser(
        "train",
        help=VERBS["train"],
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(train)
    train.add_argument(
        "--fold", type=_fold, default=0, metavar="N|none",
        help="the fold held out, from 0; none: train on every image and measure nothing (%(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--teacher", nargs="+", default=[], metavar="MODEL", dest="teachers",
        help="models that it follows, too (distillation); they take what --weights takes, and may not have seen the "
        "images held out",
    )  # fmt: skip
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of folds, initial weights, order and changes (%(default)s)"
    )
    train.add_argument("--resume", action="store_true", help="continue the run in --output")
    train.set_defaults(verb=_train)


def _fold(text: str) -> int | None:
    if text != "none" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected the number of a fold, from 0, or none")
    return None if text == "none" else int(text)


def _train(args: argparse.Namespace) -> int:
    check_extra("train")
    from accelerate import PartialState

    from ..evaluation.controls import better_control
    from ..training.train import train, train_on_all

    config = from_arguments(args, teachers=tuple(args.teachers))
    going_on = saying_how_to_go_on(config.output, "the same command and --resume")
    if config.fold is None:
        with going_on:
            train_on_all(config)
        PartialState().print(f"trained on every image; nothing was measured; {config.output}")
        return 0
    with going_on:
        metrics = train(config)
    show = PartialState().print  # by the first process alone, which is known once the training has set Accelerate up
    controls = ", ".join(f"{name} {value:.3f}" for name, value in metrics.controls.items())
    show(f"fold {config.fold}: accuracy {metrics.accuracy:.3f}, F1 {metrics.f1:.3f}; {config.output}")
    show(f"controls on the same fold: {controls}")
    if hint := better_control(metrics.accuracy, metrics.controls):
        show(hint)
    return 0


if __name__ == "__main__":
    run_verb("train")
