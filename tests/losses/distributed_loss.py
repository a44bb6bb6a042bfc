"""Two gloo processes with half a batch each against one process with the whole.

Started by `test_losses.py` with torch.distributed.run; prints the differences as JSON.
"""

import copy
import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from madrnet_timm.losses import HybridLoss


class Network(nn.Module):
    """Logits and embedding, as MADRNet gives them in training."""

    def __init__(self):
        super().__init__()
        self.embed, self.classify = nn.Linear(7, 5), nn.Linear(5, 4)

    def forward(self, x):
        embedding = self.embed(x).tanh()
        return self.classify(embedding), embedding


def main():
    torch.manual_seed(0)
    network, loss = Network().double(), HybridLoss(4, 0)
    x, target = torch.randn(64, 7, dtype=torch.float64), torch.randint(0, 4, (64,))
    ratio = torch.rand(64, dtype=torch.float64) * 2 + 0.5
    whole = copy.deepcopy(network)
    expected, expected_parts = loss(*whole(x), target, ratio)
    expected.backward()

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    mine = slice(32 * rank, 32 * rank + 32)
    parallel = DistributedDataParallel(network)
    total, parts = loss(*parallel(x[mine]), target[mine], ratio[mine])
    total.backward()
    mean = total.detach().clone()
    dist.all_reduce(mean)
    out = {
        "triplet": float((parts["triplet"] - expected_parts["triplet"]).abs()),
        "loss": float((mean / 2 - expected).abs()),
        "gradient": max(
            float((a.grad - b.grad).abs().max()) for a, b in zip(network.parameters(), whole.parameters(), strict=True)
        ),
    }
    if rank == 0:
        json.dump(out, sys.stdout)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
