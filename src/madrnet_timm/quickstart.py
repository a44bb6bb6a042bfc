"""The whole way without any data: ask a trained model about a head, draw heads, train, save, load, classify."""

from collections import Counter
from pathlib import Path

import timm

from .data.pages import pages_of
from .data.scale import SlideScale
from .data.synthetic import SHAPES, draw_head
from .data.synthetic_field import FieldHead, FieldStyle, draw_field
from .errors import InputError
from .files import write_image
from .inference import Classifier, contact_sheet
from .inference.class_marks import class_marks
from .inference.field_images import FieldImages
from .inference.predict import Options, predict_pages
from .inference.report import write_report
from .inference.results import read_results, write_results
from .training.recipe import PRESETS
from .training.run_config import RunConfig
from .training.run_folder import RunFolder
from .training.train import train

__all__ = ["quickstart", "quickstart_config"]

_PUBLISHED = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"
_MODEL = "madrnet_test_resnet"
"""Around timm's smallest ResNet: 0.75 million parameters, for which a minute or two is enough."""


def quickstart_config(output: Path, epochs: int, seed: int = 0) -> RunConfig:
    """The quickstart's training.

    From random weights in a short time: a small network, so that many steps fit in; a higher learning rate than for a
    trained backbone; no average over the early weights.
    """
    changes = {"epochs": epochs, "img_size": 96, "augmentation": "light", "lr_backbone": 2e-3, "ema_decay": 0.0}
    recipe = PRESETS["quick"].with_options(changes)
    return RunConfig(_MODEL, "synthetic", output, seed=seed, resume=RunFolder(output).config.exists(), recipe=recipe)


def quickstart(output: Path, epochs: int) -> None:
    """Go through every step and print what comes of it.

    Args:
        output: Run folder. A run that lies there with the same config is continued.
        epochs: Passes over the drawn heads.

    Raises:
        InputError: A run with another config lies in ``output``.
    """
    print(f"1. Ask {_PUBLISHED}, trained on real heads of HuSHeM, about a drawn one")
    _ask_published()
    print(f"2. Train {_MODEL}, a small network, on drawn heads of four shapes, a fifth of them held out")
    metrics = train(quickstart_config(output, epochs))
    print(f"   right on {100 * metrics.accuracy:.0f} % of the heads held out")
    print(f"3. Load {output / 'model'} through timm")
    model = timm.create_model(f"local-dir:{output / 'model'}", pretrained=True)
    print(f"   {model.pretrained_cfg['architecture']}: {', '.join(model.pretrained_cfg['label_names'])}")
    print("4. Classify heads that it has never seen")
    classifier = Classifier(output / "model")
    _classify(classifier, output / "heads.png")
    print("5. Find, classify and count the heads of a drawn field of view")
    _find(classifier, output / "field.png")
    print(f"The run is in {output}; look at heads.png, field-heads.png and field.html")


def _ask_published() -> None:
    try:
        classifier = Classifier(_PUBLISHED)
    except InputError as error:
        print(f"   left out: {error}")
        return
    (answer,) = classifier([draw_head("Normal", seed=10_000).image])
    print(f"   drawn Normal     predicted {answer.label:<10} {answer.probabilities[answer.label]:.2f}")
    if answer.out_of_domain:
        print(f"   and warns: unlike its training images in {', '.join(answer.out_of_domain)}")


def _classify(classifier: Classifier, sheet: Path) -> None:
    shapes = [*SHAPES, *SHAPES]
    images = [draw_head(shape, seed=10_000 + number).image for number, shape in enumerate(shapes)]
    predictions = classifier(images)
    for shape, prediction in zip(shapes, predictions, strict=True):
        print(f"   drawn {shape:<10} predicted {prediction.label:<10} {prediction.probabilities[prediction.label]:.2f}")
    contact_sheet(images, predictions, classifier.pipeline, sheet)


def _find(classifier: Classifier, image: Path) -> None:
    """What `madrnet predict --overlay` and `madrnet report` do with a field."""
    field = draw_field(10_000, (900, 720), heads=10, touching=1, at_border=1, style=FieldStyle("rose", head_length=48))
    write_image(image, field.image)
    table, info = image.with_suffix(".csv"), classifier.folder.info
    marks = class_marks(classifier.label_names, info.normal_class, info.no_head_class)
    pages = pages_of([image])
    overlay = FieldImages({image: f"{image.stem}-heads.png"}, marks, overlay=image.parent)
    found = predict_pages(pages, classifier, Options(SlideScale.of(pages, None, "field"), "field", images=overlay))
    write_results(table, found, classifier)
    write_report([read_results(table)], table.with_suffix(".html"), classifier=classifier)

    counted = [row for row in found.rows if row["counted"]]
    drawn = [_head_at(field.heads, row["center_x"], row["center_y"]) for row in counted]
    right = sum(head is not None and head.shape == row["prediction"] for head, row in zip(drawn, counted, strict=True))
    whole = sum(not head.touches_border for head in field.heads)
    print(
        f"   found {len({id(head) for head in drawn if head})} of {whole} whole heads, {right} of them with their class"
    )
    classes = Counter(row["prediction"] for row in counted)
    print("   " + ", ".join(f"{name} {classes[name]}" for name in classifier.label_names), end="; ")
    print(f"at the border and not counted: {len(found.rows) - len(counted)}")


def _head_at(heads: tuple[FieldHead, ...], x: float, y: float) -> FieldHead | None:
    return next((head for head in heads if head.mask[round(y), round(x)]), None)
