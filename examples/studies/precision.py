"""Training steps per second in float32 and bfloat16 on this processor, and what keeping freed memory saves.

    python -m examples.studies.precision --models madrnet_tf_efficientnet_lite0 madrnet_efficientnet_b0 madrnet_resnet50

`madrnet train` under ``accelerate launch --mixed_precision bf16`` keeps depthwise convolutions in float32 on a CPU, and
all trainings keep the memory that a step frees for the next one; the last line is both. The ways take turns, two steps
each, of which the second counts. The figures are medians of CPU time, as ratios to float32.
"""

import argparse
import statistics
import time
from contextlib import nullcontext
from typing import Any

from madrnet_timm.command import run_command

PLAIN, HALF, DEPTHWISE = NETWORKS = ("float32", "bfloat16", "bfloat16, depthwise in float32")
KEPT = {f"{way}, freed memory kept": way for way in (PLAIN, DEPTHWISE)}


def steps_of(name: str, way: str, args: argparse.Namespace) -> Any:
    """A function that does one training step on random images."""
    import timm
    import torch
    from torch.nn import functional as F

    import madrnet_timm  # noqa: F401
    from madrnet_timm.training.precision import depthwise_in_float32

    model: Any = timm.create_model(name, num_classes=4).train().to(memory_format=torch.channels_last)
    if way == DEPTHWISE:
        depthwise_in_float32(model)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(args.batch_size, 3, args.img_size, args.img_size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch_size) % 4

    def step() -> None:
        with nullcontext() if way == PLAIN else torch.autocast("cpu", torch.bfloat16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["madrnet_tf_efficientnet_lite0"], metavar="NAME")
    parser.add_argument("--img-size", type=int, default=112, metavar="N", help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="(%(default)s)")
    args = parser.parse_args()

    from tqdm import tqdm

    from madrnet_timm.training.freed_memory import freed_memory_kept

    for name in args.models:
        steps = {way: steps_of(name, way, args) for way in NETWORKS}
        steps |= {kept: steps[way] for kept, way in KEPT.items()}
        seconds: dict[str, list[float]] = {way: [] for way in steps}
        for repeat in tqdm(range(args.repeats + 1), desc=name, disable=None):
            for way, step in steps.items():
                with freed_memory_kept() if way in KEPT else nullcontext():
                    step()
                    start = time.process_time()
                    step()
                    if repeat:  # the first one chooses kernels
                        seconds[way].append(time.process_time() - start)
        base = statistics.median(seconds[PLAIN])
        print(f"{name}: {args.batch_size / base:.1f} images a second of CPU time in float32")
        for way, found in seconds.items():
            if way != PLAIN:
                ratios = [one / other for one, other in zip(found, seconds[PLAIN], strict=True)]
                print(f"    {way}: {statistics.median(ratios):.2f} of the time", flush=True)


if __name__ == "__main__":
    run_command(main)
