"""The command ``madrnet``: thin, one function a verb."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .command import run_command
from .data.arguments import add_data_arguments, add_fold_arguments
from .data.manifest import MANIFESTS
from .errors import InputError

__all__ = ["main"]


def _measure(args: argparse.Namespace) -> int:
    from .data.measuring import measure_files
    from .data.reading import picture_files
    from .files import as_csv, check_table_name, reporting_disk_errors, write_table

    _check_scale(args.um_per_px)
    if args.processes is not None and args.processes < 1:
        raise InputError(f"--processes {args.processes}: expected at least 1")
    if args.output is not None:
        check_table_name(args.output)
    paths = picture_files(args.images)
    if args.overlay is not None:
        with reporting_disk_errors(args.overlay):
            args.overlay.mkdir(parents=True, exist_ok=True)
    rows, failures = measure_files(paths, args.um_per_px, args.overlay, args.processes)
    if rows and args.output is not None:
        write_table(args.output, rows)
    elif rows:
        sys.stdout.write(as_csv(rows))
    doubtful = sum(not row["ok"] for row in rows)
    print(f"{len(rows)} measured, {doubtful} of them not to be trusted (column flags)", file=sys.stderr)
    return _report_skipped(failures)


def _report_skipped(reasons: Sequence[str]) -> int:
    """Say which files were skipped, and why; the exit status."""
    for reason in reasons:
        print(f"skipped: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def _check_scale(um_per_px: float | None) -> None:
    if um_per_px is not None and not um_per_px > 0:
        raise InputError(f"--um-per-px {um_per_px}: expected micrometres per pixel, more than 0")


def _predict(args: argparse.Namespace) -> int:
    from .data.reading import picture_files
    from .files import as_csv, check_table_name
    from .inference import Classifier
    from .inference.predict import predict_files
    from .inference.results import write_results

    _check_scale(args.um_per_px)
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
    return _report_skipped(skipped)


def _report(args: argparse.Namespace) -> int:
    from .inference.report import write_report
    from .inference.results import read_results

    if len(args.results) > 2:
        raise InputError(f"{len(args.results)} tables: expected that of one slide, or of two slides of one sample")
    output = args.output or args.results[0].with_suffix(".html")
    write_report([read_results(path) for path in args.results], output)
    print(f"{output}: open it in a browser")
    return 0


def _explain(args: argparse.Namespace) -> int:
    from .data.reading import decode, names_below, picture_files, read
    from .files import reporting_disk_errors
    from .inference import Classifier
    from .inference.explain import attention_figure, attention_overlays

    paths = picture_files(args.images)
    classifier = Classifier(args.model)
    with reporting_disk_errors(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    failures = []
    named = zip(paths, names_below(paths), strict=True)
    for path, name in tqdm(named, total=len(paths), unit="picture", disable=len(paths) < 5):
        try:
            prepared = [classifier.prepare(decode(read(path), str(path)))]
        except InputError as error:
            failures.append(str(error))
            continue
        overlays = attention_overlays(classifier, prepared)
        (args.output / name).parent.mkdir(parents=True, exist_ok=True)
        attention_figure(prepared, classifier.predict(prepared), overlays, args.output / name)
    return _report_skipped(failures)


def _tsne(args: argparse.Namespace) -> int:
    import torch

    from .data.sources import class_names, load, pictures
    from .inference import Classifier
    from .inference.explain import embed, tsne, tsne_figure
    from .training.seen import seen_by

    records = load(args.dataset, args.data_dir)
    classifier = Classifier(args.model)
    views = [classifier.prepare(image).view for image in tqdm(pictures(records), total=len(records), desc="preparing")]
    points = tsne(embed(classifier.model, torch.from_numpy(classifier.normalized(views))))
    shown, trained_on = records["pixel_sha256"], None
    seen = seen_by(classifier.folder.path, args.dataset, shown)
    if len(seen) < len(set(shown)):
        trained_on = [pixels in seen for pixels in shown]
    else:
        print(
            f"note: {args.model} was trained on all of these pictures; what it has seen lies apart by itself",
            file=sys.stderr,
        )
    tsne_figure(points, records["label"], class_names(records), args.output, trained_on)
    return 0


def _export(args: argparse.Namespace) -> int:
    from .hub.lookup import find_model
    from .hub.model_folder import ModelFolder
    from .inference.export import export_onnx

    if args.output.suffix != ".onnx":
        raise InputError(f"--output {args.output}: expected a name that ends in .onnx")
    difference = export_onnx(ModelFolder(find_model(args.model)), args.output)
    print(f"{args.output}: ONNX Runtime gives PyTorch's logits to {difference:.0e}")
    return 0


def _publish(args: argparse.Namespace) -> int:
    from .hub.publish import publish

    for line in publish(args.run, args.repo, private=args.private, dry_run=args.dry_run, tag=args.tag):
        print(line)
    return 0


def _data_download(args: argparse.Namespace) -> int:
    from .data.download import download

    count = download(args.dataset, args.source, args.output, args.sha256)
    print(f"{count} pictures as published: {args.output}")
    return 0


def _data_verify(args: argparse.Namespace) -> int:
    from .data.manifest import verify

    found = verify(args.dataset, args.data_dir)
    print(found)
    return 0 if found.ok else 1


def _data_folds(args: argparse.Namespace) -> int:
    from .data.folds import assign_folds, fold_rows
    from .data.sources import drop_conflicts, load
    from .files import as_csv, check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    records, _ = drop_conflicts(load(args.dataset, args.data_dir))
    folds = assign_folds(args.dataset, records, args.protocol, args.folds, args.seed)
    rows = fold_rows(records, folds, ("file", "pixel_sha256", "group", "session", "label"))
    if args.output is None:
        sys.stdout.write(as_csv(rows))
    else:
        write_table(args.output, rows)
    return 0


def _data_stats(args: argparse.Namespace) -> int:
    from .data.sources import load
    from .data.statistics import class_statistics, duplicate_statistics
    from .files import check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    records = load(args.dataset, args.data_dir)
    rows = class_statistics(records)
    width = max(len(key) for key in rows[0])
    print("\n".join(f"{key:<{width}}" + "".join(f"{row[key]!s:>12}" for row in rows) for key in rows[0]))
    counts = duplicate_statistics(records)
    print("\n" + "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items()))
    if args.output is not None:
        write_table(args.output, rows)
    return 0


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, folders or patterns")


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--um-per-px", type=float, metavar="X", help="micrometres per pixel")


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet; without it CSV on the screen")


def _add_measure(verbs: Any) -> None:
    measure = verbs.add_parser(
        "measure",
        help="measure the head in each picture",
        description="Measure the sperm head nearest to the middle of each picture: length, width, aspect ratio, angle, "
        "shape, acrosome, flags, and whether they lie in the ranges of a normal head. Lengths are in pixels, and in "
        "micrometres where --um-per-px is given.",
        epilog="Exit status: 0; 1 if some pictures could not be read (the others are measured); 2 after a mistake in "
        "the arguments. Example: madrnet measure crops/ --um-per-px 0.1 --output heads.csv --overlay overlays",
    )
    _add_images(measure)
    _add_scale(measure)
    _add_table(measure)
    measure.add_argument("--overlay", type=Path, metavar="DIR", help="folder for pictures with outline, axes, acrosome")
    measure.add_argument("--processes", type=int, metavar="N", help="number of processes (all cores)")
    measure.set_defaults(verb=_measure)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="NAME",
        help="model folder, published name (madrnet_<architecture>.<tag>), or hf-hub:owner/name[@revision]",
    )  # fmt: skip


def _add_inference(verbs: Any) -> None:
    predict = verbs.add_parser(
        "predict",
        help="classify and measure pictures of heads",
        description="Classify crops of single heads and measure them: class, calibrated probabilities, entropy, "
        "whether the model abstains or the picture is unlike its training pictures, and all that `measure` gives.",
        epilog="Exit status: 0; 1 if some files were skipped (the others are classified); 2 after a mistake in the "
        "arguments. Example: madrnet predict crops/ --model runs/quickstart/model --output results.csv",
    )
    _add_images(predict)
    _add_model(predict)
    _add_table(predict)
    _add_scale(predict)
    predict.add_argument(
        "--backend",
        default="torch",
        choices=("torch", "onnx"),
        help="onnx: ONNX Runtime, faster on the CPU (%(default)s)",
    )
    predict.add_argument("--device", default="cpu", help="of the backend torch: cpu or cuda (%(default)s)")
    predict.add_argument("--batch-size", type=int, default=32, metavar="N", help="pictures a batch (%(default)s)")
    predict.set_defaults(verb=_predict)

    report = verbs.add_parser(
        "report",
        help="one HTML page of a table of predictions",
        description="Write one self-contained HTML page: share of normal heads with its interval, classes, aspect "
        "ratios, what was left out, a gallery. Two tables are two slides of one sample, whose agreement is checked.",
    )
    report.add_argument("results", nargs="+", type=Path, metavar="TABLE", help="output of `madrnet predict`")
    report.add_argument("--output", type=Path, metavar="HTML", help="(the table's name with .html)")
    report.set_defaults(verb=_report)

    explain = verbs.add_parser(
        "explain",
        help="what a model looks at",
        description="Grad-CAM++ of the predicted class on the backbone's map, behind R and in P, a PNG file a picture.",
    )
    _add_images(explain)
    _add_model(explain)
    explain.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    explain.set_defaults(verb=_explain)

    points = verbs.add_parser(
        "tsne",
        help="t-SNE of the embeddings of a data set, as a picture",
        description="t-SNE of the embeddings of a data set. Where the model lies in a run (runs/heads/model), the "
        "pictures that it was trained on are pale.",
    )
    add_data_arguments(points)
    _add_model(points)
    points.add_argument("--output", type=Path, required=True, metavar="PNG")
    points.set_defaults(verb=_tsne)

    export = verbs.add_parser(
        "export",
        help="a model as ONNX",
        description="Write a model as one ONNX file with any batch size, labels and preparation in its metadata, after "
        "ONNX Runtime gave the same logits as PyTorch.",
    )
    _add_model(export)
    export.add_argument("--output", type=Path, required=True, metavar="ONNX")
    export.set_defaults(verb=_export)


def _add_publish(verbs: Any) -> None:
    publish = verbs.add_parser(
        "publish",
        help="put a model on the Hugging Face Hub",
        description="Upload the model folder of a run: weights as safetensors, config.json, model card. What is there "
        "already is not uploaded again; an upload that was cut off goes on with the same command.",
        epilog="Log in with `hf auth login` first. Example: madrnet publish runs/hushem --repo me/my-model --dry-run",
    )
    publish.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or its model/ folder")
    publish.add_argument("--repo", required=True, metavar="OWNER/NAME")
    publish.add_argument("--private", action="store_true", help="if the repository is made: for you alone")
    publish.add_argument("--dry-run", action="store_true", help="only say what would change")
    publish.add_argument("--tag", metavar="vX.Y", help="give the version a tag, which stays what it is")
    publish.set_defaults(verb=_publish)


def _add_data(verbs: Any) -> None:
    data = verbs.add_parser("data", help="fetch, verify, divide and describe data sets").add_subparsers(
        required=True, metavar="VERB"
    )
    fetch = data.add_parser(
        "download",
        help="fetch HuSHeM or SMIDS and check every picture",
        description="Fetch a published data set from a URL or a local zip or tar archive, check it by hash and "
        "manifest, and unpack it safely. A transfer that was cut off goes on where it stopped. HuSHeM: DOI "
        "10.17632/tt3yj2pf38; SMIDS: DOI 10.17632/6xvdhc9fyb; take the address of the archive from there.",
        epilog="Example: madrnet data download hushem HuSHeM.zip --output data/hushem",
    )
    fetch.add_argument("dataset", choices=MANIFESTS)
    fetch.add_argument("source", metavar="URL|ARCHIVE", help="https://... or a file")
    fetch.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    fetch.add_argument("--sha256", metavar="HEX", help="hash of the archive, if you know it")
    fetch.set_defaults(verb=_data_download)

    check = data.add_parser(
        "verify",
        help="compare a copy with what was published",
        description="Compare a copy of a data set with the manifest of this package, by the hash of each file or, in "
        "another lossless format, of its pixels. Names what is missing, altered or unexpected.",
        epilog="Exit status: 0 if the copy is as published, 1 if not, 2 after a mistake in the arguments.",
    )
    check.add_argument("dataset", choices=MANIFESTS)
    check.add_argument("data_dir", type=Path, metavar="DIR")
    check.set_defaults(verb=_data_verify)

    folds = data.add_parser(
        "folds",
        help="which picture is held out in which fold",
        description="Write the fold, the group (pictures of one cell) and the session of every picture. Pictures with "
        "conflicting labels are left out; fold -1 means that the protocol does not use the picture.",
    )
    add_data_arguments(folds)
    add_fold_arguments(folds)
    folds.add_argument("--seed", type=int, default=0, help="of the shuffling (%(default)s)")
    _add_table(folds)
    folds.set_defaults(verb=_data_folds)

    stats = data.add_parser(
        "stats",
        help="what a data set holds",
        description="Pictures, cells, sessions, quartiles of the aspect ratio and flags of each class, duplicates and "
        "conflicting labels.",
    )
    add_data_arguments(stats)
    stats.add_argument("--output", type=Path, metavar="FILE", help="the table of classes as .csv or .parquet, too")
    stats.set_defaults(verb=_data_stats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="madrnet",
        description="Sperm heads classified and measured. Research use only; not a medical device.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_measure(verbs)
    _add_data(verbs)
    _add_inference(verbs)
    _add_publish(verbs)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""
    args = _parser().parse_args(argv)
    status = 0

    def run() -> None:
        nonlocal status
        status = args.verb(args)

    run_command(run)
    sys.exit(status)


if __name__ == "__main__":
    main()
