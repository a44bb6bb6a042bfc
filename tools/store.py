"""Store a cross-validation for the results pages in docs/, and fill their tables anew.

    python -m tools.store hushem-madrnet runs/hushem --title "MADRNet (Lite0)"
    python -m tools.store hushem-mirror runs/mirror.csv --title "..." --like hushem-madrnet --command "..."

The first line stores the predictions of a cross-validation in docs/results/<name>.csv and its description in runs.yaml;
where a page shows them, the held-out accuracy of its epochs in <name>-epochs.csv (name the run in paper.yaml before)
and two figures of it. Seeds that are stored already and that the output lacks stay. The second stores a table of
madrnet ensemble, on the folds of a stored run.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from madrnet_timm.command import run_command
from madrnet_timm.errors import InputError

from .results import write_pages
from .stored import RESULTS, read_yaml

if TYPE_CHECKING:
    from madrnet_timm.training.stored import CrossValidation

KEPT = ("seed", "fold", "file", "label", "prediction")


def _stored_rows(path: Path) -> list[dict[str, str]]:
    from madrnet_timm.files import read_csv

    return read_csv(path) if path.is_file() else []


def _write(results: Path, name: str, rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    from madrnet_timm.files import write_csv, write_text

    with_probabilities = [key for key in rows[0] if key.startswith("p_") and all(row.get(key) for row in rows)]
    write_csv(
        results / f"{name}.csv",
        [
            {key: row[key] for key in KEPT} | {key: round(float(row[key]), 4) for key in with_probabilities}
            for row in rows
        ],
    )
    runs = read_yaml(results / "runs.yaml") | {name: entry}
    write_text(results / "runs.yaml", yaml.safe_dump(runs, sort_keys=False, allow_unicode=True, width=120))


def _check_title(results: Path, name: str, title: str) -> None:
    stored = read_yaml(results / "runs.yaml").get(name, {}).get("title", title)
    if stored != title:
        raise InputError(f"{name}: is stored as {stored!r}; choose another name, or give that --title")


def store_run(results: Path, name: str, output: Path, title: str) -> None:
    """Store the output of a cross-validation.

    Probabilities are kept, to four digits, if all seeds that are stored have them.

    Args:
        results: Folder of the stored predictions and of ``runs.yaml``.
        name: To store it under.
        output: See `madrnet_timm.training.cross_validation.cross_validate`.
        title: What the run is, in a few words, for docs/results-runs.md.

    Raises:
        InputError: No cross-validation there; a known name with another title; fewer seeds than are stored under the
            name, and not trained as those were.
    """
    from madrnet_timm.files import write_csv
    from madrnet_timm.training.stored import CrossValidation, cross_validated_config
    from madrnet_timm.training.training_command import training_command

    _check_title(results, name, title)
    done, config = CrossValidation.read(output, partial=True), cross_validated_config(output)
    rows, found = done.predictions, done.summary
    seeds = set(found.seeds)
    before, epochs_before = (_stored_rows(results / f"{part}.csv") for part in (name, f"{name}-epochs"))
    stay, epochs_stay = ([row for row in part if int(row["seed"]) not in seeds] for part in (before, epochs_before))
    if stay:
        stored = {int(row["seed"]) for row in before}
        command = read_yaml(results / "runs.yaml")[name]["command"]
        if training_command(config, sorted(stored), f"runs/{name}") != command:
            raise InputError(
                f"{output}: lacks seeds that are stored as {name} and was not trained as they were ({command}); choose "
                "another name"
            )
        seeds |= stored
        rows = sorted([*stay, *rows], key=lambda row: int(row["seed"]))
    entry: dict[str, Any] = {
        "title": title,
        "dataset": config.dataset,
        "protocol": config.folds.stem if isinstance(config.folds, Path) else config.protocol,
        "command": training_command(config, sorted(seeds), f"runs/{name}"),
        "classes": found.pooled.names,
    }
    trained = sorted({fold.fold for fold in found.folds})
    if isinstance(config.folds, int) and config.protocol != "session" and len(trained) < config.folds:
        entry["folds"] = trained
    _write(results, name, rows, entry)
    if name in _with_epochs(results):
        epochs = sorted([*epochs_stay, *done.epochs], key=lambda row: int(row["seed"]))
        write_csv(results / f"{name}-epochs.csv", epochs)
    if not stay:
        _draw(results, name, done)


def _with_epochs(results: Path) -> set[str]:
    """Runs of whose epochs a page shows something."""
    paper = read_yaml(results / "paper.yaml")
    return {
        *paper["best_epoch"]["runs"],
        paper["soup"]["run"],
        *(name for names in paper["peers"].values() for name in names),
    }


def _draw(results: Path, name: str, done: "CrossValidation") -> None:
    """The figures of a cross-validation that a page shows."""
    from madrnet_timm.evaluation.figures import confusion_matrix_figure

    pages = "".join(page.read_text(encoding="utf-8") for page in results.parent.glob("results*.md"))
    curves, confusion = f"{name}-learning_curves.png", f"{name}-confusion_matrix.png"
    if f"results/{curves}" in pages:
        done.draw_learning_curves(results / curves)
    if f"results/{confusion}" in pages:
        pooled = done.summary.pooled
        confusion_matrix_figure(pooled.confusion_matrix, pooled.names, results / confusion)


def store_table(results: Path, name: str, table: Path, title: str, like: str, command: str) -> None:
    """Store a table of predictions.

    Args:
        results: See `store_run`.
        name: To store it under.
        table: CSV with the columns `KEPT`.
        title: What the run is, in a few words, for docs/results-runs.md.
        like: Name of a stored run with the same images in the same folds.
        command: What made the table.

    Raises:
        InputError: Another table than that; no such run; a known name with another title.
    """
    from madrnet_timm.training.stored import held_out_predictions

    _check_title(results, name, title)
    runs, rows = read_yaml(results / "runs.yaml"), held_out_predictions(table)
    if like not in runs:
        raise InputError(f"--like {like}: is not stored; expected one of {', '.join(runs)}")
    seeds = {row["seed"] for row in rows}
    wanted, given = (
        {tuple(row[key] for key in KEPT[:4]) for row in part if row["seed"] in seeds}
        for part in (held_out_predictions(results / f"{like}.csv"), rows)
    )
    if given != wanted or not {row["prediction"] for row in rows} <= set(runs[like]["classes"]):
        raise InputError(f"{table}: not the images and classes that {like} has in its folds of these seeds")
    kept = {key: runs[like][key] for key in ("dataset", "protocol", "classes")}
    _write(results, name, rows, {"title": title, "command": command, **kept})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="to store it under")
    parser.add_argument("output", type=Path, help="of madrnet cross-validate, or a CSV of madrnet ensemble")
    parser.add_argument("--title", required=True, help="what the run is, in a few words")
    parser.add_argument("--like", metavar="NAME", help="stored run whose folds a CSV has")
    parser.add_argument("--command", help="that made that CSV")
    args = parser.parse_args()

    if args.output.is_file():
        if not args.like or not args.command:
            parser.error(f"{args.output}: a CSV needs --like and --command")
        store_table(RESULTS, args.name, args.output, args.title, args.like, args.command)
    elif args.like or args.command:
        parser.error("--like and --command belong to a CSV; a cross-validation knows its own")
    else:
        store_run(RESULTS, args.name, args.output, args.title)
    write_pages()


if __name__ == "__main__":
    run_command(main)
