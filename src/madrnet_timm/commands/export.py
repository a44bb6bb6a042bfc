"""``madrnet export``: a model as ONNX."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import InputError
from .arguments import add_model

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    export = verbs.add_parser(
        "export",
        help="a model as ONNX",
        description="Write a model as one ONNX file with any batch size, labels and preparation in its metadata, after "
        "ONNX Runtime gave the same logits as PyTorch.",
    )
    add_model(export)
    export.add_argument("--output", type=Path, required=True, metavar="ONNX")
    export.set_defaults(verb=_export)


def _export(args: argparse.Namespace) -> int:
    from ..hub.lookup import find_model
    from ..hub.model_folder import ModelFolder
    from ..inference.export import export_onnx

    if args.output.suffix != ".onnx":
        raise InputError(f"--output {args.output}: expected a name that ends in .onnx")
    difference = export_onnx(ModelFolder(find_model(args.model)), args.output)
    print(f"{args.output}: ONNX Runtime gives PyTorch's logits to {difference:.0e}")
    return 0
