"""``madrnet prepare``: images as a network sees them, for other programs."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..errors import InputError
from ..progress import progress
from .arguments import add_images, add_model, make_image_folder, report_skipped

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    prepare = verbs.add_parser(
        "prepare",
        help=VERBS["prepare"],
        description="Write each image as it is prepared for a model, by its pipeline and in its size, before mean and "
        "std: what a program needs that has the ONNX file of `madrnet export` alone.",
        epilog="Exit status: 0; 1 if some images could not be read (the others are prepared); 2 after a mistake in the "
        "arguments. Example: madrnet prepare crops/ --model runs/crops/model --output prepared",
    )
    add_images(prepare)
    add_model(prepare)
    prepare.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the prepared images")
    prepare.add_argument(
        "--format",
        default="png",
        choices=("png", "npy"),
        help="npy: NumPy arrays (height, width, 3) uint8, for programs that can't read PNG (%(default)s)",
    )
    prepare.set_defaults(verb=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from ..data.kinds import head_of_crop
    from ..data.pages import page_name, pages_of, read_page
    from ..data.reading import image_files, names_below
    from ..files import reporting_disk_errors, write_array, write_image
    from ..hub.lookup import find_model
    from ..hub.model_folder import ModelFolder
    from ..inference.transform import transforms_of

    paths = image_files(args.images)
    folder = ModelFolder(find_model(args.model))
    first, *others = transforms_of(folder)
    transforms = {"": first} | {f".{other.pipeline}": other for other in others}  # by what their files are told by
    make_image_folder(args.output, "--output", args.images)
    write = write_image if args.format == "png" else write_array
    pages, names = pages_of(paths), dict(zip(paths, names_below(paths), strict=True))
    failures = []
    for page in progress(pages, len(pages), "preparing", "image", shown_from=100):
        name = page_name(names[page.path], page)
        try:
            image = read_page(page, crop=True)
            head = head_of_crop(image, name=str(page))
            views = {kind: transform.view(image, head) for kind, transform in transforms.items()}
        except InputError as error:
            failures.append(str(error))
            continue
        for kind, view in views.items():
            target = args.output / f"{name.removesuffix('.png')}{kind}.{args.format}"
            with reporting_disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            write(target, view)
    if len(failures) < len(pages):
        size = f"{first.size}×{first.size}"
        count = len(pages) - len(failures)
        images = "1 image" if count == 1 else f"{count} images"
        print(f"{args.output}: {images} of {size} pixels, pipeline {first.pipeline}")
        for other in others:
            print(f"beside each its view by the pipeline {other.pipeline}: the model takes the mean of the two")
    return report_skipped(failures)
