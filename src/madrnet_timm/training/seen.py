"""What a model has seen in training, its start and its teachers included."""

from collections.abc import Collection, Iterable
from pathlib import Path

from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder
from .options import RunOptions
from .run_folder import RunFolder

__all__ = ["data_sets_before", "seen_by", "start_of"]


def start_of(options: RunOptions) -> Path | None:
    """Model folder whose weights a training starts from; none for weights that belong to no model folder.

    Raises:
        InputError: See `find_model`.
    """
    if options.weights is not None:
        return find_model(options.weights)
    file = options.backbone_weights
    return file.parent if file is not None and (file.parent / "config.json").is_file() else None


def data_sets_before(options: RunOptions) -> list[str]:
    """Data sets that a training's start and its teachers were trained on, and theirs, sorted."""
    folders = [start_of(options), *(RunFolder(path).model for path in options.teachers)]
    return sorted({name for folder in folders if folder is not None for name in ModelFolder(folder).data_sets})


def seen_by(model: Path, dataset: str, pictures: Iterable[str]) -> Collection[str]:
    """Which pictures a model was trained on, as far as it can be known.

    Of a model in its run folder, and of the runs that it started from, it is known picture by picture. Of another, its
    data sets are: it has seen the whole of them. (An own folder of pictures has no name to know it by.)

    Args:
        model: Model folder.
        dataset: Name of the pictures' data set.
        pictures: Their ``pixel_sha256``.
    """
    run = RunFolder(model.resolve().parent)
    if dataset in ModelFolder(model).data_sets - run.data_sets():
        return set(pictures)
    return run.trained_on() & set(pictures)
