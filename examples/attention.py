"""Fig. 4 without picking pictures: Grad-CAM++ of all held-out heads of a cross-validation, averaged by class.

    python examples/attention.py runs/hushem --output attention.png
    madrnet explain head.png --model runs/hushem/seed0-fold0/model --output attention      # one head

Heads lie centred and upright, so that their maps can be averaged: behind the backbone, behind R and in P, each of the
class that the model of that fold says, beside the mean picture of each class; the line is where half of its heads end.
Of each map it is said how much of its heat lies on the head, of each class how much of the picture the head takes up.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from madrnet_timm.training.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of examples/cross_validate.py")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="PNG file")
    args = parser.parse_args()

    import numpy as np
    import torch
    from matplotlib.figure import Figure
    from tqdm import tqdm

    from madrnet_timm.data.sources import class_names, pictures
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import replacing
    from madrnet_timm.inference import Classifier
    from madrnet_timm.inference.explain import STAGES
    from madrnet_timm.inference.gradcam import mirrored_attention_maps
    from madrnet_timm.morphology import measure
    from madrnet_timm.training.cross_validation import held_out_predictions
    from madrnet_timm.training.loop import divided_records
    from madrnet_timm.training.options import RunOptions
    from madrnet_timm.training.run_folder import RunFolder

    held_out = held_out_predictions(args.run)
    folds = sorted({row["fold"] for row in held_out if row["seed"] == args.seed})
    if not folds:
        raise InputError(f"--seed {args.seed}: {args.run} has the seeds {sorted({row['seed'] for row in held_out})}")
    views, masks, heat = defaultdict(list), defaultdict(list), defaultdict(list)
    for fold in tqdm(folds, desc="folds"):
        folder = args.run / f"seed{args.seed}-fold{fold}"
        classifier = Classifier(folder / "model")
        if classifier.pipeline == "raw":
            raise InputError(f"{args.run}: heads of the pipeline raw are not aligned, and their mean says nothing")
        records, divided, _ = divided_records(RunOptions.from_config(RunFolder(folder).options(), folder))
        records = records.select(np.flatnonzero(divided == fold))
        prepared = [classifier.prepare(image).view for image in pictures(records)]
        names = class_names(records)
        for start in range(0, len(prepared), 16):
            batch = prepared[start : start + 16]
            try:
                maps = mirrored_attention_maps(classifier.model, torch.from_numpy(classifier.normalized(batch)))
            except ValueError as error:
                raise InputError(f"{folder}: {error}") from None
            for index, (view, label) in enumerate(zip(batch, records["label"][start : start + 16], strict=True)):
                views[names[label]].append(view)
                masks[names[label]].append(measure(view).mask)
                for stage, batch_maps in maps.items():
                    heat[stage, names[label]].append(batch_maps[index].numpy())

    stages = [stage for stage in STAGES if any(key[0] == stage for key in heat)]
    figure = Figure(figsize=(2.2 * (1 + len(stages)), 2.45 * len(names) + 0.3), layout="constrained")
    grid = figure.subplots(len(names), 1 + len(stages), squeeze=False)
    print("class      pictures  head, % of the picture  heat on it, %: " + ", ".join(STAGES[stage] for stage in stages))
    for row, name in zip(grid, names, strict=True):
        heads = np.array(masks[name])
        row[0].imshow(np.mean(views[name], axis=0) / 255)
        row[0].set_title(f"{name} ({len(heads)}): {100 * heads.mean():.0f} %", fontsize=9)
        shares = []
        for axes, stage in zip(row[1:], stages, strict=True):
            cams = np.array(heat[stage, name])
            shares.append(100 * (cams * heads).sum() / max(cams.sum(), 1e-12))
            axes.imshow(cams.mean(axis=0), vmin=0, cmap="viridis")
            axes.set_title(f"{STAGES[stage]}: {shares[-1]:.0f} % on the head", fontsize=9)
        for axes in row:
            axes.contour(heads.mean(axis=0), levels=[0.5], colors="white", linewidths=1)
            axes.axis("off")
        cells = ", ".join(f"{share:.1f}" for share in shares)
        print(f"{name:10} {len(heads):8}  {100 * heads.mean():22.1f}  {cells}")
    figure.supxlabel(
        "Mean Grad-CAM++ of held-out heads. Research use only; not a medical device", fontsize=8, color="gray"
    )
    with replacing(args.output) as beside:
        figure.savefig(beside, dpi=90, format="png")


if __name__ == "__main__":
    run_command(main)
