"""The whole way in about a minute, without any data: ask a published model, draw heads, train, save, load, classify.

python examples/quickstart.py [--output DIR]
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command

PUBLISHED = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/quickstart"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--epochs", type=int, default=24, help="(%(default)s)")
    args = parser.parse_args()

    import timm

    import madrnet_timm  # noqa: F401  registers madrnet_* with timm
    from madrnet_timm.data.synthetic import SHAPES, draw_head
    from madrnet_timm.inference import Classifier, prediction_sheet
    from madrnet_timm.training.loop import train
    from madrnet_timm.training.options import RunOptions
    from madrnet_timm.training.recipe import PRESETS
    from madrnet_timm.training.run_folder import RunFolder

    print(f"1. Ask {PUBLISHED}, trained on real heads of HuSHeM, about a drawn one")
    (answer,) = Classifier(PUBLISHED)([draw_head("Normal", seed=10_000).image])
    print(f"   drawn Normal     predicted {answer.label:<10} {answer.probabilities[answer.label]:.2f}")
    if answer.out_of_domain:
        print(f"   and warns: not stained like its pictures ({', '.join(answer.out_of_domain)})")

    print("2. Train madrnet_resnet18 on drawn heads of four shapes, a fifth of them held out")
    # from scratch and short: a higher rate than for a trained backbone, and no average over the early weights
    changes = {"epochs": args.epochs, "img_size": 64, "lr_backbone": 2e-3, "ema_decay": 0.0}
    recipe = PRESETS["quick"].with_options(changes)
    again = RunFolder(args.output).config.exists()
    options = RunOptions("madrnet_resnet18", "synthetic", args.output, resume=again, recipe=recipe)
    train(options)

    print(f"3. Load {args.output / 'model'} through timm")
    model = timm.create_model(f"local-dir:{args.output / 'model'}", pretrained=True)
    print(f"   {model.pretrained_cfg['architecture']}: {', '.join(model.pretrained_cfg['label_names'])}")

    print("4. Classify heads that it has never seen")
    shapes = [*SHAPES, *SHAPES]
    images = [draw_head(shape, seed=10_000 + number).image for number, shape in enumerate(shapes)]
    classifier = Classifier(args.output / "model")
    predictions = classifier(images)
    for shape, prediction in zip(shapes, predictions, strict=True):
        print(f"   drawn {shape:<10} predicted {prediction.label:<10} {prediction.probabilities[prediction.label]:.2f}")
    prediction_sheet(images, predictions, classifier.pipeline, args.output / "heads.png")
    print(f"Everything of the run lies in {args.output}; look at heads.png and learning_curves.png")


if __name__ == "__main__":
    run_command(main)
