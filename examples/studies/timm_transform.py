"""A cross-validation's models on their held-out images, fed by timm's own transform instead of their pipeline.

    python -m examples.studies.timm_transform runs/mixed --output runs/mixed-timm.csv

The transform is `timm.data.create_transform(**timm.data.resolve_model_data_config(model))`: the whole image as it lies,
resized and cropped. Each fold is predicted by the model that never saw its images. The table has a row per held-out
image: seed, fold, file, label, prediction, probabilities.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command

from .held_out import predict_held_out


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
    predict_held_out(__doc__, probabilities)


if __name__ == "__main__":
    run_command(main)
