"""A cross-validation's models on their held-out images, fed by timm's own transform instead of their pipeline.

    python -m examples.studies.timm_transform runs/mixed --output runs/mixed-timm.csv

The transform is `timm.data.create_transform(**timm.data.resolve_model_data_config(model))`: the whole image as it lies,
resized and cropped. Each fold is predicted by the model that never saw its images. The table has a row per held-out
image: seed, fold, file, label, prediction, probabilities.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_chosen_seeds


def probabilities(folder: Path, images: Iterable[Any], classes: Sequence[str]) -> Any:
    """What a model says of images that timm's transform prepares, ``(images, classes)``."""
    import timm
    import torch
    from PIL import Image

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    order = [model.pretrained_cfg["label_names"].index(name) for name in classes]
    with torch.inference_mode():
        logits = model(torch.stack([transform(Image.fromarray(image)) for image in images]))
    return logits.softmax(dim=1).double().numpy()[:, order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of madrnet cross-validate")
    add_chosen_seeds(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    args = parser.parse_args()

    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.training.ensemble import Ensemble

    check_table_name(args.output)
    if args.run.is_file():
        raise InputError(f"{args.run}: a table; expected the output of madrnet cross-validate, which has the models")
    ensemble = Ensemble([args.run], args.seeds)
    ensemble.replace_with(probabilities)
    rows = ensemble.rows()
    print(summary_table(summarize_predictions(rows, ensemble.names)))
    write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
