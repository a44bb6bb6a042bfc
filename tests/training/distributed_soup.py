"""A soup of two trainings by two gloo processes: what each has for batch statistics, and what is kept.

Started by `test_soup.py` with torch.distributed.run; prints the differences as JSON.
"""

import json
import os
import sys
from pathlib import Path

import torch

from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training import soup
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.train import train


def statistics(model: torch.nn.Module) -> torch.Tensor:
    """All running means and variances, one after the other."""
    return torch.cat([value.flatten() for name, value in model.named_buffers() if "running" in name])


def main() -> None:
    output, heads = map(Path, sys.argv[1:])
    update_bn, add = soup.update_bn, soup.Soup.add
    own, found = [], {}

    def noted_update(batches, model):
        update_bn(batches, model)
        own.append(statistics(model).clone())

    def noted_add(self, model, epoch):
        add(self, model, epoch)
        if own:
            first, second = self._setup.accelerator.gather(own[0][None])
            found["numbers"] = len(first)
            found["between processes"] = float((first - second).abs().max())
            found["to their mean"] = float((statistics(self.mean.module) - (first + second) / 2).abs().max())

    soup.update_bn, soup.Soup.add = noted_update, noted_add
    recipe = Recipe(epochs=1, soup=2, img_size=48, batch_size=2)
    train(RunConfig("madrnet_test_resnet", "folder", output, heads, folds=2, recipe=recipe))
    if int(os.environ["RANK"]) == 0:
        kept = statistics(ModelFolder(output / "model").load())
        print(json.dumps(found | {"kept": len(kept)}))


if __name__ == "__main__":
    main()
