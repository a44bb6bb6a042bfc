"""``madrnet tsne``: the embeddings of a data set."""

import argparse
import sys
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..progress import progress
from .arguments import add_model
from .data_arguments import add_data_arguments, settle_dataset

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    points = verbs.add_parser(
        "tsne",
        help=VERBS["tsne"],
        description="t-SNE of the embeddings of a data set. The images that the model was trained on are pale.",
        epilog="Example: madrnet tsne --data-dir HuSHeM --model runs/hushem/seed0-fold0 --output tsne.png",
    )
    add_data_arguments(points)
    add_model(points)
    points.add_argument("--output", type=Path, required=True, metavar="PNG")
    points.set_defaults(verb=_tsne)


def _tsne(args: argparse.Namespace) -> int:
    import torch

    from ..data.sources import class_names, images_of, load
    from ..files import check_output
    from ..inference import Classifier
    from ..inference.explain import embed, tsne, tsne_figure
    from ..morphology import measure
    from ..training.leakage import seen_by

    check_output(args.output)
    settle_dataset(args)
    records = load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable)
    classifier = Classifier(args.model)
    images = progress(images_of(records), len(records), "preparing", "image", shown_from=100)
    # crops, as every data set holds them, also where they look like a field
    views = [classifier.prepare(image, head=measure(image)).view for image in images]
    points = tsne(embed(classifier.model, torch.from_numpy(classifier.normalized(views))))
    shown, trained_on = records["pixel_sha256"], None
    seen = seen_by(classifier.folder.path, args.dataset, shown)
    if len(seen) < len(set(shown)):
        trained_on = [pixels in seen for pixels in shown]
    else:
        print(
            f"note: {args.model} was trained on all of these images; what it has seen lies apart by itself",
            file=sys.stderr,
        )
    tsne_figure(points, records["label"], class_names(records), args.output, trained_on)
    print(f"{args.output}: t-SNE of {len(views)} images")
    return 0
