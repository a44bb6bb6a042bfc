"""Write the tables of the published models, hub/results.csv and hub/benchmark.csv, what they promise, and their cards.

    python -m tools.models                        # from what is known already
    python -m tools.models --measure [NAME ...]   # and with times, measured on this machine, of all models or some

The columns are those of timm's tables. Times are the processor's, for one image on one thread, by PyTorch and by ONNX
Runtime. A known model of timm's takes turns with each of ours, and the ratio to it is the median of the pairs, so that
a busy machine does little harm. What a model promises follows from the held-out predictions beside it and goes into
its config.json; weights stay as they are.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.errors import InputError

ROOT = Path(__file__).parents[1]
RESULTS, BENCHMARK = ROOT / "hub" / "results.csv", ROOT / "hub" / "benchmark.csv"
REFERENCE, REFERENCE_SIZE = "mobilenetv2_100", 224
REPEATS = 30

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NAME", help="published names; none: all of them")
    args = parser.parse_args()

    from madrnet_timm.files import read_csv, write_csv, write_text
    from madrnet_timm.models.pretrained import published_models
    from madrnet_timm.training.shipping import MODELS, promise_anew, published_card

    published = published_models()
    wanted = [] if args.measure is None else args.measure or list(published)
    if unknown := [name for name in wanted if name not in published]:
        raise InputError(f"--measure {unknown[0]}: no published name; expected some of {', '.join(published)}")
    rows = read_csv(BENCHMARK) if BENCHMARK.exists() else []
    times: dict[str, dict[str, Any]] = {row["model"]: {**row} for row in rows}
    if wanted:
        times |= measured(wanted)
        write_csv(BENCHMARK, [times[name] for name in (*published, REFERENCE) if name in times])
    write_csv(RESULTS, [result(name) for name in published])
    for name, entry in published.items():
        folder = ROOT / "hub" / name
        controls_anew(folder)
        promise_anew(folder, entry, ROOT / MODELS)
        write_text(folder / "README.md", published_card(folder, entry, speed_rows(times.get(name))))
    print(f"{RESULTS}, {BENCHMARK} and {len(published)} cards are written")


def controls_anew(path: Path, results: Path = ROOT / "docs" / "results") -> None:
    """Write into a published folder what the stored controls reach on its folds, with today's measurement.

    Args:
        path: The folder.
        results: Where ``controls-<data set>.csv`` lies: a row per held-out image and seed, what each control says.

    Raises:
        InputError: The controls lack an image of the model's folds.
    """
    from madrnet_timm.evaluation.controls import CONTROLS
    from madrnet_timm.evaluation.summary import summarize_predictions
    from madrnet_timm.files import read_csv, write_text
    from madrnet_timm.hub.model_folder import ModelFolder

    folder, rows = ModelFolder(path), read_csv(path / "predictions.csv")
    stored = results / f"controls-{folder.info.dataset}.csv"
    said = {(row["seed"], row["fold"], row["file"]): row for row in read_csv(stored)}
    if missing := [row["file"] for row in rows if (row["seed"], row["fold"], row["file"]) not in said]:
        raise InputError(f"{stored}: {missing[0]} is missing in a fold of {path.name}; run examples.studies.controls")
    right: dict[tuple[int, int], list[list[bool]]] = defaultdict(list)
    for row in rows:
        control = said[row["seed"], row["fold"], row["file"]]
        right[int(row["seed"]), int(row["fold"])].append([control[name] == row["label"] for name in CONTROLS])
    accuracies = {
        fold: {name: statistics.mean(column) for name, column in zip(CONTROLS, zip(*hits, strict=True), strict=True)}
        for fold, hits in right.items()
    }
    summary = summarize_predictions(rows, folder.label_names, accuracies)
    write_text(path / "summary.json", json.dumps(summary.to_dict(), indent=2) + "\n")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["madrnet"]["controls"] = summary.controls
    write_text(path / "config.json", json.dumps(config, indent=2))


def result(name: str) -> dict[str, Any]:
    """A row of ``results.csv``: timm's columns, and what is needed to judge the figure."""
    from madrnet_timm.evaluation.results import Summary
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.models.pretrained import published_models

    entry, folder = published_models()[name], ModelFolder(ROOT / "hub" / name)
    summary = Summary.read(folder.path / "summary.json")
    low, high = summary.wilson
    accuracy = summary.right / summary.images
    return {
        "model": name,
        "img_size": folder.data_config["input_size"][-1],
        "top1": f"{100 * accuracy:.3f}",
        "top1_err": f"{100 - 100 * accuracy:.3f}",
        "top1_low": f"{100 * low:.3f}",
        "top1_high": f"{100 * high:.3f}",
        "f1": f"{100 * summary.pooled.f1:.3f}",
        "dataset": folder.info.dataset,
        "images": summary.images,
        "seeds": len(summary.seeds),
        "param_count": f"{(entry.parameters or 0) / 1e6:.2f}",
        "crop_pct": folder.data_config["crop_pct"],
        "interpolation": folder.data_config["interpolation"],
        "pipeline": folder.pipeline,
    }


