"""From a cross-validation to a model that is given to others: trained on all images, small, with its figures."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..data.folds import divided_groups
from ..errors import InputError
from ..evaluation.calibration import Calibration
from ..evaluation.guarantee import Guarantee
from ..evaluation.results import Summary
from ..files import read_csv, sha256_of, write_text
from ..hub.card import ANYWHERE
from ..hub.cost import cost_of
from ..hub.lookup import find_model
from ..hub.model_folder import PRECISIONS, ModelFolder, save_model_folder
from ..models.pretrained import Published
from .evidence import CALIBRATED, Evidence, describe_folds, model_card, promised
from .run_config import RunConfig
from .run_folder import RunFolder
from .stored import CrossValidation, cross_validated_config, seed_and_fold
from .train import train_on_all
from .training_command import training_command

__all__ = [
    "MODELS",
    "Shipment",
    "evidence_of",
    "promise_anew",
    "promises",
    "published_card",
    "ship",
    "write_entry",
]

REVISION = "v0.1.0"
_FIGURE = "confusion_matrix.png"
EXTRAS = ("summary.json", "predictions.csv", _FIGURE)
MODELS = "src/madrnet_timm/models/models.yaml"

_OWN = {"fold", "folds", "seed", "license", "leave_out_seen"}
"""Options in which a final training may differ from a cross-validation without being another."""


def evidence_of(output: Path, note: str = "") -> Evidence:
    """What a finished cross-validation says of its recipe.

    Args:
        output: Of `cross_validate`.
        note: What else has to be known to judge the figures, such as choices that were made on the same folds.

    Raises:
        InputError: See `CrossValidation.read`.
    """
    done, config = CrossValidation.read(output), cross_validated_config(output)
    summary, rows, names = done.summary, done.predictions, done.summary.pooled.names
    calibration, guaranteed = promises(rows, names)
    seeds = summary.seeds
    folds = len(summary.folds) // len(seeds)
    places = read_csv(RunFolder(output / f"seed{seeds[0]}-fold0").folds)
    divided = divided_groups(*([int(row[key]) for row in places] for key in ("group", "fold")))
    protocol = (
        "Trained on all images after a cross-validation of the same recipe, whose figures these are: "
        f"{folds} folds; {describe_folds(replace(config, seed=seeds[0]), divided, seeds)}. {note}{note and ' '}"
        f"{CALIBRATED.format('the same held-out images')} The model itself has seen all of them, so that no figure "
        "of its own can be given on them: what is promised was measured on the models of the folds."
    )
    return _evidence(summary, protocol, calibration, guaranteed)


def _evidence(
    summary: Summary, protocol: str, calibration: Calibration | None, guaranteed: Guarantee | None
) -> Evidence:
    metrics = replace(summary.pooled, controls=summary.controls)
    return Evidence(metrics, protocol, calibration, guaranteed, summary.images, "the same folds", _note(summary))


def promises(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[Calibration | None, Guarantee | None]:
    """Calibration and guarantee by held-out predictions, see `promised`.

    Args:
        rows: Of ``predictions.csv`` of a cross-validation, all seeds; with the columns ``seed``, ``fold``, ``file``,
            ``group``, ``label``, ``p_<class>`` and ``aspect_ratio``.
        names: Of the classes.
    """
    folds: dict[tuple[Any, Any], set[Any]] = defaultdict(set)
    for row in rows:
        folds[row["seed"], row["group"]].add(row["fold"])
    counted = [row["aspect_ratio"] != "" and len(folds[row["seed"], row["group"]]) == 1 for row in rows]
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels = np.array([names.index(row["label"]) for row in rows])
    groups = np.array([int(row["group"]) for row in rows])
    calibration, guaranteed = promised(probabilities, labels.tolist(), groups.tolist(), counted)
    images = len({row["file"] for row, counts in zip(rows, counted, strict=True) if counts})
    return calibration and replace(calibration, images=images), guaranteed


def _note(summary: Summary) -> str:
    """How the figures of a cross-validation vary."""
    mean, sd, half = (100 * part["accuracy"] for part in (summary.mean, summary.sd, summary.t_half_width))
    seeds = len(summary.seeds)
    times = f" The tables count each image {seeds} times, once per seed." if seeds > 1 else ""
    return f"Mean over the folds {mean:.1f} ± {sd:.1f} % (95 % t interval ± {half:.1f}).{times}"


@dataclass(frozen=True)
class Shipment:
    """What is shipped, and where to.

    Attributes:
        output: Of `cross_validate`, finished.
        name: ``madrnet_<architecture>.<tag>``.
        hub: Folder that gets ``<name>/``: the model folder, and the cross-validation's predictions, summary and
            confusion matrix.
        models: The package's ``models.yaml``, whose entry is set, so that ``name`` is known to timm.
        note: See `evidence_of`.
        final: Finished run, or model folder, that was trained on all images; None: it is trained now, with the options
            of the cross-validation.
        precision: Of the stored weights, one of `PRECISIONS`.
        base_model: Repository on the Hub of the weights that the training began with; None: as the final model says.
    """

    output: Path
    name: str
    hub: Path
    models: Path | None = None
    note: str = ""
    final: Path | None = None
    precision: str = "fp16"
    base_model: str | None = None

    @property
    def final_run(self) -> RunFolder | None:
        """The run that `final` is, or whose model it is; None where no run is known."""
        places = () if self.final is None else (self.final, self.final.parent)
        return next((run for run in map(RunFolder, places) if run.began), None)

    def check(self, architecture: str) -> None:
        """Raise `InputError` for what can't be shipped, before anything is trained."""
        if self.name.split(".")[0] != architecture or self.name.count(".") != 1:
            raise InputError(f"--name {self.name}: expected {architecture}.<tag>, the model that was cross-validated")
        if missing := [self.output / file for file in EXTRAS if not (self.output / file).is_file()]:
            raise InputError(f"{missing[0]}: missing; give the command of the cross-validation again to finish it")
        if self.models is not None and not self.models.is_file():
            raise InputError(f"--models {self.models}: no such file; expected models.yaml of the package")
        run = self.final_run
        if run is not None and run.read_config().fold is not None:
            raise InputError(f"--final {self.final}: held out a fold; expected a model that was trained on all images")
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}")


