"""Step time, peak memory and inference latency of MADRNet against its bare backbone, in every memory mode.

    python -m examples.studies.benchmark --backbone resnet50 --img-size 512 --batch-size 2 --output benchmark.csv

Each setting is timed in turn with the bare backbone (timm's model with its own classifier), and the figures are medians
of the paired ratios, so that a busy machine does no harm. Peak memory is that of one training step without weights,
gradients of weights and optimizer: on the CPU by a census of storages, on CUDA as torch counts it.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command

SETTINGS: list[tuple[str, dict[str, Any], bool]] = [
    ("plain", {"depth": 3, "memory": "plain"}, False),
    ("checkpoint", {"depth": 3, "memory": "checkpoint"}, False),
    ("reversible", {"depth": 3, "memory": "reversible"}, False),
    ("plain, backbone checkpointed", {"depth": 3, "memory": "plain"}, True),
    ("reversible, backbone checkpointed", {"depth": 3, "memory": "reversible"}, True),
    *[(f"reversible, depth {depth}", {"depth": depth, "memory": "reversible"}, False) for depth in (0, 1, 2, 4, 5, 6)],
    *[(f"plain, depth {depth}", {"depth": depth, "memory": "plain"}, False) for depth in (1, 6)],
]


class Bench:
    """Times and memory of models on one batch of random images."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        self.args = args
        self.device = torch.device(args.device)
        side = args.img_size
        self.x = torch.randn(args.batch_size, 3, side, side, device=self.device)
        self.x = self.x.to(memory_format=torch.channels_last)
        self.target = torch.arange(args.batch_size, device=self.device) % 4

    def create(self, name: str, **kwargs: Any) -> Any:
        import timm
        import torch

        return timm.create_model(name, num_classes=4, **kwargs).to(self.device, memory_format=torch.channels_last)

    def step(self, model: Any) -> None:
        from torch.nn import functional as F

        F.cross_entropy(model(self.x), self.target).backward()

    def seconds(self, run: Callable[[], Any]) -> float:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak(self, model: Any) -> int:
        """Bytes of a step beyond what lies there before and the gradients of the weights."""
        import torch

        from .live_bytes import LiveBytes

        model.train()
        self.step(model)  # weights' gradients are there from now on
        if self.device.type == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.step(model)
            return torch.cuda.max_memory_allocated() - before
        with LiveBytes() as live:
            self.step(model)
        return live.peak

    def row(self, model: Any, bare: Any) -> dict[str, Any]:
        """The figures of one setting."""
        peak, base_peak = self.peak(model), self.peak(bare)
        model.train(), bare.train()
        step, step_ratio = self.paired(lambda: self.step(model), lambda: self.step(bare), self.args.repeats)
        latency, latency_ratio = self.latency(model, bare)
        return {
            "img_size": self.args.img_size,
            "batch_size": self.args.batch_size,
            "parameters": sum(p.numel() for p in model.parameters()),
            "step_s": f"{step:.3f}",
            "step_ratio": f"{step_ratio:.3f}",
            "peak_mb": f"{peak / 1e6:.1f}",
            "peak_ratio": f"{peak / base_peak:.3f}",
            "latency_ms": f"{1000 * latency:.1f}",
            "latency_ratio": f"{latency_ratio:.3f}",
        }

    def latency(self, model: Any, bare: Any) -> tuple[float, float]:
        """Seconds for one image in eval mode, and the ratio to the bare backbone."""
        import torch

        x = self.x[:1]
        model.eval(), bare.eval()
        with torch.inference_mode():
            return self.paired(lambda: model(x), lambda: bare(x), 3 * self.args.repeats)

    def onnx_latency(self, model: Any, bare: Any) -> tuple[float, float]:
        """The same in ONNX Runtime, which packs the weights once, when it loads them."""
        return self.paired(self.onnx_session(model), self.onnx_session(bare), 3 * self.args.repeats)

    def onnx_session(self, model: Any) -> Callable[[], Any]:
        import tempfile

        import torch

        from madrnet_timm.inference.runtime import create_session

        x = self.x[:1].contiguous()
        model = model.eval().to(memory_format=torch.contiguous_format)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            torch.onnx.export(model, (x,), path, input_names=["image"], dynamo=True, verbose=False)
            session = create_session(path)
        return lambda: session.run(None, {"image": x.numpy()})

    def paired(self, run: Callable[[], Any], base: Callable[[], Any], repeats: int) -> tuple[float, float]:
        """Median seconds of ``run``, and the median of its ratios to ``base``, run in turn."""
        run(), base()  # warm
        pairs = [(self.seconds(run), self.seconds(base)) for _ in range(repeats)]
        return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50", metavar="NAME", help="timm architecture (%(default)s)")
    parser.add_argument("--img-size", type=int, default=512, metavar="N", help="side of the images (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, metavar="N", help="images per step (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="pairs of timed steps (%(default)s)")
    parser.add_argument("--settings", nargs="+", metavar="NAME", help="some of the settings only, by their names")
    parser.add_argument("--onnx", action="store_true", help="time one image in ONNX Runtime, too (CPU)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("benchmark.csv"), metavar="CSV", help="(%(default)s)")
    args = parser.parse_args()

    import timm
    import torch
    from tqdm import tqdm

    import madrnet_timm  # noqa: F401  registers madrnet_* with timm
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import write_csv

    if args.batch_size < 2 or args.repeats < 1:
        parser.error("--batch-size: at least 2 (batch statistics); --repeats: at least 1")
    unknown = set(args.settings or ()) - {name for name, *_ in SETTINGS}
    if unknown:
        parser.error(f"--settings {', '.join(unknown)}: expected some of {', '.join(name for name, *_ in SETTINGS)}")
    if not timm.is_model(f"madrnet_{args.backbone}"):
        raise InputError(f"--backbone {args.backbone}: timm knows no such model; see timm.list_models()")
    bench = Bench(args)
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    machine = f"{name}; torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}"
    print(f"{args.backbone}, {args.batch_size} × {args.img_size} px, {machine}")
    bare = bench.create(args.backbone)
    rows = []
    chosen = [setting for setting in SETTINGS if not args.settings or setting[0] in args.settings]
    for setting, kwargs, checkpointing in tqdm(chosen, disable=None):
        model = bench.create(f"madrnet_{args.backbone}", **kwargs)
        model.set_grad_checkpointing(checkpointing)
        rows.append({"backbone": args.backbone, "setting": setting} | bench.row(model, bare) | {"machine": machine})
    if args.onnx:
        model = bench.create(f"madrnet_{args.backbone}", exportable=True)
        latency, latency_ratio = bench.onnx_latency(model, bench.create(args.backbone, exportable=True))
        row = dict.fromkeys(rows[0], "") | {k: rows[0][k] for k in ("backbone", "img_size", "batch_size", "machine")}
        times = {"latency_ms": f"{1000 * latency:.1f}", "latency_ratio": f"{latency_ratio:.3f}"}
        rows.append(row | times | {"setting": "plain, in ONNX Runtime"})
    kept: list[dict[str, Any]] = []
    if args.output.exists():  # other backbones and sizes in the same table stay
        with args.output.open(encoding="utf-8", newline="") as opened:
            same = ("backbone", "img_size", "batch_size", "machine")
            kept = [row for row in csv.DictReader(opened) if any(row[k] != str(rows[0][k]) for k in same)]
    write_csv(args.output, [*kept, *rows])
    print(markdown(rows))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, ratios against the bare backbone."""
    lines = ["| R | step, × bare | peak memory, MB (× bare) | one image, ms (× bare) |", "|---|---|---|---|"]
    for row in rows:
        memory = f"{row['peak_mb']} ({row['peak_ratio']})" if row["peak_mb"] else ""
        cells = (row["setting"], row["step_ratio"], memory)
        lines.append(f"| {' | '.join(cells)} | {row['latency_ms']} ({row['latency_ratio']}) |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
