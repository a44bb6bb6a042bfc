"""The whole way in about a minute, without any data: ask a published model, draw heads, train, save, load, classify."""

from pathlib import Path

import timm

from .data.synthetic import SHAPES, draw_head
from .inference import Classifier, prediction_sheet
from .training.loop import train
from .training.recipe import PRESETS
from .training.run_config import RunConfig
from .training.run_folder import RunFolder

__all__ = ["quickstart"]

PUBLISHED = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"


def quickstart(output: Path, epochs: int = 24) -> None:
    """Go through every step and print what comes of it.

    Args:
        output: Run folder. A run that lies there with the same options is continued.
        epochs: Passes over the drawn heads.

    Raises:
        InputError: A run with other options lies in ``output``.
    """
    print(f"1. Ask {PUBLISHED}, trained on real heads of HuSHeM, about a drawn one")
    _ask_published()
    print("2. Train madrnet_resnet18 on drawn heads of four shapes, a fifth of them held out")
    _train(output, epochs)
    print(f"3. Load {output / 'model'} through timm")
    model = timm.create_model(f"local-dir:{output / 'model'}", pretrained=True)
    print(f"   {model.pretrained_cfg['architecture']}: {', '.join(model.pretrained_cfg['label_names'])}")
    print("4. Classify heads that it has never seen")
    _classify(output)
    print(f"Everything of the run lies in {output}; look at heads.png and learning_curves.png")


def _ask_published() -> None:
    (answer,) = Classifier(PUBLISHED)([draw_head("Normal", seed=10_000).image])
    print(f"   drawn Normal     predicted {answer.label:<10} {answer.probabilities[answer.label]:.2f}")
    if answer.out_of_domain:
        print(f"   and warns: not stained like its pictures ({', '.join(answer.out_of_domain)})")


def _train(output: Path, epochs: int) -> None:
    # from scratch and short: a higher rate than for a trained backbone, and no average over the early weights
    changes = {"epochs": epochs, "img_size": 64, "lr_backbone": 2e-3, "ema_decay": 0.0}
    recipe = PRESETS["quick"].with_options(changes)
    begun = RunFolder(output).config.exists()
    train(RunConfig("madrnet_resnet18", "synthetic", output, resume=begun, recipe=recipe))


def _classify(output: Path) -> None:
    shapes = [*SHAPES, *SHAPES]
    images = [draw_head(shape, seed=10_000 + number).image for number, shape in enumerate(shapes)]
    classifier = Classifier(output / "model")
    predictions = classifier(images)
    for shape, prediction in zip(shapes, predictions, strict=True):
        print(f"   drawn {shape:<10} predicted {prediction.label:<10} {prediction.probabilities[prediction.label]:.2f}")
    prediction_sheet(images, predictions, classifier.pipeline, output / "heads.png")
