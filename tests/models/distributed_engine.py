"""Two gloo processes: gradients of a reversible sequence under DDP and FSDP2 against plain autograd in one process.

Started by `test_reversible.py` with torch.distributed.run; prints the largest relative differences as JSON.
"""

import copy
import json
import sys

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.models.test_reversible import loss_of, sequence, streams

RANKS = 2


def reference(steps):
    """Mean over ranks of the gradients that plain autograd gives, summed over steps."""
    module = sequence(memory="plain", drop=0.0)
    for step in range(steps):
        for rank in range(RANKS):
            (loss_of(module(*streams(seed=10 * step + rank))) / RANKS).backward()
    return {n: p.grad for n, p in module.named_parameters()}


def difference(grads, expected):
    scale = max(float(g.abs().max()) for g in expected.values())
    return max(float((grads[n] - g).abs().max()) for n, g in expected.items()) / scale


class Both(nn.Module):
    """One tensor in and out, as DDP and FSDP like it."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x1, x2):
        return self.body(x1, x2)


def main():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    out = {}
    module = DistributedDataParallel(Both(sequence(memory="reversible", drop=0.0)))
    loss_of(module(*streams(seed=rank))).backward()
    grads = {n.removeprefix("module.body."): p.grad for n, p in module.named_parameters()}
    out["ddp"] = difference(grads, reference(1))

    module = DistributedDataParallel(Both(sequence(memory="reversible", drop=0.0)))
    with module.no_sync():
        loss_of(module(*streams(seed=rank))).backward()
    loss_of(module(*streams(seed=10 + rank))).backward()
    grads = {n.removeprefix("module.body."): p.grad for n, p in module.named_parameters()}
    out["ddp_accumulation"] = difference(grads, reference(2))

    module = Both(copy.deepcopy(sequence(memory="reversible", drop=0.0)))
    fully_shard(module, mesh=dist.init_device_mesh("cpu", (RANKS,)) if hasattr(dist, "init_device_mesh") else None)
    loss_of(module(*streams(seed=rank))).backward()
    grads = {n.removeprefix("body."): p.grad.full_tensor() for n, p in module.named_parameters()}
    out["fsdp2"] = difference(grads, reference(1))
    if rank == 0:
        json.dump(out, sys.stdout)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
