"""Take the model apart: the paper's Tables IV and V and Fig. 10, each setting on the same folds and budget.

    python -m examples.studies.ablation table_4 --dataset hushem --data-dir DIR --output runs/ablation \\
        --backbone-weights tf_efficientnet_lite0.in1k.safetensors --img-size 80 --epochs 16
    python -m examples.studies.ablation table_5 depth ...

table_4: the plain timm backbone, then MADRNet's embedding (a layer with batch norm before the classifier), R, P
and the hybrid loss added one after the other. table_5: acrosome mask of the attention (AAC) and aspect ratio constraint
(HARC), without and with. depth: 0 to 6 executions of R. Every setting is a cross-validation below --output, shared by
the studies; finished folds are kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_training_seeds
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
from madrnet_timm.training.run_config import RunConfig


@dataclass(frozen=True)
class Setting:
    """One row of a study.

    Attributes:
        title: In the table.
        kwargs: Arguments of the model that differ from the full MADRNet.
        recipe: Fields of the recipe that differ.
        plain: The timm backbone itself, with its own classifier.
    """

    title: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    plain: bool = False

    def changed(self, config: RunConfig) -> RunConfig:
        """Those of its cross-validation."""
        model = config.model.removeprefix("madrnet_") if self.plain else config.model
        kwargs = {} if self.plain else config.model_kwargs | self.kwargs
        return replace(config, model=model, model_kwargs=kwargs, recipe=replace(config.recipe, **self.recipe))


SETTINGS = {
    "full": Setting("MADRNet (n = 3)"),
    "backbone": Setting("plain backbone", plain=True),
    "embedding": Setting("+ embedding", {"depth": 0, "global_pool": "avg"}, {"loss": "ce"}),
    "r": Setting("+ R", {"global_pool": "avg"}, {"loss": "ce"}),
    "r-p": Setting("+ R + P", recipe={"loss": "ce"}),
    "no-aac-no-harc": Setting("neither AAC nor HARC", {"acrosome": False}, {"beta": 0.0}),
    "aac": Setting("AAC alone", recipe={"beta": 0.0}),
    "harc": Setting("HARC alone", {"acrosome": False}),
} | {f"depth{n}": Setting(f"n = {n}", {"depth": n}) for n in (0, 1, 2, 4, 5, 6)}
"""By name of the folder below --output; ``full`` comes first, all others are compared with it."""

STUDIES: dict[str, Sequence[str]] = {
    "table_4": ("backbone", "embedding", "r", "r-p", "full"),
    "table_5": ("no-aac-no-harc", "aac", "harc", "full"),
    "depth": ("depth0", "depth1", "depth2", "full", "depth4", "depth5", "depth6"),
}


def row(name: str, output: Path) -> str:
    """A finished setting as a row of the table."""
    from madrnet_timm.training.stored import CrossValidation, compare_runs

    summary = CrossValidation.read(output / name).summary
    accuracy, f1 = (f"{100 * summary.mean[k]:.1f} ± {100 * summary.sd[k]:.1f}" for k in ("accuracy", "f1"))
    against = "" if name == "full" else str(compare_runs(output / "full", output / name))
    return f"| {SETTINGS[name].title} | {accuracy} | {f1} | {against} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="+", choices=tuple(STUDIES), help="%(choices)s")
    add_arguments(parser)
    add_training_seeds(parser)
    args = parser.parse_args()
    args.output = args.output or Path("runs/ablation")
    if not args.model.startswith("madrnet_"):
        parser.error(f"--model {args.model}: expected a madrnet_* name; the plain backbone is one of the settings")
    own = {key for setting in SETTINGS.values() for key in (*setting.kwargs, *setting.recipe)}
    given = [f"--{key}" for key in ("weights", "loss", "beta") if getattr(args, key) is not None]
    given += [f"--model-kwargs {key}" for key, _ in args.model_kwargs if key in own]
    if given:
        parser.error(f"{', '.join(given)}: the settings of the study say that")

    from madrnet_timm.training.cross_validation import cross_validate
    from madrnet_timm.training.run_checks import check

    config, seeds = from_arguments(args), sorted(set(args.seeds))
    names = list(dict.fromkeys(("full", *(name for study in args.study for name in STUDIES[study]))))
    for name in names:  # before the first is trained
        check(SETTINGS[name].changed(config))
    for name in names:
        print(f"{SETTINGS[name].title}: {args.output / name}", flush=True)
        print(cross_validate(SETTINGS[name].changed(replace(config, output=args.output / name)), seeds), flush=True)
    for study in args.study:
        print(f"\n{study}\n\n| | accuracy, % | F1 | against MADRNet, points (95 % t) |\n|---|---|---|---|")
        print("\n".join(row(name, args.output) for name in STUDIES[study]))


if __name__ == "__main__":
    run_command(main)
