"""Images per second of prediction: a plain eager loop, and `madrnet predict` with both of its backends, in one run.

    python -m examples.studies.throughput --dataset hushem --data-dir HuSHeM \\
        --model madrnet_tf_efficientnet_lite0.hushem

The last line says from how many images on the export to ONNX, made once per model, has paid for itself. The plain loop
decodes, measures, prepares and classifies one image after the other in PyTorch. The ways take turns, and the figures
are medians, so that a busy machine does little harm.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from madrnet_timm.command import run_command
from madrnet_timm.commands.data_arguments import add_data_arguments, settle_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="as for `madrnet predict`")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="(%(default)s)")
    args = parser.parse_args()
    settle_dataset(args)

    import torch
    from tqdm import tqdm

    from madrnet_timm.data.reading import images_below
    from madrnet_timm.data.sources import images_of, load
    from madrnet_timm.files import write_image
    from madrnet_timm.inference import Classifier
    from madrnet_timm.inference.export import export_onnx
    from madrnet_timm.inference.predict import predict_files

    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(
            images_of(load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable))
        ):
            write_image(Path(folder) / f"{number:05}.png", image)
        paths = images_below(Path(folder))
        eager, onnx = Classifier(args.model), Classifier(args.model, backend="onnx")

        def loop() -> None:
            for path in paths:
                eager([path])

        ways: dict[str, Callable[[], object]] = {
            "plain eager loop": loop,
            "predict, torch": lambda: predict_files(paths, eager),
            "predict, onnx": lambda: predict_files(paths, onnx),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in tqdm(range(args.repeats), disable=None):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
        start = time.perf_counter()
        export_onnx(onnx.folder, Path(folder) / "model.onnx")
        export = time.perf_counter() - start
    base = seconds["plain eager loop"]
    print(f"{len(paths)} images, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(base, taken, strict=True))
        print(f"{name:<18} {len(paths) / statistics.median(taken):6.1f} images per second, {ratio:.2f} times the loop")
    slow, fast = (statistics.median(seconds[f"predict, {backend}"]) / len(paths) for backend in ("torch", "onnx"))
    pays = f"it pays from {export / (slow - fast):.0f} images on" if slow > fast else "it never pays here"
    print(f"the export takes as long as `predict, torch` needs for {export / slow:.0f} images; {pays}")


if __name__ == "__main__":
    run_command(main)
