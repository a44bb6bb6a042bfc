"""Train a cross-validated recipe on all images and write the model that is published, to hub/<name>.

    python -m tools.ship runs/hushem --name madrnet_tf_efficientnet_lite0.hushem

The card quotes the cross-validation, not the final model, which has seen every image. Weights are stored in half
precision, and it is said on how many training images they give the class that the full ones give. With --models
src/madrnet_timm/models/models.yaml the package knows the name and its checksums, and `python -m tools.models` measures
it and writes the tables and cards of hub/ anew. `madrnet publish hub/<name> --repo ...` puts it on the Hub.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from madrnet_timm.command import run_command

if TYPE_CHECKING:
    from madrnet_timm.training.shipping import Shipment

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="output of `madrnet cross-validate`, finished")
    parser.add_argument("--name", required=True, metavar="madrnet_<architecture>.<tag>")
    parser.add_argument("--hub", type=Path, default=ROOT / "hub", metavar="DIR", help="(hub/ of the repository)")
    parser.add_argument(
        "--models", type=Path, metavar="YAML", help="models.yaml of the package, to make the name known"
    )
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="for the card: what else has to be known to judge the figures"
    )
    parser.add_argument(
        "--final", type=Path, metavar="RUN",
        help="a finished run, or a model folder, that was trained on all images (it is trained now, with the options "
        "of the cross-validation)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", default="fp16", choices=("float32", "fp16", "bf16"), help="of the stored weights (%(default)s)"
    )
    parser.add_argument(
        "--base-model", metavar="OWNER/NAME",
        help="repository of the weights that the training began with, if the final model does not say it",
    )  # fmt: skip
    args = parser.parse_args()

    from madrnet_timm.training.shipping import Shipment, ship

    shipment = Shipment(**vars(args))
    target = ship(shipment)
    same, count = same_classes(shipment, target)
    print(
        f"{target}: stored as {args.precision}, which gives the class of the full weights on {same} of {count} images"
    )
    if args.models is not None and args.hub.resolve() == ROOT / "hub":
        # in a process of its own, in which the name is known
        subprocess.run([sys.executable, "-m", "tools.models", "--measure", args.name], cwd=ROOT, check=True)


def same_classes(shipment: "Shipment", target: Path) -> tuple[int, int]:
    """On how many of the training images the stored weights give the class that the full ones give, and of how many."""
    from madrnet_timm.data.sources import images_of, load
    from madrnet_timm.inference import Classifier
    from madrnet_timm.morphology import measure
    from madrnet_timm.progress import progress
    from madrnet_timm.training.stored import cross_validated_config

    config = cross_validated_config(shipment.output)
    records = load(config.dataset, config.data_dir, skip_unreadable=config.skip_unreadable)
    full, stored = Classifier(shipment.final or config.output), Classifier(target)
    images = progress(images_of(records), len(records), "comparing", "image", shown_from=100)
    prepared = [full.prepare(image, head=measure(image)) for image in images]
    first, second = (classifier.answers(prepared).argmax(axis=1) for classifier in (full, stored))
    return int((first == second).sum()), len(prepared)


if __name__ == "__main__":
    run_command(main)
