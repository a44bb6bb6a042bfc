"""Which images a training learns from, which it is measured on, and which are left out of both."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.folds import undivided_records
from ..data.sources import class_names, normal_class
from ..errors import InputError
from .leakage import initial_model, models_before, seen_by
from .run_checks import check_fold
from .run_config import RunConfig

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["FIT", "Division", "check_unseen", "divide"]

FIT = 200
"""Most images of which a training that holds none out says how well it fits them."""


@dataclass(frozen=True)
class Division:
    """The records of a data set on their two sides.

    Attributes:
        records: All that the protocol uses.
        folds: In which fold each is held out.
        conflicts: Files that were left out before for conflicting labels.
        trained: Mask of those that are trained on.
        tested: Mask of those that are measured on: of the fold held out. Where none is, some of those that are trained
            on, `FIT` or fewer, and what is printed on the way is the fit.
        left_out: How many of the held-out images the initial weights or a teacher had seen.
        normal: Name of the class of normal heads, if there is one.
    """

    records: "Dataset"
    folds: NDArray[np.int64]
    conflicts: list[str]
    trained: NDArray[np.bool_]
    tested: NDArray[np.bool_]
    left_out: int
    normal: str | None

    @cached_property
    def names(self) -> list[str]:
        """Name of each class id."""
        return class_names(self.records)

    @cached_property
    def train_records(self) -> "Dataset":
        """Those that are trained on."""
        return self.records.select(np.flatnonzero(self.trained))

    @cached_property
    def test_records(self) -> "Dataset":
        """Those that are measured on."""
        return self.records.select(np.flatnonzero(self.tested))


def divide(config: RunConfig) -> Division:
    """Divide the data of a training.

    Raises:
        InputError: See `RunConfig.divided_records`, `check_fold`, `check_unseen` and `normal_class`; nothing is left
            to measure on.
    """
    if config.fold is None and isinstance(config.folds, int) and config.protocol != "session":
        records, folds, conflicts = undivided_records(config.dataset, config.data_dir, config.skip_unreadable)
    else:
        records, folds, conflicts = config.divided_records()
    normal = normal_class(class_names(records), config.normal_class)
    if config.fold is None:
        trained, tested = np.ones(len(folds), dtype=bool), np.zeros(len(folds), dtype=bool)
        tested[:: math.ceil(len(folds) / FIT)] = True
        return Division(records, folds, conflicts, trained, tested, 0, normal)
    check_fold(config.fold, int(folds.max()) + 1)
    held_out = folds == config.fold
    left_out = check_unseen(config, records.select(np.flatnonzero(held_out)))
    seen = np.isin(records["pixel_sha256"], list(left_out))
    return Division(
        records, folds, conflicts, ~held_out, held_out & ~seen, int((held_out & seen).sum()), normal
    )  # fmt: skip


def check_unseen(config: RunConfig, held_out: "Dataset") -> set[str]:
    """Refuse weights of a model that was trained on held-out images, see `seen_by`.

    Args:
        config: Of the training.
        held_out: Records of the images that it is measured on, with ``pixel_sha256`` and ``group``.

    Returns:
        ``pixel_sha256`` of those that are left out of the measurement: none, but with ``leave_out_seen`` those that
        were seen, and all other images of the same cells.

    Raises:
        InputError: They were; the message names the option and says how many. With ``leave_out_seen``: all were.
    """
    pixels = held_out["pixel_sha256"]
    if config.leave_out_seen:
        seen = {value for model in models_before(config) for value in seen_by(model, config.dataset, pixels)}
        cells = {cell for cell, value in zip(held_out["group"], pixels, strict=True) if value in seen}
        seen = {value for cell, value in zip(held_out["group"], pixels, strict=True) if cell in cells}
        if seen >= set(pixels):
            raise InputError(
                f"--leave-out-seen: the initial weights or a teacher learned from the cells of all {len(pixels)} "
                f"images that fold {config.fold} holds out; start from a model that never saw them"
            )
        return seen
    initial = initial_model(config)
    seen = seen_by(initial, config.dataset, pixels) if initial is not None else set()
    if seen:
        file, model = config.backbone_weights, config.weights
        given = f"--weights {model}" if model is not None else f"--backbone-weights {file}"
        count = sum(value in seen for value in pixels)
        raise InputError(
            f"{given}: was trained on {count} of the {len(pixels)} images that fold {config.fold} holds out (of a "
            "model that does not say on which, a data set counts as a whole); start from a model that never saw them, "
            "or measure without them (--leave-out-seen)"
        )
    return set()
