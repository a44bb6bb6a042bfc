"""``madrnet predict``: classify and measure."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .arguments import (
    add_images,
    add_model,
    add_scale,
    add_table,
    check_scale,
    check_table,
    number,
    put_table,
    report_skipped,
    say_found,
)

if TYPE_CHECKING:
    from ..inference import Classifier
    from ..inference.predicted import Predicted

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    predict = verbs.add_parser(
        "predict",
        help="classify and measure images of heads",
        description="Classify crops of single heads and measure them: class, calibrated probabilities, entropy, "
        "whether the model abstains or the image is unlike its training images, and all that `measure` gives.",
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
    predict.add_argument(
        "--threshold",
        type=number,
        metavar="P",
        help="abstain where the calibrated probability of the class lies below P, 0 to 1 (the model's own threshold)",
    )
    predict.add_argument(
        "--resume",
        action="store_true",
        help="take up an interrupted prediction: the rows that were finished lie in FILE.part beside --output FILE",
    )
    predict.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (%(default)s)")
    predict.set_defaults(verb=_predict)


def _predict(args: argparse.Namespace) -> int:
    from ..data.reading import image_files
    from ..files import check_output
    from ..inference import Classifier
    from ..inference.predict import predict_files
    from ..inference.results import info_path

    check_scale(args.um_per_px)
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 1")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold:g}: expected a probability from 0 to 1")
    if args.resume and args.output is None:
        raise InputError("--resume: finished rows lie beside a table; give its --output")
    check_table(args)
    if args.output is not None:
        check_output(info_path(args.output))
    paths = image_files(args.images)
    classifier = Classifier(args.model, args.device, args.backend, args.threshold)
    say_found(args.images, paths)
    if args.output is None:
        found = predict_files(paths, classifier, args.um_per_px, args.batch_size)
        if found.rows:
            put_table(args, found.rows)
    else:
        found = _predict_table(args, paths, classifier)
    rows = found.rows
    abstained, outside = sum(row["abstain"] for row in rows), sum(bool(row["out_of_domain"]) for row in rows)
    doubt = f"on {abstained} the model abstains"
    if classifier.threshold is None:
        doubt += " (it has no threshold: only where it finds no head)"
    print(
        f"{len(rows)} classified; {doubt}, {outside} are unlike its training images. "
        "Research use only; not a medical device",
        file=sys.stderr,
    )
    return report_skipped(found.skipped)


def _predict_table(args: argparse.Namespace, paths: Sequence[Path], classifier: "Classifier") -> "Predicted":
    """Predict into ``--output``; what is finished is kept beside it until then."""
    from ..inference.finished import FinishedRows, finished_path
    from ..inference.predict import predict_files
    from ..inference.results import write_results

    made_by = {
        "the model": classifier.folder.digest(),
        "madrnet-timm": version("madrnet-timm"),
        "--backend": args.backend,
        "--threshold": classifier.threshold,
        "--um-per-px": args.um_per_px,
    }
    finished = FinishedRows(finished_path(args.output), made_by, args.resume)
    if args.resume:
        ready = sum(finished.get(path) is not None for path in paths)
        done = f"{ready} of {len(paths)} images are done already" if ready else "nothing is begun there; starting anew"
        print(f"{args.output}: {done}", file=sys.stderr)
    try:
        found = predict_files(paths, classifier, args.um_per_px, args.batch_size, finished)
    except KeyboardInterrupt:
        print(f"\n{len(finished)} of {len(paths)} images are done; go on with --resume", file=sys.stderr)
        raise
    if found.rows:
        write_results(args.output, found, classifier, args.excel, shlex.join(sys.argv))
    finished.remove()
    return found
