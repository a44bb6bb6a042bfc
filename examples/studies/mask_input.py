"""Does the measured head mask help as a fourth channel of the network's input?

The backbone's stem gets a fourth channel with weights of zero, so that training begins with the same network; the mask
is aligned, turned and moved as its image is. The script replaces parts of the package of this commit while it runs::

    python -m examples.studies.mask_input HuSHeM runs/hushem-mask 0 1
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from madrnet_timm.data import images
from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
from madrnet_timm.files import write_table
from madrnet_timm.morphology import align, measure
from madrnet_timm.training import setup
from madrnet_timm.training.division import divide
from madrnet_timm.training.recipe import PRESETS
from madrnet_timm.training.run_config import RunConfig

from .suspect_labels import held_out_rows

own_prepare, own_item, own_init = images.prepare, images.ImageDataset.__getitem__, images.ImageDataset.__init__
own_cost, own_config = setup.cost_of, setup._data_config


def prepare(image, pipeline, size, crop=1.0, morphology=None):
    """The views of `madrnet_timm.data.pipelines`, and ``mask``: white where the head is."""
    morphology = morphology or measure(image)
    if pipeline != "mask":
        return own_prepare(image, pipeline, size, crop, morphology)
    drawn = np.where(morphology.mask[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    dark = align(drawn, morphology, size, keep="all", reference=False).astype(np.int64).mean(axis=2) < 100
    return np.repeat(dark.astype(np.uint8)[..., None] * 255, 3, axis=2)


def with_mask(self, records, pipeline, size, crop_pct=1.0, augmentation="none", seed=0, others=(), mixed=()):
    own_init(self, records, pipeline, size, crop_pct, augmentation, seed, [*others, ("mask", 1.0)], mixed)


def item(self, index):
    found = own_item(self, index)
    mask = found.pop("others")[0].float().mean(dim=0, keepdim=True)
    found["image"] = torch.cat([found["image"], torch.where(mask > mask.max() / 2, 255, 0).to(torch.uint8)])
    return found


def cost(model, size):
    """Called once the model is built: the place to give its stem a channel more."""
    found, stem = own_cost(model, size), model.backbone.conv_stem
    stem.weight = torch.nn.Parameter(torch.cat([stem.weight.data, torch.zeros_like(stem.weight.data[:, :1])], dim=1))
    stem.in_channels = 4
    return found


def config_of(model, config):
    found = dict(own_config(model, config))
    return found | {"mean": (*found["mean"], 0.0), "std": (*found["std"], 1.0)}


def main():
    data_dir, out, seeds = Path(sys.argv[1]), Path(sys.argv[2]), [int(seed) for seed in sys.argv[3:]]
    out.mkdir(parents=True, exist_ok=True)
    images.prepare, images.ImageDataset.__init__, images.ImageDataset.__getitem__ = prepare, with_mask, item
    setup.cost_of, setup._data_config = cost, config_of
    options = {"epochs": 40, "pipeline": "head-and-neck", "augmentation": "varied"}
    config = RunConfig(
        "madrnet_tf_efficientnet_lite0", "hushem", out, data_dir,
        weights="madrnet_tf_efficientnet_lite0.smids_both", recipe=PRESETS["quick"].with_options(options),
    )  # fmt: skip
    rows = []
    for seed, fold in ((seed, fold) for seed in seeds for fold in range(5)):
        one = replace(config, seed=seed, fold=fold)
        rows += held_out_rows(one, divide(one), out / f"seed{seed}-fold{fold}.csv")
    print(summary_table(summarize_predictions(rows, ["Normal", "Tapered", "Pyriform", "Amorphous"])))
    write_table(out / "mask.csv", rows)


if __name__ == "__main__":
    main()
