"""The folder that a training run writes: what it was told, what it saw, what came out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import as_csv, read_csv, reporting_disk_errors, write_text
from ..hub.model_folder import model_folder_of
from .options import with_defaults

__all__ = ["RunFolder"]

_LOCK = ".lock"
_LOCK_SECONDS = 6.0
"""The worker processes of a training that was killed end within 5 s, and hold its lock until then."""


class RunFolder:
    """Paths of a run.

    ``config.yaml`` (every option), ``folds.csv`` (which image is held out in which fold), ``history.csv`` (a row an
    epoch), ``metrics.json``, ``predictions.csv`` (a row a held-out image), ``learning_curves.png``,
    ``confusion_matrix.png``, ``checkpoint/`` (the last one, for ``--resume``), ``model/``, the model folder, and
    ``.lock``, held while a training is running.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.folds = self.path / "folds.csv"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.predictions = self.path / "predictions.csv"
        self.learning_curves = self.path / "learning_curves.png"
        self.confusion_matrix = self.path / "confusion_matrix.png"
        self.checkpoint = self.path / "checkpoint"
        self.model = self.path / "model"
        self._lock = FileLock(self.path / _LOCK)

    def check(self, config: Mapping[str, Any], resume: bool) -> None:
        """Refuse a folder that is not this run's; nothing is written.

        Raises:
            InputError: Without ``resume``, a folder that is not empty; with it, one that holds no run, or a run with
                other options; a folder in which another training is running.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; --output expects a folder")
        if not resume:
            if self.config.exists():
                raise InputError(
                    f"{self.path}: holds another run; choose another --output, or continue that run with --resume"
                )
            left = (".part", ".old", _LOCK)  # by a training that was killed
            if self.path.is_dir() and any(not p.name.endswith(left) for p in self.path.iterdir()):
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
        if (self.path / _LOCK).exists() and not self._lock.is_locked:
            self.lock()
            self.release()

    def lock(self) -> None:
        """Keep other trainings out of the folder, until `release` or the end of the process, however it ends.

        Raises:
            InputError: Another training is running in it; or it can't be written.
        """
        with reporting_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=_LOCK_SECONDS)
            except Timeout:
                raise InputError(
                    f"{self.path}: another training is running in it; wait for its end, or choose another --output"
                ) from None

    def release(self) -> None:
        """Let other trainings into the folder."""
        self._lock.release()

    def options(self) -> dict[str, Any]:
        """What ``config.yaml`` says; options that were not there yet when it was written have their defaults.

        Raises:
            InputError: It is not the config of a run.
        """
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{self.config}: can't be read ({str(error).splitlines()[0]})") from None
        if not isinstance(config, dict):
            raise InputError(f"{self.config}: not the config of a run, which names its options")
        return with_defaults(config)

    @property
    def began(self) -> bool:
        """Whether a run lies there."""
        return self.config.is_file() and self.folds.is_file()

    def trained_on(self) -> set[str]:
        """``pixel_sha256`` of the images that the run was trained on; of an older one also those without labels."""
        held_out = str(self.options()["fold"])
        unlabelled = self.path / "unlabelled.csv"  # of a training that followed its teachers on such, too
        more = read_csv(unlabelled) if unlabelled.is_file() else []
        return {row["pixel_sha256"] for row in [*read_csv(self.folds), *more] if row.get("fold") != held_out}

    def learned_from(self) -> list[str | Path]:
        """Models that the run's weights came from and those that taught it, as `find_model` takes them."""
        options = self.options()
        weights, file = options.get("weights"), options.get("backbone_weights")
        starts = [weights, model_folder_of(Path(file)) if file else None]
        return [*filter(None, starts), *(RunFolder(path).model for path in options.get("teachers", ()))]

    def begin(self, config: Mapping[str, Any], folds: Sequence[Mapping[str, Any]], resume: bool = False) -> None:
        """Lock the folder; write ``config.yaml`` and ``folds.csv``.

        Args:
            config: Every option.
            folds: A row an image.
            resume: Continue the run in it.

        Raises:
            InputError: The folder can't be written, another training is running in it or has begun there meanwhile, or
                the run that is continued had other images or other folds.
        """
        table = as_csv(folds)
        if self.folds.exists() and self.folds.read_text(encoding="utf-8") != table:
            raise InputError(
                f"{self.folds}: the images, their labels or their folds are not what they were when that run began; "
                "bring the data back, or start again with another --output"
            )
        self.lock()
        self.check(config, resume)
        write_text(self.config, _as_yaml(config))
        write_text(self.folds, table)


def _as_yaml(config: Mapping[str, Any]) -> str:
    plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    return yaml.safe_dump(json.loads(json.dumps(plain, default=str)), sort_keys=False, allow_unicode=True)
