"""``madrnet predict``: classify and measure."""

import argparse
import sys
from typing import Any

from ..errors import InputError
from .arguments import add_images, add_model, add_scale, add_table, check_scale, report_skipped

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    predict = verbs.add_parser(
        "predict",
        help="classify and measure pictures of heads",
        description="Classify crops of single heads and measure them: class, calibrated probabilities, entropy, "
        "whether the model abstains or the picture is unlike its training pictures, and all that `measure` gives.",
        epilog="Exit status: 0; 1 if some files were skipped (the others are classified); 2 after a mistake in the "
        "arguments. Example: madrnet predict crops/ --model runs/quickstart/model --output results.csv",
    )
    add_images(predict)
    add_model(predict)
    add_table(predict)
    add_scale(predict)
    predict.add_argument(
        "--backend",
        default="torch",
        choices=("torch", "onnx"),
        help="onnx: ONNX Runtime, faster on the CPU (%(default)s)",
    )
    predict.add_argument("--device", default="cpu", help="of the backend torch: cpu or cuda (%(default)s)")
    predict.add_argument("--batch-size", type=int, default=32, metavar="N", help="pictures a batch (%(default)s)")
    predict.set_defaults(verb=_predict)


def _predict(args: argparse.Namespace) -> int:
    from ..data.reading import picture_files
    from ..files import as_csv, check_table_name
    from ..inference import Classifier
    from ..inference.predict import predict_files
    from ..inference.results import write_results

    check_scale(args.um_per_px)
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 1")
    if args.output is not None:
        check_table_name(args.output)
    paths = picture_files(args.images)
    classifier = Classifier(args.model, args.device, args.backend)
    rows, skipped = predict_files(paths, classifier, args.um_per_px, args.batch_size)
    if args.output is not None and rows:
        write_results(args.output, rows, skipped, classifier, args.um_per_px)
    elif rows:
        sys.stdout.write(as_csv(rows))
    abstained, outside = sum(row["abstain"] for row in rows), sum(bool(row["out_of_domain"]) for row in rows)
    print(
        f"{len(rows)} classified; on {abstained} the model abstains, {outside} are unlike its training pictures. "
        "Research use only; not a medical device",
        file=sys.stderr,
    )
    return report_skipped(skipped)
