"""Test a model on another data set than its own, where classes allow: normal heads against all other heads.

    python -m examples.studies.generality --model madrnet_tf_efficientnet_lite0.hushem --dataset smids --data-dir DIR \\
        --output docs/results/hushem-on-smids.csv

Images of things that are no sperm are left out, and so is the model's probability for them. The model is asked twice:
as it is, and after its batch norms have taken their statistics from the images of the other set (never their labels).
The table has one row per image: ``label``, ``normal`` and ``normal_adapted`` (probability of a normal head).
"""

import argparse
import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.data_arguments import add_data_arguments, settle_dataset


def figures(rows: Sequence[dict[str, Any]], key: str) -> dict[str, float]:
    """Accuracy, balanced accuracy, and area under the ROC curve of a column of probabilities of ``normal``."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

    truth = [row["label"] == "normal" for row in rows]
    probabilities = [float(row[key]) for row in rows]
    said = [value > 0.5 for value in probabilities]
    return {
        "accuracy": float(accuracy_score(truth, said)),
        "balanced accuracy": float(balanced_accuracy_score(truth, said)),
        "AUC": float(roc_auc_score(truth, probabilities)),
    }


def adapt_norms(model: Any, batches: Iterable[Any]) -> None:
    """Statistics of all batch norms from these images, the mean of all batches."""
    import torch

    from madrnet_timm._compat import AnyBatchNorm

    norms = [m for m in model.modules() if isinstance(m, AnyBatchNorm)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None
        module.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    model.eval()


def without_seen(records: Any, seen: Container[str], args: argparse.Namespace) -> Any:
    """The records of the cells of which the model has seen no image.

    Raises:
        InputError: There are some that it was trained on, and ``--leave-out-seen`` is not given, or nothing is left.
    """
    from madrnet_timm.errors import InputError

    known = [index for index, pixels in enumerate(records["pixel_sha256"]) if pixels in seen]
    if not known:
        return records
    if not args.leave_out_seen:
        raise InputError(
            f"--model {args.model}: was trained on {len(known)} of the {len(records)} images; give other images, or "
            "measure without these (--leave-out-seen)"
        )
    groups = records["group"]
    cells = {groups[index] for index in known}
    left = [index for index, group in enumerate(groups) if group not in cells]
    if not left:
        raise InputError(f"--leave-out-seen: {args.model} has seen the cells of all {len(records)} images; give others")
    seen_cells = f"{len(records) - len(left)} of {len(records)} images, of cells on which {args.model} was trained"
    print(f"left out: {seen_cells}", file=sys.stderr)
    return records.select(left)


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder, published name, or hf-hub:owner/name")
    add_data_arguments(parser)
    parser.add_argument("--normal-class", metavar="NAME", help="the data set's class of normal heads (Normal)")
    parser.add_argument("--leave-out-seen", action="store_true", help="measure without images that it was trained on")
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv: one row per image")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images at once (%(default)s)")
    args = parser.parse_args()
    settle_dataset(args)
    return args


def heads_of(args: argparse.Namespace, classifier: Any) -> tuple[Any, list[str]]:
    """The records of heads that the model has not seen, and of each whether it is ``normal`` or ``abnormal``.

    Raises:
        InputError: One of the two has no class of normal heads; there are normal heads or others alone; see
            `without_seen`.
    """
    from madrnet_timm.data.sources import SOURCES, class_names, drop_conflicts, load, normal_class
    from madrnet_timm.errors import InputError
    from madrnet_timm.training.leakage import seen_by

    info, names = classifier.folder.info, classifier.label_names
    records, _ = drop_conflicts(load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable))
    own = class_names(records)
    normal_here = normal_class(own, args.normal_class)
    for what, classes, normal_of_it in (("--model", names, info.normal_class), ("--dataset", own, normal_here)):
        if normal_of_it not in classes:
            raise InputError(f"{what}: no class of normal heads among {', '.join(classes)}; name it (--normal-class)")
    records = without_seen(records, seen_by(classifier.folder.path, args.dataset, records["pixel_sha256"]), args)
    no_head = SOURCES[args.dataset].no_head
    records = records.select([i for i, label in enumerate(records["label"]) if own[label] != no_head])
    labels = ["normal" if own[label] == normal_here else "abnormal" for label in records["label"]]
    if len(set(labels)) < 2:
        raise InputError(f"--dataset {args.dataset}: expected normal heads and others, there are {set(labels)} alone")
    return records, labels


def probabilities_of_normal(classifier: Any, views: Sequence[Any], batch_size: int) -> tuple[list[float], list[float]]:
    """Probability of a normal head for each view: as the model is, and after its norms are adapted to the views."""
    import numpy as np
    import torch
    from tqdm import tqdm

    model, info, names = classifier.model, classifier.folder.info, classifier.label_names
    # in the order of the files, which is that of the classes, each batch would have the statistics of one class
    order = np.random.default_rng(0).permutation(len(views))
    parts = np.array_split(order, max(1, len(order) // batch_size))  # as large, for each counts the same
    batches = [torch.from_numpy(classifier.normalized([views[i] for i in part])) for part in parts]

    def normal() -> list[float]:
        with torch.inference_mode():
            found = [model(batch) for batch in tqdm(batches, desc="network", disable=None)]
        logits = torch.cat(found)
        if info.no_head_class is not None:
            logits[:, names.index(info.no_head_class)] = -torch.inf
        out = np.empty(len(views))
        out[order] = logits.softmax(1)[:, names.index(info.normal_class)].numpy()
        return [round(float(value), 6) for value in out]

    before = normal()
    adapt_norms(model, tqdm(batches, desc="norms", disable=None))
    return before, normal()


def main() -> None:
    args = arguments()

    from tqdm import tqdm

    from madrnet_timm.data.sources import images_of
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.inference import Classifier
    from madrnet_timm.morphology import measure

    if args.output is not None:
        check_table_name(args.output)
    if args.batch_size < 2:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 2, for the batch norms' statistics")
    classifier = Classifier(args.model)
    if classifier.folder.info.second_view is not None:
        raise InputError(f"--model {args.model}: a model of two views; expected one of one view")
    records, labels = heads_of(args, classifier)
    images = tqdm(images_of(records), total=len(records), desc="images", disable=None)
    views = [classifier.prepare(image, head=measure(image)).view for image in images]
    columns = probabilities_of_normal(classifier, views, args.batch_size)
    rows = [
        {"file": file, "label": label, "normal": before, "normal_adapted": after}
        for file, label, before, after in zip(records["file"], labels, *columns, strict=True)
    ]
    for key, title in (("normal", "as it is"), ("normal_adapted", "norms adapted")):
        found = figures(rows, key)
        print(f"{title:<14}" + ", ".join(f"{name} {100 * value:.1f} %" for name, value in found.items()))
    if args.output is not None:
        write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
