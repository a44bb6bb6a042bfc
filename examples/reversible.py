"""The reversible engine in a network of your own: many couplings, and activations for hardly any of them.

python examples/reversible.py
"""

import numpy as np
import torch
from torch import nn

from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.models import ReversibleSequence


class Network(nn.Module):
    """A stem, couplings of two streams, and a classifier."""

    def __init__(self, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * width, 4, stride=4)
        self.body = ReversibleSequence([(half(width), half(width)) for _ in range(depth)])
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        streams = self.body(*self.stem(x).chunk(2, dim=1))
        return self.head(torch.cat(streams, dim=1).mean(dim=(2, 3)))


def half(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU())


def step(network: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    """Megabytes that one forward pass keeps for the backward pass, and the gradients."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(network(x), labels)
    return sum(kept.values()) / 1e6, list(torch.autograd.grad(loss, list(network.parameters())))


def main() -> None:
    network = Network(len(SHAPES), width=16, depth=24)
    heads = np.stack([draw_head(shape, seed).image for seed, shape in enumerate([*SHAPES] * 2)])
    x, labels = torch.from_numpy(heads).permute(0, 3, 1, 2) / 255, torch.arange(len(heads)) % len(SHAPES)
    found = {}
    for memory in ("plain", "reversible"):
        network.body.memory = memory
        found[memory] = step(network, x, labels)
        print(f"{memory}: {found[memory][0]:.1f} MB kept for the backward pass")
    plain, rebuilt = (torch.cat([gradient.flatten() for gradient in found[memory][1]]) for memory in found)
    print(f"gradients differ by at most {float((plain - rebuilt).abs().max() / plain.abs().max()):.1e} of the largest")


if __name__ == "__main__":
    main()
