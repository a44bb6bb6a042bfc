"""Train MADRNet, or any timm model, on one fold and measure it on the pictures held out.

    python examples/train.py                                                        # drawn heads, a minute
    accelerate launch examples/train.py --dataset hushem --data-dir DIR --fold 0    # HuSHeM

The folder of the run gets the options, the history, the predictions and the model folder, which
timm.create_model("local-dir:...") loads after `import madrnet_timm`.
"""

import argparse

from madrnet_timm.command import run_command
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--fold", type=int, default=0, help="number of the fold held out, from 0 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of folds, initialisation, order, changes (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    args = parser.parse_args(argv)

    from accelerate import PartialState

    from madrnet_timm.evaluation.controls import better_control
    from madrnet_timm.training.loop import train

    options = from_arguments(args)
    metrics = train(options)
    controls = ", ".join(f"{name} {value:.3f}" for name, value in metrics["controls"].items())
    show = PartialState().print  # by the first process alone
    show(f"fold {options.fold}: accuracy {metrics['accuracy']:.3f}, F1 {metrics['f1']:.3f}; {options.output}")
    show(f"controls on the same fold: {controls}")
    if hint := better_control(metrics["accuracy"], metrics["controls"]):
        show(hint)


if __name__ == "__main__":
    run_command(main)
