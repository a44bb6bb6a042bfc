"""Classify and measure crops of single heads from Python.

python examples/classify.py crops/*.png
python examples/classify.py crops/*.png --model runs/crops/model
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command
from madrnet_timm.data.reading import read_image
from madrnet_timm.inference import Classifier, contact_sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="one head each, centred")
    parser.add_argument("--model", default="madrnet_tf_efficientnet_lite0.smids_ft_hushem", help="(%(default)s)")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="also draw the images with their predictions")
    args = parser.parse_args()

    classifier = Classifier(args.model)
    predictions = classifier(args.images)  # paths here; bytes, Pillow images and arrays are taken, too
    for path, prediction in zip(args.images, predictions, strict=True):
        probability = prediction.probabilities[prediction.label]
        notes = ["abstains"] if prediction.abstain else []
        notes += [f"unlike the training images in {name}" for name in prediction.out_of_domain]
        shape = f"aspect ratio {prediction.head.aspect_ratio:.2f}" if prediction.head.ok else "not measured"
        print(f"{path}: {prediction.label} {probability:.2f}, {', '.join([shape, *notes])}")
    if args.contact_sheet is not None:
        contact_sheet([read_image(path) for path in args.images], predictions, classifier.pipeline, args.contact_sheet)


if __name__ == "__main__":
    run_command(main)