def ship(shipment: Shipment) -> Path:
    """Write a model to be published: the final model of a recipe, with the figures of its cross-validation.

    Returns:
        The folder ``<hub>/<name>``.

    Raises:
        InputError: No finished cross-validation; a distilled one without a final model; another architecture; no such
            ``models``; or see `train`.
    """
    output, name = shipment.output, shipment.name
    config, evidence = cross_validated_config(output), evidence_of(output, shipment.note)
    shipment.check(config.model)
    if config.teachers and shipment.final is None:
        raise InputError(
            f"{output}: distilled, and its teachers were trained on folds of their own, none on all images; train the "
            "final model on all images with teachers that were, too, and give it with --final"
        )
    if shipment.final is None:
        final = RunFolder(config.output)
        all_images = replace(config, leave_out_seen=False, resume=final.config.exists())
        train_on_all(all_images, evidence)  # a finished run writes its folder anew
        folder = ModelFolder(final.model)
    else:
        folder = ModelFolder(find_model(shipment.final))
    if folder.architecture != config.model or folder.label_names != evidence.metrics.names:
        raise InputError(f"--final {shipment.final}: {folder.architecture}; expected {config.model}, of these classes")
    info = evidence.added_to(folder.info)
    description = replace(
        folder.description,
        info=replace(info, base_model=shipment.base_model or info.base_model),
        license=config.license or folder.description.license,
        tag=name.split(".")[1],
    )
    model, target, train = folder.load(), shipment.hub / name, _train_command(shipment, config)
    place = name if shipment.models is not None else ANYWHERE
    cost = cost_of(model, description.img_size)
    card = model_card(description, cost, _shell(train), evidence, _FIGURE, place)
    files = [output / file for file in EXTRAS]
    save_model_folder(model, target, description, card.text(), folder.seen, shipment.precision, files)
    if shipment.models is not None:
        write_entry(shipment.models, _entry(name, ModelFolder(target), cost.parameters, train))
    return target


def _shell(command: str) -> str:
    return f"```bash\n{command}\n```"


def _train_command(shipment: Shipment, config: RunConfig) -> str:
    """How to make it again; where the reader's files lie is left to the reader."""
    seeds = sorted({seed_and_fold(path)[0] for path in shipment.output.glob("seed*-fold*")})
    shipped = f"runs/ship{'/distilled' if config.teachers else ''}"
    words = [training_command(config, seeds, "runs/ship"), f"&& python -m tools.ship {shipped} --name", shipment.name]
    words += ["--final runs/final"] if shipment.final is not None else []
    words += [f"--precision {shipment.precision}"] if shipment.precision != "fp16" else []
    words += [f"--models {MODELS}"] if shipment.models is not None else []
    words += [f"# runs/final: all images{_changes(shipment)}"] if shipment.final is not None else []
    return " ".join(words)


