"""The options of a training on the command line."""

import argparse
import ast
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..training.recipe import PRESETS, Recipe
from ..training.run_config import RunConfig
from .arguments import MODEL_HELP, add_refused
from .data_arguments import add_data_arguments, add_fold_arguments, settle_dataset

__all__ = ["add_arguments", "from_arguments"]


def _keyword(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: expected name=value")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run to a parser."""
    _add_model(parser.add_argument_group("what is trained"))
    _add_data(parser.add_argument_group("data"))
    _add_run(parser.add_argument_group("run"))
    _add_recipe(parser.add_argument_group("recipe"))


def _add_model(what: argparse._ActionsContainer) -> None:
    what.add_argument(
        "--model", default="madrnet_tf_efficientnet_lite0", help="timm name, with or without madrnet_ (%(default)s)"
    )
    what.add_argument(
        "--model-kwargs", nargs="*", type=_keyword, default=[], metavar="NAME=VALUE",
        help="further arguments of the model, as in timm: depth=0 global_pool=avg",
    )  # fmt: skip
    what.add_argument(
        "--backbone-weights",
        type=Path,
        metavar="FILE",
        help="safetensors file with the backbone's weights, from timm or of another model folder",
    )
    what.add_argument(
        "--weights",
        metavar="MODEL",
        help=f"model whose weights are the initial ones, all but its classifier's: {MODEL_HELP}",
    )
    what.add_argument(
        "--pretrained-backbone", action="store_true", help="let timm fetch the backbone's weights from the Hub"
    )
    what.add_argument(
        "--leave-out-seen", action="store_true",
        help="measure without those held-out images that the model of its initial weights or a teacher learned from",
    )  # fmt: skip


def _add_data(data: argparse._ActionsContainer) -> None:
    add_data_arguments(data)
    add_fold_arguments(data)
    data.add_argument(
        "--normal-class", metavar="NAME",
        help="the class of normal heads, for the aspect ratio constraint and the report (Normal, in any case)",
    )  # fmt: skip


def _add_run(run: argparse._ActionsContainer) -> None:
    run.add_argument("--output", type=Path, default=None, metavar="DIR", help="folder of the run")
    run.add_argument(
        "--license", metavar="ID", help="licence of the weights on the model card: apache-2.0, cc-by-4.0, ... (none)"
    )
    run.add_argument("--tracker", metavar="NAME", help="tracker of Accelerate: tensorboard, trackio, wandb, ...")
    run.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that change the images while this one trains; the result is the same (0; on a GPU up to 8)",
    )  # fmt: skip


def _add_recipe(recipe: argparse._ActionsContainer) -> None:
    recipe.add_argument(
        "--recipe", default="quick", choices=tuple(PRESETS),
        help="preset: quick (2 CPU cores) or paper (Table I); the options below change it (%(default)s)",
    )  # fmt: skip
    default = PRESETS["quick"]
    for option in fields(Recipe):
        value = getattr(default, option.name)
        choices = option.metadata["choices"] or None
        recipe.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(value),
            choices=choices,
            metavar=None if choices else "N",
            help=f"{option.metadata['help']} ({value})",
        )
    add_refused(recipe, "--per-class", "is now --samples-per-class")


def from_arguments(args: argparse.Namespace, **overrides: Any) -> RunConfig:
    """The config that parsed arguments ask for; ``overrides`` win."""
    settle_dataset(args)
    given = vars(args) | overrides
    recipe = PRESETS[args.recipe].with_options(given)
    run = f"{args.dataset}-{args.model}"
    if "fold" in args:
        run += "-all" if args.fold is None else f"-fold{args.fold}"
    output = given["output"] or Path("runs") / run
    names = {f.name for f in fields(RunConfig)} - {"recipe", "output", "model_kwargs"}
    values = {k: v for k, v in given.items() if k in names}
    return RunConfig(output=Path(output), recipe=recipe, model_kwargs=dict(args.model_kwargs), **values)
