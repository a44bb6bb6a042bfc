"""Fine-tune a model that knows heads already on your own crops, and measure it on a fifth of them.

    python examples/finetune.py my_crops --output runs/tuned

my_crops holds one folder per class; a class called Normal switches the aspect ratio constraint on.
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command
from madrnet_timm.hub.lookup import find_model
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training.recipe import PRESETS
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, metavar="DIR")
    parser.add_argument("--weights", default="madrnet_tf_efficientnet_lite0.smids_ft_hushem", help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/tuned"), help="(%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="(%(default)s)")
    args = parser.parse_args()

    model = ModelFolder(find_model(args.weights))
    recipe = PRESETS["quick"].with_options(
        {"epochs": args.epochs, "pipeline": model.pipeline, "img_size": model.data_config["input_size"][-1]}
    )
    config = RunConfig(
        model.architecture, "folder", args.output, data_dir=args.data_dir, weights=args.weights, recipe=recipe
    )
    metrics = train(config)
    print(f"accuracy on the fold held out: {metrics.accuracy:.3f}")
    for name, accuracy in metrics.controls.items():
        print(f"control, {name}: {accuracy:.3f}")
    print(f"classify with it: madrnet predict {args.data_dir} --model {args.output / 'model'}")


if __name__ == "__main__":
    run_command(main)