def _changes(shipment: Shipment) -> str:
    """In which options the final training differs from the cross-validation's, in words without paths."""
    final = shipment.final_run
    if final is None:
        return ""
    first = RunFolder(min(shipment.output.glob("seed*-fold*")))
    changed = final.read_config().differences(first.read_config())
    names = {key: _without_paths(value) for key, (value, _) in changed.items() if key not in _OWN}
    return "".join(f", {key.replace('_', ' ')} {value}" for key, value in names.items())


def _without_paths(value: Any) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return " ".join(
        Path(str(item)).parent.name if Path(str(item)).name == "model" else Path(str(item)).name for item in values
    )


def _entry(name: str, folder: ModelFolder, parameters: int, train: str) -> Published:
    """What ``models.yaml`` says of a model folder."""
    config, info, license = folder.data_config, folder.info, folder.description.license
    cfg: dict[str, Any] = {"num_classes": len(folder.label_names), "label_names": folder.label_names}
    cfg |= {"input_size": list(config["input_size"]), "mean": list(config["mean"]), "std": list(config["std"])}
    cfg |= {"interpolation": config["interpolation"], "crop_pct": config["crop_pct"]}
    return Published(
        name=name,
        revision=REVISION,
        train=train,
        cfg=cfg if license is None else cfg | {"license": license},
        sha256=sha256_of(folder.weights),
        config_sha256=sha256_of(folder.path / "config.json"),
        base_model=info.base_model,
        dataset=info.dataset,
        images=info.held_out,
        right=round((info.accuracy or 0) * (info.held_out or 0), 2),
        size=folder.weights.stat().st_size,
        parameters=parameters,
    )


def write_entry(models: Path, published: Published) -> None:
    """Set one entry of ``models.yaml``.

    The comment at its head stays, and so does each architecture's default; the first of an architecture becomes it.
    """
    text = models.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    known = yaml.safe_load(text) or {}
    others = [name for name in known if name.split(".")[0] == published.architecture and name != published.name]
    is_default = published.default or known.get(published.name, {}).get("default") or not others
    entry = {key: value for key, value in asdict(replace(published, default=is_default)).items() if value}
    known[entry.pop("name")] = entry
    body = yaml.safe_dump(dict(sorted(known.items())), sort_keys=False, allow_unicode=True, width=120)
    write_text(models, head + body)


def promise_anew(path: Path, published: Published, models: Path) -> None:
    """Write what a shipped folder promises anew, from the predictions beside; its weights stay.

    Args:
        path: The folder.
        published: Its entry in ``models.yaml``, which gets the new checksum of ``config.json``.
        models: ``models.yaml``.

    Raises:
        InputError: No model folder, or no such predictions beside it that a promise can rest on.
    """
    file, names = path / "config.json", ModelFolder(path).label_names
    calibration, guaranteed = promises(read_csv(path / "predictions.csv"), names)
    if calibration is None or guaranteed is None:
        raise InputError(
            f"{path / 'predictions.csv'}: no image that a promise can rest on; expected heads with an outline"
        )
    config = json.loads(file.read_text(encoding="utf-8"))
    config["madrnet"] |= {"calibration": calibration.to_dict(), "guarantee": asdict(guaranteed)}
    text = json.dumps(config, indent=2)
    if text != file.read_text(encoding="utf-8"):
        write_text(file, text)
    if published.config_sha256 != sha256_of(file):
        write_entry(models, replace(published, config_sha256=sha256_of(file)))


def published_card(path: Path, published: Published, speed: str = "") -> str:
    """The card of a folder that `ship` wrote, from the files beside it.

    Args:
        path: The folder.
        published: Its entry in ``models.yaml``.
        speed: Rows of a Markdown table: time for one image.

    Raises:
        InputError: No model folder, or a ``summary.json`` that is none.
    """
    folder, summary = ModelFolder(path), Summary.read(path / "summary.json")
    info = replace(
        folder.info,
        base_model=published.base_model,
        auc=summary.pooled.auc,
        calibration_error=summary.pooled.calibration_error,
    )
    description = replace(folder.description, info=info, tag=published.name.split(".")[1])
    cost = cost_of(folder.outline(), description.img_size)
    evidence = _evidence(summary, info.protocol or "", info.calibration, info.guarantee)
    return model_card(description, cost, _shell(published.train), evidence, _FIGURE, published.name, speed).text()
