"""What a model has seen in training, by itself, by its start and by its teachers, labels or not."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder, model_folder_of
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
    return None if options.backbone_weights is None else model_folder_of(options.backbone_weights)


def data_sets_before(options: RunOptions) -> list[str]:
    """Data sets that a training's start and teachers learned from, with what those had begun with.

    Raises:
        InputError: See `find_model` and `ModelFolder`.
    """
    folders = [start_of(options), *(RunFolder(path).model for path in options.teachers)]
    return sorted({name for folder in folders if folder is not None for name in ModelFolder(folder).data_sets})


def seen_by(model: Path, dataset: str, pictures: Iterable[str]) -> set[str]:
    """Which pictures a model, its start or its teachers were trained on, as far as it can be known.

    Of a model in its run folder it is known picture by picture. Of another, its data sets are: it has seen the whole of
    them. (An own folder of pictures has no name to know it by.)

    Args:
        model: Model folder.
        dataset: Name of the pictures' data set.
        pictures: Their ``pixel_sha256``.

    Raises:
        InputError: See `ModelFolder`.
    """
    wanted, seen = set(pictures), set[str]()
    folders, visited = [model.resolve()], set[Path]()
    while folders:
        folder = folders.pop()
        run = RunFolder(folder.parent)
        if folder in visited:
            continue
        visited.add(folder)
        if not run.began:
            if dataset in ModelFolder(folder).data_sets:
                return wanted
            continue
        seen |= run.trained_on() & wanted
        for given in run.learned_from():
            try:
                folders.append(ModelFolder(find_model(given)).path.resolve())
            except InputError:  # gone: what the model's config says of it is left
                if dataset in ModelFolder(folder).learned_before:
                    return wanted
    return seen
