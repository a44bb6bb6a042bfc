"""``madrnet predict``: classify and measure."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from madrnet_command import VERBS

from ..cli import run_verb
from ..errors import InputError
from .arguments import (
    add_images,
    add_kind,
    add_model,
    add_scale,
    add_table,
    check_scale,
    check_table,
    make_image_folder,
    number,
    put_table,
    report_skipped,
    say_found,
    say_no_table,
)

if TYPE_CHECKING:
    from ..data.pages import Page
    from ..data.scale import SlideScale
    from ..inference import Classifier
    from ..inference.predict import Options
    from ..inference.predicted import Predicted
    from ..inference.processes import Processes
    from ..inference.screen import Screen

__all__ = ["add_parser"]

_SAYS_LITTLE = 0.25
"""A promise of more wrong ones than this share says little."""


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    predict = verbs.add_parser(
        "predict",
        help=VERBS["predict"],
        description="Find the heads of whole fields of view, or take crops of single heads, classify and measure them: "
        "class, calibrated probabilities, entropy, whether the model abstains or the image is unlike its training "
        "images, and all that `measure` gives. A field gives a row for each head; heads at its border have rows, too, "
        "but are not counted.",
        epilog="Exit status: 0; 1 if some files were skipped (the others are classified); 2 after a mistake in the "
        "arguments. Examples: madrnet predict slide1/ --model madrnet_tf_efficientnet_lite0.smids_ft_hushem "
        "--output slide1.csv --overlay slide1-heads; on several GPUs: accelerate launch -m "
        "madrnet_timm.commands.predict slide1/ --model ... --device cuda --output slide1.csv",
    )
    add_images(predict)
    add_model(predict)
    add_kind(predict)
    add_table(predict)
    add_scale(predict)
    predict.add_argument("--crops", type=Path, metavar="DIR", help="write the crop of each head of a field there")
    predict.add_argument(
        "--overlay", type=Path, metavar="DIR", help="write each image there, with outlines and classes"
    )
    predict.add_argument(
        "--screen",
        metavar="NAME",
        help="another model that decides what is no sperm (flag no_sperm, not counted), for one that has no class for "
        "that, such as madrnet_tf_efficientnet_lite0.smids",
    )
    predict.add_argument(
        "--backend",
        default="torch",
        choices=("torch", "onnx"),
        help="onnx: ONNX Runtime, worth it on the CPU from thousands of images on (%(default)s)",
    )
    predict.add_argument("--device", default="cpu", help="of the backend torch: cpu or cuda (%(default)s)")
    predict.add_argument(
        "--risk",
        type=number,
        metavar="R",
        help="abstain so that of the heads decided on at most this share is wrong, such as 0.1: a promise for heads "
        "like the model's held-out ones (what the model promises)",
    )
    predict.add_argument(
        "--threshold",
        type=number,
        metavar="P",
        help="abstain where the calibrated probability of the class lies below P, 0 to 1; without a promise",
    )
    predict.add_argument(
        "--resume",
        action="store_true",
        help="take up an interrupted prediction: what was finished lies in FILE.part beside --output FILE",
    )
    predict.add_argument("--batch-size", type=int, default=32, metavar="N", help="heads per batch (%(default)s)")
    predict.set_defaults(verb=_predict)


def _check(args: argparse.Namespace, processes: "Processes") -> None:
    """Everything that can be told before any work is done."""
    from ..files import check_output
    from ..inference.results import info_path

    check_scale(args.um_per_px)
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 1")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold:g}: expected a probability from 0 to 1")
    if args.risk is not None and not 0 < args.risk < 1:
        raise InputError(f"--risk {args.risk:g}: expected a share between 0 and 1")
    if args.risk is not None and args.threshold is not None:
        raise InputError("--risk and --threshold: a threshold follows from a risk; give one of the two")
    if args.resume and args.output is None:
        raise InputError("--resume: finished rows lie beside a table; give its --output")
    if processes.count > 1 and args.output is None:
        raise InputError("--output: missing; several processes join their rows in a table, name it")
    check_table(args)
    if args.output is not None:
        check_output(info_path(args.output))
    for option, folder in (("--crops", args.crops), ("--overlay", args.overlay)):
        if folder is not None:
            make_image_folder(folder, option, args.images)


def _predict(args: argparse.Namespace) -> int:
    from ..inference.processes import Processes

    with Processes.launched() as processes:
        return _predict_all(args, processes) if processes.is_main else _predict_share(args, processes)


def _predict_all(args: argparse.Namespace, processes: "Processes") -> int:
    """Predict the images; where there are other processes, only a part of them, and join the parts."""
    from ..data.pages import kinds_of, pages_of
    from ..data.reading import image_files
    from ..data.scale import SlideScale
    from ..inference.predict import predict_pages

    _check(args, processes)
    paths = image_files(args.images)
    classifier, screen = _load(args, processes)
    pages = pages_of(paths)
    say_found(args.images, paths, len(pages), kinds_of(pages, args.input))
    slide = SlideScale.of(pages, args.um_per_px, args.input)
    for line in slide.sayings(pages):
        print(line, file=sys.stderr)
    options = _options(args, paths, slide, classifier, screen)
    if args.output is None:
        found = predict_pages(pages, classifier, options)
        if found.rows:
            put_table(args, found.rows)
    elif args.resume and (done := _complete(args, pages, classifier, options)) is not None:
        processes.told((paths, slide, []))  # nothing is left for the others
        processes.wait()
        print(f"{args.output}: all {len(pages)} images are done already; the table is kept", file=sys.stderr)
        return report_skipped(done)
    else:
        found = _predict_table(args, processes, paths, pages, classifier, options)
    _say(found, classifier)
    return report_skipped(found.skipped)


def _predict_share(args: argparse.Namespace, processes: "Processes") -> int:
    """Predict the part of the images that is this process's, into a file that the first process reads."""
    from ..inference.finished import FinishedRows, share_path
    from ..inference.predict import finish_pages

    plan: tuple[Sequence[Path], SlideScale, Sequence[Page]] | None = None
    paths, slide, pages = processes.told(plan)
    classifier, screen = _load(args, processes)
    options = replace(_options(args, paths, slide, classifier, screen), quiet=True)
    made_by = _made_by(args, classifier, screen)
    finished = FinishedRows(share_path(args.output, processes.index), made_by, slide, needed=True)
    finish_pages(processes.share(pages), classifier, options, finished)
    processes.wait()
    return 0


