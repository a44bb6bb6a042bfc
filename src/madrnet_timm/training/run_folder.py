"""The folder that a training run writes: what it was told, what it saw, what came out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import as_csv, read_csv, remove_folder, reporting_disk_errors, settle_folder, write_text
from .run_config import RunConfig

__all__ = ["RunFolder"]

_LOCK = ".lock"
_LOCK_SECONDS = 6.0
"""The worker processes of a training that was killed end within 5 s, and hold its lock until then."""


class RunFolder:
    """Paths of a run.

    ``config.yaml`` (every option), ``folds.csv`` (which image is held out in which fold), ``history.csv`` (one row per
    epoch), ``metrics.json``, ``predictions.csv`` (one row per held-out image), ``learning_curves.png``,
    ``confusion_matrix.png``, ``checkpoint/`` (the last one, for ``--resume``, removed when the run is finished),
    ``model/``, the model folder, and ``.lock``, held while a training is running.
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
        self._unlabelled = self.path / "unlabelled.csv"  # of older runs that learned from such images, too
        self._lock = FileLock(self.path / _LOCK)

    def check(self, config: RunConfig) -> None:
        """Refuse a folder that is not this run's; nothing is written.

        Raises:
            InputError: Without ``config.resume``, a folder that is not empty; with it, one that holds no run, or a run
                with other options; a folder in which another training is running.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; --output expects a folder")
        if not config.resume:
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
        for key, (before, now) in self.read_config().differences(config).items():
            raise InputError(f"{self.path}: that run has {key} = {before}, not {now}; --resume needs the same options")
        if self._unlabelled.exists():
            raise InputError(
                f"{self.path}: that run learned from images without labels, too, which is gone; choose another --output"
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

    def read_config(self) -> RunConfig:
        """What ``config.yaml`` says, see `RunConfig.read`."""
        return RunConfig.read(self.config)

    @property
    def began(self) -> bool:
        """Whether a run lies there."""
        return self.config.is_file() and self.folds.is_file()

    @property
    def finished(self) -> bool:
        """Whether all is written: the model folder comes last."""
        return (self.model / "config.json").is_file()

    def settle(self) -> None:
        """Put back what a process left aside that was killed while it replaced a folder."""
        settle_folder(self.model)
        settle_folder(self.checkpoint)

    def remove_checkpoint(self) -> None:
        """Remove what a finished run has no more use for, most of its size."""
        remove_folder(self.checkpoint)

    def trained_on(self) -> set[str]:
        """``pixel_sha256`` of the images that the run was trained on; of an older one also those without labels."""
        held_out = str(self.read_config().fold)
        more = read_csv(self._unlabelled) if self._unlabelled.is_file() else []
        return {row["pixel_sha256"] for row in [*read_csv(self.folds), *more] if row.get("fold") != held_out}

    def check_images(self, folds: Sequence[Mapping[str, Any]]) -> None:
        """Raise `InputError` where the run that lies there, finished or not, had other images, labels or folds."""
        if self.folds.exists() and self.folds.read_text(encoding="utf-8") != as_csv(folds):
            raise InputError(
                f"{self.folds}: the images, their labels or their folds are not what they were when that run began; "
                "bring the data back, or start again with another --output"
            )

    def begin(self, config: RunConfig, folds: Sequence[Mapping[str, Any]]) -> None:
        """Lock the folder; write ``config.yaml`` and ``folds.csv``.

        Args:
            config: Of the run.
            folds: One row per image.

        Raises:
            InputError: The folder can't be written, another training is running in it or has begun there meanwhile, or
                the run that is continued had other images or other folds.
        """
        self.check_images(folds)
        self.lock()
        self.check(config)
        config.write(self.config)
        write_text(self.folds, as_csv(folds))
