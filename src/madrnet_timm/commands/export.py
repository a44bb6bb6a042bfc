"""``madrnet export``: a model as ONNX."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..errors import InputError
from .arguments import add_model

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    export = verbs.add_parser(
        "export",
        help=VERBS["export"],
        description="Write a model as one ONNX file with any batch size, after ONNX Runtime gave the same logits as "
        "PyTorch. Its metadata has the labels, the calibration, and how images are prepared, which is not in the "
        "graph: `madrnet prepare` writes prepared images.",
        epilog="Example: madrnet export --model runs/crops/model --output model.onnx --probabilities",
    )
    add_model(export)
    export.add_argument("--output", type=Path, required=True, metavar="ONNX")
    export.add_argument(
        "--probabilities", action="store_true", help="the graph gives calibrated probabilities in place of logits"
    )
    export.set_defaults(verb=_export)


def _export(args: argparse.Namespace) -> int:
    from ..files import check_output
    from ..hub.lookup import find_model
    from ..hub.model_folder import ModelFolder
    from ..inference.export import export_onnx

    if args.output.suffix != ".onnx":
        raise InputError(f"--output {args.output}: expected a name that ends in .onnx")
    check_output(args.output)
    folder = ModelFolder(find_model(args.model))
    difference = export_onnx(folder, args.output, args.probabilities)
    what = "logits"
    if args.probabilities:
        what = "probabilities" if folder.calibration else "probabilities (not calibrated: the model has no calibration)"
    print(f"{args.output}: ONNX Runtime gives PyTorch's {what} to {difference:.0e}")
    return 0