def _load(args: argparse.Namespace, processes: "Processes") -> "tuple[Classifier, Screen | None]":
    from ..inference import Classifier
    from ..inference.screen import Screen

    device = processes.device(args.device)
    classifier = Classifier(args.model, device, args.backend, args.threshold, args.risk)
    return classifier, None if args.screen is None else Screen.of(args.screen, classifier, args.backend, device)


def _options(
    args: argparse.Namespace,
    paths: "Sequence[Path]",
    slide: "SlideScale",
    classifier: "Classifier",
    screen: "Screen | None",
) -> "Options":
    from ..inference.class_marks import class_marks
    from ..inference.field_images import FieldImages
    from ..inference.predict import Options

    info, images = classifier.folder.info, None
    if args.crops is not None or args.overlay is not None:
        marks = class_marks(classifier.label_names, info.normal_class, info.no_head_class)
        images = FieldImages.of(paths, marks, args.crops, args.overlay)
    return Options(slide, args.input, args.batch_size, screen, images)


def _made_by(args: argparse.Namespace, classifier: "Classifier", screen: "Screen | None") -> dict[str, Any]:
    """The model and every option that the rows depend on."""
    return {
        "the model": classifier.folder.digest(),
        "madrnet-timm": version("madrnet-timm"),
        "--backend": args.backend,
        "the threshold": classifier.threshold,
        "--um-per-px": args.um_per_px,
        "--input": args.input,
        "--screen": None if screen is None else screen.classifier.folder.digest(),
        "--crops": None if args.crops is None else str(args.crops.absolute()),
        "--overlay": None if args.overlay is None else str(args.overlay.absolute()),
    }