def measured(names: list[str]) -> dict[str, dict[str, Any]]:
    """Rows of ``benchmark.csv`` by model, the reference's among them: timm's columns, and the same by ONNX Runtime."""
    import timm
    import torch
    from tqdm import tqdm

    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.inference.export import export_onnx

    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.onnx"
        reference = timm.create_model(REFERENCE, exportable=True).eval()
        example = torch.zeros(1, 3, REFERENCE_SIZE, REFERENCE_SIZE)
        torch.onnx.export(reference, (example,), path, input_names=["image"], verbose=False)
        base = _torch_run(reference, REFERENCE_SIZE), _onnx_run(path, REFERENCE_SIZE)
        rows[REFERENCE] = _row(REFERENCE, reference, REFERENCE_SIZE, base, base)
        for name in tqdm(names, desc="measuring", unit="model", disable=None):
            folder = ModelFolder(ROOT / "hub" / name)
            model, size = folder.load(), folder.data_config["input_size"][-1]
            path = Path(temporary) / f"{name}.onnx"
            export_onnx(folder, path)
            rows[name] = _row(name, model, size, (_torch_run(model, size), _onnx_run(path, size)), base)
    return rows


def _row(name: str, model: Any, size: int, runs: tuple[Run, Run], base: tuple[Run, Run]) -> dict[str, Any]:
    from madrnet_timm.hub.cost import cost_of

    cost = cost_of(model, size)
    (seconds, ratio), (onnx_seconds, onnx_ratio) = map(_paired, runs, base)
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "onnxruntime", "timm"))
    return {
        "model": name,
        "infer_samples_per_sec": f"{1 / seconds:.2f}",
        "infer_step_time": f"{1000 * seconds:.3f}",
        "infer_batch_size": 1,
        "infer_img_size": size,
        "infer_gmacs": f"{cost.gmacs:.2f}",
        "infer_macts": f"{cost.macts:.2f}",
        "param_count": f"{cost.parameters / 1e6:.2f}",
        "ratio": f"{ratio:.2f}",
        "onnx_samples_per_sec": f"{1 / onnx_seconds:.2f}",
        "onnx_step_time": f"{1000 * onnx_seconds:.3f}",
        "onnx_ratio": f"{onnx_ratio:.2f}",
        "reference": f"{REFERENCE} at {REFERENCE_SIZE} px",
        "machine": f"1 thread of {_cpu()}; {libraries}",
    }


def _torch_run(model: Any, size: int) -> Run:
    import torch

    x = torch.randn(1, 3, size, size).to(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return model(x)

    return run


def _onnx_run(path: Path, size: int) -> Run:
    import numpy as np

    from madrnet_timm.inference.runtime import create_session

    session, x = create_session(path), np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    return lambda: session.run(None, {"image": x})


def _paired(run: Run, base: Run) -> tuple[float, float]:
    """Median seconds of ``run``, and the median of its ratios to ``base``, run in turn."""

    def seconds(call: Run) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    run(), base()  # warm
    pairs = [(seconds(run), seconds(base)) for _ in range(REPEATS)]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def _cpu() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "a CPU")


def speed_rows(row: dict[str, Any] | None) -> str:
    """Rows of a card's table: time for one image."""
    if row is None:
        return ""
    lines = [
        f"| one image on one core, {way} | {float(row[step]):.1f} ms: {row[ratio]} times timm's {row['reference']} |"
        for way, step, ratio in (
            ("PyTorch", "infer_step_time", "ratio"),
            ("ONNX Runtime", "onnx_step_time", "onnx_ratio"),
        )
    ]
    return "\n".join([*lines, f"| measured on | {row['machine']} |"])


if __name__ == "__main__":
    run_command(main)
