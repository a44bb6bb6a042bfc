"""Weights for EfficientNet-B0 from those of EfficientNet-Lite0, for trainings where B0's own can't be had.

    python -m tools.efficientnet_b0_from_lite0 tf_efficientnet_lite0.in1k.safetensors --output b0.from_lite0.safetensors

Both have the same convolutions and norms. Lite0 lacks squeeze-excite: B0 gets gates that are 1/2 for every channel and
image, and the convolution after each is doubled, so that nothing changes yet. Lite0's activation is ReLU6, B0's SiLU:
train the result on many images before you use it (docs/reproduce.md).
"""

import argparse
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

from madrnet_timm.command import run_command
from madrnet_timm.errors import InputError
from madrnet_timm.files import replacing
from madrnet_timm.hub.weights import check_safetensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lite0", type=Path, help="timm's weights of tf_efficientnet_lite0, safetensors")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights of efficientnet_b0")
    args = parser.parse_args()
    check_safetensors(args.lite0)
    weights = from_lite0(load_file(args.lite0), str(args.lite0))
    with replacing(args.output) as path:
        save_file(weights, path, metadata={"format": "pt"})
    print(args.output)


def from_lite0(lite0: dict[str, torch.Tensor], name: str = "weights") -> dict[str, torch.Tensor]:
    """State of timm's efficientnet_b0 that computes what Lite0 does, but for activation, padding and epsilon.

    Args:
        lite0: State of timm's tf_efficientnet_lite0.
        name: Of its file, for the message.

    Raises:
        InputError: Other weights.
    """
    torch.manual_seed(0)  # of the first layers of squeeze-excite, which come from nowhere else
    weights: dict[str, torch.Tensor] = timm.create_model("efficientnet_b0").state_dict()
    shapes = {key: value.shape for key, value in weights.items() if ".se." not in key}
    if {key: value.shape for key, value in lite0.items()} != shapes:
        raise InputError(f"{name}: expected the weights of timm's tf_efficientnet_lite0")
    weights |= {key: value.clone() for key, value in lite0.items()}
    for key in [key for key in weights if ".se.conv_expand." in key]:
        weights[key] = torch.zeros_like(weights[key])
        if key.endswith("weight"):
            block = key.partition(".se.")[0]
            after = f"{block}.conv_pwl.weight"
            weights[after if after in weights else f"{block}.conv_pw.weight"] *= 2
    return weights


if __name__ == "__main__":
    run_command(main)