def _predict_table(
    args: argparse.Namespace,
    processes: "Processes",
    paths: "Sequence[Path]",
    pages: "Sequence[Page]",
    classifier: "Classifier",
    options: "Options",
) -> "Predicted":
    """Predict into ``--output``; what is finished is kept beside it until then."""
    from ..inference.finished import FinishedRows, finished_path, share_paths, work_digest
    from ..inference.predict import finish_pages, predict_pages
    from ..inference.results import write_results

    made_by = _made_by(args, classifier, options.screen)
    # before it: what changes meanwhile is not done
    work = work_digest(made_by | {"--excel": args.excel}, pages, options.slide)
    finished = FinishedRows(finished_path(args.output), made_by, options.slide, args.resume)
    for path in share_paths(args.output):  # of several processes that were interrupted
        if args.resume:
            finished.take(path)
        else:
            path.unlink()
    if args.resume:
        ready = sum(page in finished for page in pages)
        if ready:
            done = f"{ready} of {len(pages)} images are done already"
        elif args.output.exists():
            done = "made of other images or with other options, or changed since; starting anew"
        else:
            done = "nothing is begun there; starting anew"
        print(f"{args.output}: {done}", file=sys.stderr)
    try:
        if processes.count > 1:
            to_do = [page for page in pages if page not in finished]
            processes.told((paths, options.slide, to_do))
            finish_pages(processes.share(to_do), classifier, options, finished)
            processes.wait()
            for path in share_paths(args.output):
                finished.take(path)
        found = predict_pages(pages, classifier, options, finished)
    except KeyboardInterrupt:
        done = f"{len(finished)} of {len(pages)} images are done; " if processes.count == 1 else ""
        print(f"\n{done}go on with --resume", file=sys.stderr)
        raise
    if found.rows or found.fields:
        command = shlex.join(["madrnet", *sys.argv[1:]])
        write_results(args.output, found, classifier, args.excel, command, work)
    else:
        say_no_table(args)
    finished.remove()
    return found


def _complete(
    args: argparse.Namespace, pages: "Sequence[Page]", classifier: "Classifier", options: "Options"
) -> tuple[str, ...] | None:
    """What was skipped, where ``--output`` already is the table of these very images; else None."""
    from ..inference.finished import finished_path, share_paths, work_digest
    from ..inference.results import read_results

    if finished_path(args.output).exists() or share_paths(args.output):
        return None
    try:
        info = read_results(args.output).info
    except InputError:  # no table, or one that was changed by hand
        return None
    made_by = _made_by(args, classifier, options.screen)
    work = work_digest(made_by | {"--excel": args.excel}, pages, options.slide)
    return tuple(info.skipped) if info.work == work else None


def _say(found: "Predicted", classifier: "Classifier") -> None:
    """What came of it, on the screen."""
    from ..data.kinds import nothing_found
    from ..data.pages import Page

    for field in found.fields:
        if field.reason:
            print(f"{Page(Path(field.file), field.page)}: {nothing_found(field.reason)}", file=sys.stderr)
    if found.by_look:
        fields, either = found.by_look["field"], found.by_look.total()
        words = f"by what they show, {fields} of {either} images were taken for fields, {either - fields} for crops"
        print(words, file=sys.stderr)
    if found.fields:
        heads, border = sum(field.heads for field in found.fields), sum(field.at_border for field in found.fields)
        number = f"{len(found.fields)} {'field' if len(found.fields) == 1 else 'fields'}"
        words = f"{number}: {heads - border} heads, and {border} at the border, which do not count"
        print(words, file=sys.stderr)
    doubt = f"on {found.abstained} the model abstains"
    if classifier.promised_risk is not None and classifier.guarantee is not None:
        doubt += (
            f" (of the others at most {100 * classifier.promised_risk:.3g} % are wrong, with "
            f"{100 * classifier.guarantee.level:.3g} % confidence, if they are like its held-out heads"
        )
        if classifier.guarantee.least_risk > _SAYS_LITTLE:
            doubt += f"; its {classifier.guarantee.cells} held-out cells are too few to promise less: look at all heads"
        doubt += ")"
    if classifier.threshold is None:
        doubt += " (it has no threshold: only where it finds no head)"
    if found.screen is not None:
        doubt = f"{found.no_sperm} are no sperm by --screen, {doubt}"
    print(
        f"{len(found.rows)} classified; {doubt}, {found.outside} are unlike its training images. "
        "Research use only; not a medical device",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run_verb("predict")
