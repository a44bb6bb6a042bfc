"""The folder that a training run writes: what it was told, what it saw, what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..files import as_csv, read_csv, reporting_disk_errors, write_text
from ..hub.model_folder import model_folder_of

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run.

    ``config.yaml`` (every option), ``folds.csv`` (which picture is held out in which fold), ``unlabelled.csv`` (the
    pictures without labels, if there are such, by their pixels), ``history.csv`` (a row an epoch), ``metrics.json``,
    ``predictions.csv`` (a row a held-out picture), ``learning_curves.png``, ``confusion_matrix.png``, ``checkpoint/``
    (the last one, for ``--resume``) and ``model/``, the model folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.folds = self.path / "folds.csv"
        self.history = self.path / "history.csv"
        self.unlabelled = self.path / "unlabelled.csv"
        self.metrics = self.path / "metrics.json"
        self.predictions = self.path / "predictions.csv"
        self.learning_curves = self.path / "learning_curves.png"
        self.confusion_matrix = self.path / "confusion_matrix.png"
        self.checkpoint = self.path / "checkpoint"
        self.model = self.path / "model"

    def check(self, config: Mapping[str, Any], resume: bool) -> None:
        """Refuse a folder that is not this run's; nothing is written.

        Raises:
            InputError: Without ``resume``, a folder that is not empty; with it, one that holds no run, or a run with
                other options.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; --output expects a folder")
        if not resume:
            if self.config.exists():
                raise InputError(
                    f"{self.path}: holds another run; choose another --output, or continue that run with --resume"
                )
            if self.path.is_dir() and any(not p.name.endswith((".part", ".old")) for p in self.path.iterdir()):
                raise InputError(f"{self.path}: is not empty; choose another --output")
            return
        if not self.config.exists():
            raise InputError(f"{self.path}: holds no run to --resume (config.yaml is missing)")
        before = self.options()
        now = yaml.safe_load(_as_yaml(config))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise InputError(
                    f"{self.path}: that run has {key} = {before.get(key)}, not {now.get(key)}; "
                    "--resume needs the same options"
                )

    def options(self) -> dict[str, Any]:
        """What ``config.yaml`` says."""
        return yaml.safe_load(self.config.read_text(encoding="utf-8"))

    @property
    def began(self) -> bool:
        """Whether a run lies there."""
        return self.config.is_file() and self.folds.is_file()

    def trained_on(self) -> set[str]:
        """``pixel_sha256`` of the pictures that the run was trained on, with and without labels."""
        held_out = str(self.options()["fold"])
        more = read_csv(self.unlabelled) if self.unlabelled.is_file() else []
        return {row["pixel_sha256"] for row in [*read_csv(self.folds), *more] if row.get("fold") != held_out}

    def learned_from(self) -> list[str | Path]:
        """Models that the run's weights came from and those that taught it, as `find_model` takes them."""
        options = self.options()
        weights, file = options.get("weights"), options.get("backbone_weights")
        starts = [weights, model_folder_of(Path(file)) if file else None]
        return [*filter(None, starts), *(RunFolder(path).model for path in options.get("teachers", ()))]

    def check_unlabelled(self, pixels: Sequence[str]) -> None:
        """Refuse other pictures without labels than those that the run, if there is one, began with.

        Args:
            pixels: Their ``pixel_sha256``.

        Raises:
            InputError: They are not the same, or not in the same order.
        """
        _check_table(self.unlabelled, _hashes(pixels), "the pictures of --unlabelled")

    def begin(
        self, config: Mapping[str, Any], folds: Sequence[Mapping[str, Any]], unlabelled: Sequence[str] | None = None
    ) -> None:
        """Write ``config.yaml``, ``folds.csv`` and ``unlabelled.csv``, if there are pictures without labels.

        Args:
            config: Every option.
            folds: A row a picture.
            unlabelled: ``pixel_sha256`` of the pictures without labels.

        Raises:
            InputError: The folder can't be written, or the run that is continued had other pictures or other folds.
        """
        _check_table(self.folds, as_csv(folds), "the pictures, their labels or their folds")
        if unlabelled is not None:
            self.check_unlabelled(unlabelled)
        with reporting_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, _as_yaml(config))
        write_text(self.folds, as_csv(folds))
        if unlabelled is not None:
            write_text(self.unlabelled, _hashes(unlabelled))


def _check_table(path: Path, table: str, what: str) -> None:
    """Refuse another table than that which a begun run has written."""
    if path.exists() and path.read_text(encoding="utf-8") != table:
        raise InputError(
            f"{path}: {what} are not what they were when that run began; bring the data back, or start again with "
            "another --output"
        )


def _hashes(pixels: Sequence[str]) -> str:
    return as_csv([{"pixel_sha256": value} for value in pixels])


def _as_yaml(config: Mapping[str, Any]) -> str:
    plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    return yaml.safe_dump(json.loads(json.dumps(plain, default=str)), sort_keys=False, allow_unicode=True)
