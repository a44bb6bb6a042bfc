"""Measure the reversible engine alone: step time, bytes and error of the gradients, by memory mode and option.

    python -m examples.studies.engine --output docs/results/engine.csv

One sequence of additive couplings with shared F and G (norm, 3×3 convolution, GELU; dropout 0.1 in F), as in R, on
two streams of --channels channels. Times are medians of ratios to the plain mode, run in turn; bytes are a census of
storages; the error is that of all parameters' gradients against plain autograd in float64 with the same dropout masks,
in float32 and under bfloat16 autocast. "floor" is 1 + f/(f+b) from plain's own forward and backward time, for the part
of the executions that the setting runs twice.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"memory": "plain"},
    "checkpoint": {"memory": "checkpoint"},
    "reversible": {"memory": "reversible"},
    "reversible, last execution rebuilt, too": {"memory": "reversible", "keep_last": False},
    "reversible, exact": {"memory": "reversible", "exact": True},
}


def couplings(depth: int, channels: int) -> list[tuple[Any, Any]]:
    """Shared F and G."""
    import torch
    from torch import nn

    def half(drop: float) -> nn.Module:
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        return nn.Sequential(nn.GroupNorm(1, channels), conv, nn.GroupNorm(1, channels), nn.GELU(), nn.Dropout(drop))

    torch.manual_seed(0)
    return [(half(0.1), half(0.0))] * depth


def gradients(module: Any, x: Any, autocast: bool) -> Any:
    """Gradients of all parameters after one step, flat, in float64; dropout with a fixed seed."""
    import torch

    module.zero_grad()
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = module(*x)
    sum(y.square().mean() for y in outputs).backward()
    return torch.cat([p.grad.double().flatten() for p in module.parameters()])


def measure(setting: str, depth: int, args: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    import torch

    from madrnet_timm.models import ReversibleSequence

    from .live_bytes import LiveBytes

    plain = ReversibleSequence(couplings(depth, args.channels), memory="plain").train()
    module = ReversibleSequence(couplings(depth, args.channels), **SETTINGS[setting]).train()
    shape = (4, args.channels, args.side, args.side)
    x = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (2, 3)]

    def step(which: Any) -> tuple[float, float]:
        start = time.perf_counter()
        loss = sum(y.square().mean() for y in which(*x))
        between = time.perf_counter()
        loss.backward()
        return between - start, time.perf_counter() - start

    step(module), step(plain)
    pairs = [(step(module), step(plain)) for _ in range(args.repeats)]
    twice = {"plain": 0, "checkpoint": depth}.get(module.memory, depth - module.keep_last)
    floor = 1 + twice / depth * statistics.median(forward / total for _, (forward, total) in pairs)
    module.zero_grad()
    with LiveBytes() as live:
        loss = sum(y.square().mean() for y in module(*x))
        held = live.now
        live.peak = 0
        loss.backward()
    reference = gradients(copy.deepcopy(plain).double(), [part.double() for part in x], autocast=False)
    error = {
        name: float((gradients(module, x, autocast) - reference).norm() / reference.norm())
        for name, autocast in (("float32", False), ("bfloat16", True))
    }
    return {
        "depth": depth,
        "setting": setting,
        "step_ratio": f"{statistics.median(own[1] / base[1] for own, base in pairs):.2f}",
        "floor": f"{floor:.2f}",
        "held_mb": f"{held / 1e6:.1f}",
        "peak_mb": f"{live.peak / 1e6:.1f}",
        **{f"error_{name}": f"{value:.1e}" for name, value in error.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 12, 48], metavar="N", help="executions (3 12 48)")
    parser.add_argument("--channels", type=int, default=64, metavar="C", help="of each stream (%(default)s)")
    parser.add_argument("--side", type=int, default=32, metavar="N", help="of the map (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="pairs of timed steps (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("engine.csv"), metavar="CSV", help="(%(default)s)")
    args = parser.parse_args()
    if min(args.depths) < 1 or args.repeats < 1:
        parser.error("--depths and --repeats: at least 1")

    from tqdm import tqdm

    from madrnet_timm.files import write_csv

    todo = [(setting, depth) for depth in args.depths for setting in SETTINGS]
    rows = [measure(setting, depth, args) for setting, depth in tqdm(todo, disable=None)]
    write_csv(args.output, rows)
    lines = ["| n | setting | step, × plain | floor | held, MB | peak, MB | error, float32 | error, bfloat16 |"]
    lines += ["|---|---|---|---|---|---|---|---|", *("| " + " | ".join(map(str, row.values())) + " |" for row in rows)]
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
