"""``madrnet explain``: what a model looks at."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..errors import InputError
from ..progress import progress
from .arguments import add_images, add_model, make_image_folder, report_skipped, say_found

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    explain = verbs.add_parser(
        "explain",
        help=VERBS["explain"],
        description="Grad-CAM++ of the predicted class after the backbone, after R and in P; one PNG file per image.",
        epilog="Example: madrnet explain crops/ --model runs/crops/model --output maps",
    )
    add_images(explain)
    add_model(explain)
    explain.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the images")
    explain.set_defaults(verb=_explain)


def _explain(args: argparse.Namespace) -> int:
    from ..data.pages import page_name, pages_of, read_page
    from ..data.reading import image_files, names_below
    from ..files import reporting_disk_errors
    from ..inference import Classifier
    from ..inference.explain import attention_figure, attention_overlays

    paths = image_files(args.images)
    classifier = Classifier(args.model)
    make_image_folder(args.output, "--output", args.images)
    pages, names = pages_of(paths), dict(zip(paths, names_below(paths), strict=True))
    say_found(args.images, paths, len(pages))
    failures = []
    for page in progress(pages, len(pages), "explaining", "image", shown_from=5):
        name = page_name(names[page.path], page)
        try:
            prepared = [classifier.prepare(read_page(page, crop=True), name=str(page))]
        except InputError as error:
            failures.append(str(error))
            continue
        overlays = attention_overlays(classifier, prepared)
        with reporting_disk_errors(args.output / name):
            (args.output / name).parent.mkdir(parents=True, exist_ok=True)
        attention_figure(prepared, classifier.predict(prepared), overlays, args.output / name)
    if len(failures) < len(pages):
        print(f"{args.output}: attention maps of {len(pages) - len(failures)} of {len(pages)} images")
    return report_skipped(failures)
