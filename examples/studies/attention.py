"""Fig. 4 without picking images: Grad-CAM++ of all held-out heads of one seed, averaged by class.

    python -m examples.studies.attention runs/hushem --output attention.png
    madrnet explain head.png --model runs/hushem/seed0-fold0/model --output attention      # one head

Heads lie centred and upright, so that their maps can be averaged: after the backbone, after R and in P, each of the
class that the model of that fold says, beside the mean image of the class; the line is where half of its heads end.
The maps of P are signed, and Grad-CAM++ may leave nothing of them: each mean says of how many maps it is. Heads that
can't be measured are left out, since they are not aligned.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from madrnet_timm.command import run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def attention_figure(
    views: Mapping[str, list[Any]], masks: Mapping[str, list[Any]], heat: Mapping[tuple[str, str], list[Any]]
) -> "Figure":
    """One row per class: its mean head and, stage by stage, its mean map; says how many of each there are.

    Args:
        views: Aligned heads of each class, uint8 (height, width, 3).
        masks: The measured masks of these heads, bool (height, width).
        heat: By stage and class, the maps of these heads, (height, width).
    """
    import numpy as np
    from matplotlib.figure import Figure

    from madrnet_timm.inference.explain import STAGES

    stages = [stage for stage in STAGES if any(key[0] == stage for key in heat)]
    shown = [name for name, heads in views.items() if heads]
    figure = Figure(figsize=(2.2 * (1 + len(stages)) + 0.6, 2.45 * len(shown) + 0.3), layout="constrained")
    grid = figure.subplots(len(shown), 1 + len(stages), squeeze=False)
    for row, name in zip(grid, shown, strict=True):
        row[0].imshow(np.mean(views[name], axis=0) / 255)
        row[0].set_title(f"{name} ({len(views[name])})", fontsize=9)
        counts = []
        for axes, stage in zip(row[1:], stages, strict=True):
            maps = [cam for cam in heat[stage, name] if cam.any()]
            counts.append(f"{STAGES[stage]} {len(maps)}")
            drawn = axes.imshow(np.mean(maps, axis=0) if maps else 0 * masks[name][0], vmin=0, vmax=1, cmap="viridis")
            axes.set_title(f"{STAGES[stage]} ({len(maps)})", fontsize=9)
        for axes in row:
            axes.contour(np.mean(masks[name], axis=0), levels=[0.5], colors="white", linewidths=1)
            axes.axis("off")
        print(f"{name}: {len(views[name])} heads; maps: {', '.join(counts)}")
    figure.colorbar(drawn, ax=grid[:, -1], shrink=0.5)
    note = "Mean Grad-CAM++, as coarse as the network's last map. Research use only; not a medical device"
    figure.supxlabel(note, fontsize=8, color="gray")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of madrnet cross-validate")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="PNG file")
    args = parser.parse_args()

    import numpy as np
    import torch
    from tqdm import tqdm

    from madrnet_timm.data.sources import class_names, images_of
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import replacing
    from madrnet_timm.inference import Classifier
    from madrnet_timm.inference.gradcam import attention_maps
    from madrnet_timm.morphology import measure
    from madrnet_timm.training.stored import cross_validated_config, held_out_predictions

    rows = held_out_predictions(args.run)
    if args.seed not in {row["seed"] for row in rows}:
        raise InputError(f"--seed {args.seed}: {args.run} has the seeds {sorted({row['seed'] for row in rows})}")
    config = replace(cross_validated_config(args.run), seed=args.seed)
    if config.recipe.pipeline == "raw":
        raise InputError(f"{args.run}: heads of the pipeline raw are not aligned, and their mean says nothing")
    if not config.model.startswith("madrnet_"):
        raise InputError(f"{args.run}: {config.model} has no R and no P; expected a madrnet_*")
    records, folds, _ = config.divided_records()
    names, labels = class_names(records), np.array(records["label"])
    images = list(images_of(records))
    views: dict[str, list[Any]] = {name: [] for name in names}  # in the order of the classes
    masks: dict[str, list[Any]] = defaultdict(list)
    heat: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for fold in tqdm(np.unique(folds), desc="folds", disable=None):
        classifier = Classifier(args.run / f"seed{args.seed}-fold{fold}" / "model")
        for label, name in enumerate(names):
            found = [images[i] for i in np.flatnonzero((folds == fold) & (labels == label))]
            prepared = [classifier.prepare(image, head=measure(image)) for image in found]
            batch = [item.view for item in prepared if item.head.center is not None]
            if batch:
                views[name] += batch
                masks[name] += [measure(view).mask for view in batch]
                for stage, cams in attention_maps(
                    classifier.model, torch.from_numpy(classifier.normalized(batch))
                ).items():
                    heat[stage, name] += list(cams.numpy())
    if not any(views.values()):
        raise InputError(f"{args.run}: none of its heads can be measured, so that none is aligned")
    figure = attention_figure(views, masks, heat)
    with replacing(args.output) as beside:
        figure.savefig(beside, dpi=80, format="png")


if __name__ == "__main__":
    run_command(main)
