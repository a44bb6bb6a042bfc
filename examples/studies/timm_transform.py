"""A cross-validation's models on their held-out images, fed by timm's own transform instead of their pipeline.

    python -m examples.studies.timm_transform runs/mixed --output runs/mixed-timm.csv

The transform is `timm.data.create_transform(**timm.data.resolve_model_data_config(model))`: the whole image as it lies,
resized and cropped. Each fold is predicted by the model that never saw its images. The table has a row per held-out
image: seed, fold, file, label, prediction, probabilities.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_chosen_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of madrnet cross-validate")
    add_chosen_seeds(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    args = parser.parse_args()

    import numpy as np
    import timm
    import torch
    from PIL import Image
    from tqdm import tqdm

    from madrnet_timm.data.sources import class_names, images_of
    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.training.stored import cross_validated_config, held_out_predictions

    check_table_name(args.output)
    options = cross_validated_config(args.run)
    places = sorted({(row["seed"], row["fold"]) for row in held_out_predictions(args.run, args.seeds)})
    rows: list[dict[str, Any]] = []
    for seed, fold in tqdm(places, desc="predicting", disable=None):
        records, folds, _ = replace(options, seed=seed).divided_records()
        held_out, names = records.select(np.flatnonzero(folds == fold)), class_names(records)
        folder = args.run / f"seed{seed}-fold{fold}" / "model"
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        images = torch.stack([transform(Image.fromarray(image)) for image in images_of(held_out)])
        with torch.inference_mode():
            probabilities = model(images).softmax(dim=1).double().numpy()
        for file, label, row in zip(held_out["file"], held_out["label"], probabilities, strict=True):
            found = {"seed": seed, "fold": fold, "file": file, "label": names[label]}
            found["prediction"] = names[int(row.argmax())]
            rows.append(found | {f"p_{name}": round(float(p), 6) for name, p in zip(names, row, strict=True)})
    print(summary_table(summarize_predictions(rows, names)))
    write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
