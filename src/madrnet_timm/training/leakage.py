"""Leakage: which images a model has seen in training, directly or through its initial weights and its teachers."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.manifest import manifest_pixels
from ..errors import InputError
from ..hub.folder_files import model_folder_of
from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder
from .run_config import RunConfig
from .run_folder import RunFolder

__all__ = ["Experience", "experience_before", "initial_model", "models_before", "seen_by", "seen_pixels"]


@dataclass(frozen=True)
class Experience:
    """What was learned before a training.

    Attributes:
        data_sets: Names of the data sets that its initial weights and its teachers learned from, directly or not.
        pixels: ``pixel_sha256`` of all those images, as far as they are known.
    """

    data_sets: Sequence[str]
    pixels: Collection[str]


def initial_model(config: RunConfig) -> Path | None:
    """Model folder of a training's initial weights; none for weights that belong to no model folder.

    Raises:
        InputError: See `find_model`.
    """
    if config.weights is not None:
        return find_model(config.weights)
    return None if config.backbone_weights is None else model_folder_of(config.backbone_weights)


def models_before(config: RunConfig) -> list[Path]:
    """Model folders of a training's initial weights and of its teachers.

    Raises:
        InputError: See `find_model`.
    """
    initial = initial_model(config)
    return [*([] if initial is None else [initial]), *map(find_model, config.teachers)]


def experience_before(config: RunConfig) -> Experience:
    """What a training's initial weights and its teachers have seen.

    Raises:
        InputError: See `find_model` and `ModelFolder`.
    """
    models = models_before(config)
    return Experience(sorted({name for path in models for name in ModelFolder(path).data_sets}), seen_pixels(models))


def _learned_from(config: RunConfig) -> list[str | Path]:
    """Models that a run's weights came from and those that taught it, as `find_model` takes them; some may be gone."""
    file = config.backbone_weights
    initial = [config.weights, model_folder_of(file) if file else None]
    return [*(model for model in initial if model), *config.teachers]


def _experience(model: Path) -> Iterator[tuple[Collection[str], Collection[str]]]:
    """Of a model, its initial weights and its teachers: known images, and data sets that count as a whole.

    A model folder that was trained here says it itself, see `ModelFolder.seen`. Of another, that of an older run, the
    run folder does, and of one that stands alone the names of its data sets.
    """
    folders, visited = [model.resolve()], set[Path]()
    while folders:
        path = folders.pop()
        if path in visited:
            continue
        visited.add(path)
        folder, run = ModelFolder(path), RunFolder(path.parent)
        if folder.seen is not None:
            yield folder.seen, ()
            continue
        if not run.began:
            yield (), folder.data_sets
            continue
        yield run.trained_on(), ()
        for given in _learned_from(run.read_config()):
            try:
                folders.append(ModelFolder(find_model(given)).path.resolve())
            except InputError:  # gone: what the model's config says of it is left
                yield (), folder.learned_before


def seen_by(model: Path, dataset: str, images: Iterable[str]) -> set[str]:
    """Which images a model, its initial weights or its teachers were trained on, as far as it can be known.

    The images' pixels decide, whatever their data set is called here. Of a model of which only the names of its data
    sets are known (`ModelFolder.seen` is None, and it lies in no run folder), all of these count. So do all images of
    a converted copy, none of which is in the manifest of its data set, if the model has seen some that are.

    Args:
        model: Model folder.
        dataset: Name of the images' data set.
        images: Their ``pixel_sha256``.

    Raises:
        InputError: See `ModelFolder`.
    """
    wanted, seen = set(images), set[str]()
    originals = manifest_pixels([dataset])
    converted = wanted.isdisjoint(originals)
    for pixels, names in _experience(model):
        if dataset in names or (converted and not originals.isdisjoint(pixels)):
            return wanted
        seen |= wanted.intersection(pixels) | (wanted & manifest_pixels(names))
    return seen


def seen_pixels(models: Iterable[Path]) -> set[str]:
    """``pixel_sha256`` of all that models, their initial weights and teachers were trained on, as far as it is known.

    Raises:
        InputError: See `ModelFolder`.
    """
    known = [each for model in models for each in _experience(model)]
    return {value for pixels, names in known for value in (*pixels, *manifest_pixels(names))}
