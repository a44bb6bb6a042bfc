"""From a cross-validation to a model that is given to others: trained on all pictures, small, with its figures."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from ..data.folds import divided_groups
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..files import read_csv, replacing, replacing_folder, sha256_of, write_text
from ..hub.lookup import HASHED
from ..hub.model_folder import ModelFolder
from .cross_validation import cross_validated_options, held_out_predictions, summarize
from .evidence import Evidence, describe_folds
from .loop import train_on_all
from .outcome import HOW_TO_TRAIN
from .run_folder import RunFolder
from .training_command import training_command

__all__ = ["evidence_of", "models_entry", "ship", "write_entry"]

REVISION = "v0.1.0"
MODELS = "src/madrnet_timm/models/models.yaml"


def evidence_of(output: Path, note: str = "") -> Evidence:
    """What a finished cross-validation says of its recipe.

    Args:
        output: Of `cross_validate`.
        note: What else has to be known to judge the figures, such as choices that were made on the same folds.

    Raises:
        InputError: See `summarize`.
    """
    summary, options, rows = summarize(output), cross_validated_options(output), held_out_predictions(output)
    names = list(summary["pooled"]["per_class"])
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    calibration = calibrate(probabilities, [names.index(row["label"]) for row in rows])
    mean, sd, half = (100 * summary[key]["accuracy"] for key in ("mean", "sd", "t_half_width"))
    controls = {key.removeprefix("control "): v for key, v in summary["mean"].items() if key.startswith("control ")}
    seeds = sorted({row["seed"] for row in summary["folds"]})
    folds = len(summary["folds"]) // len(seeds)
    places = read_csv(RunFolder(output / f"seed{seeds[0]}-fold0").folds)
    divided = divided_groups(*([int(row[key]) for row in places] for key in ("group", "fold")))
    return Evidence(
        metrics=summary["pooled"] | {"controls": controls},
        protocol=(
            "Trained on all pictures after a cross-validation of the same recipe, whose figures these are: "
            f"{folds} folds; {describe_folds(replace(options, seed=seeds[0]), divided, seeds)}. {note}{note and ' '}"
            "Temperature and threshold of the calibration come from the same held-out pictures. The model itself has "
            "seen all of them, so that no figure of its own can be given on them."
        ),
        calibration=replace(calibration, pictures=summary["pictures"]),
        pictures=summary["pictures"],
        right=summary["right"],
        where="the same folds",
        note=f"Mean over the folds {mean:.1f} ± {sd:.1f} % (95 % t interval ± {half:.1f})."
        + (f" The tables count each picture {len(seeds)} times, once a seed." if len(seeds) > 1 else ""),
    )


def _halve(weights: Path) -> None:
    """Matrices and kernels of a safetensors file in half precision; norms and biases stay as they are."""
    state = {k: v.half() if v.ndim > 1 and v.dtype == torch.float32 else v for k, v in load_file(weights).items()}
    with replacing(weights) as beside:
        save_file(state, beside, metadata={"format": "pt"})
        shutil.copymode(weights, beside)


def models_entry(folder: ModelFolder, train: str) -> dict[str, Any]:
    """What ``models.yaml`` says of a model folder."""
    config = folder.data_config
    cfg: dict[str, Any] = {"num_classes": len(folder.label_names), "label_names": folder.label_names}
    cfg |= {name: list(config[name]) for name in ("input_size", "mean", "std")}
    cfg |= {"interpolation": config["interpolation"], "crop_pct": config["crop_pct"]}
    licence = folder.config.pretrained_cfg["license"]
    cfg |= {} if licence is None else {"license": licence}
    hashes = {key: sha256_of(folder.path / name) for key, name in HASHED.items()}
    return {"revision": REVISION, **hashes, "train": train, "cfg": cfg}


def write_entry(models: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Set one entry of ``models.yaml``; the comment at its head stays, and so does each architecture's default."""
    text = models.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    known = yaml.safe_load(text) or {}
    default = {"default": True} if known.get(name, {}).get("default") else {}
    known[name] = default | dict(entry)
    body = yaml.safe_dump(dict(sorted(known.items())), sort_keys=False, allow_unicode=True, width=120)
    write_text(models, head + body)


def ship(output: Path, name: str, hub: Path, models: Path | None = None, note: str = "") -> Path:
    """Train the recipe of a cross-validation on all pictures and write what is published.

    Args:
        output: Of `cross_validate`, finished.
        name: ``madrnet_<architecture>.<tag>``.
        hub: Folder that gets ``<name>/``: the model folder with weights in half precision, and the cross-validation's
            predictions, summary and confusion matrix.
        models: The package's ``models.yaml``, whose entry is set, so that ``name`` is known to timm.
        note: See `evidence_of`.

    Returns:
        The folder.

    Raises:
        InputError: No finished cross-validation, a distilled one, another architecture, no such ``models``, or see
            `train`.
    """
    options, evidence = cross_validated_options(output), evidence_of(output, note)
    if options.teachers:
        raise InputError(
            f"{output}: distilled, and its teachers were trained on folds of their own, none on all pictures; ship a "
            "cross-validation without teachers"
        )
    if name.split(".")[0] != options.model or name.count(".") != 1:
        raise InputError(f"--name {name}: expected {options.model}.<tag>, the model that was cross-validated")
    extras = [output / file for file in ("summary.json", "predictions.csv", "confusion_matrix.png")]
    if missing := [path for path in extras if not path.is_file()]:
        raise InputError(f"{missing[0]}: missing; run madrnet cross-validate again to finish it")
    if models is not None and not models.is_file():
        raise InputError(f"--models {models}: no such file; expected models.yaml of the package")
    run = RunFolder(options.output)
    seeds = sorted({row["seed"] for row in summarize(output)["folds"]})
    train = f"{training_command(options, seeds, 'runs/ship')} && python -m tools.ship runs/ship --name {name}"
    if models is not None:
        train += f" --models {MODELS}"
    train_on_all(replace(options, resume=run.config.exists()), evidence)  # a finished run writes its folder anew
    target = hub / name
    with replacing_folder(target) as folder:
        for path in [*sorted(run.model.iterdir()), *extras]:
            shutil.copy(path, folder / path.name)
        _halve(folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["pretrained_cfg"]["tag"] = name.split(".")[1]
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        card = (folder / "README.md").read_text(encoding="utf-8").replace(HOW_TO_TRAIN, f"```bash\n{train}\n```")
        card = re.sub(r"^- name: .*$", f"- name: {name}", card, count=1, flags=re.MULTILINE)  # of the model-index
        card = card.replace(f"\n# {options.model} for ", f"\n# {name} for ", 1)
        if models is not None:
            card = card.replace("local-dir:path/to/this/folder", name).replace("path/to/this/folder", name)
        write_text(folder / "README.md", card)
    if models is not None:
        write_entry(models, name, models_entry(ModelFolder(target), train))
    return target
