"""What a training says before it begins: where it starts, on what, with how many threads."""

from collections import Counter
from typing import TYPE_CHECKING

from ..data.sources import SOURCES
from ..hub.model_folder import ModelFolder
from ..hub.timm_weights import timm_repository
from .division import Division
from .leakage import initial_model, seen_pixels
from .run_config import RunConfig

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["opening_lines"]


def opening_lines(config: RunConfig, division: Division, batch: int, threads: str) -> list[str]:
    """Lines for the screen.

    Args:
        config: Of the training.
        division: Of its data.
        batch: Images per step, where that is fewer than the recipe says.
        threads: In words.
    """
    title, count = SOURCES[config.dataset].title, len(division.train_records)
    lines = [f"model: {config.model}, starts from {_initial_weights(config)}"]
    if config.teachers:
        lines.append(f"following {', '.join(config.teachers)} (distillation)")
    lines.append(f"training on {count} images of {title}: {_classes(division.train_records, division.names)}")
    if config.fold is None:
        lines.append("no image is held out and no accuracy measured; the figures after each epoch are those of the fit")
    else:
        seen = f"; {division.left_out} more are left out, which it has seen before" if division.left_out else ""
        lines.append(
            f"measuring on the {len(division.test_records)} of fold {config.fold} of {int(division.folds.max()) + 1}: "
            f"{_classes(division.test_records, division.names)}{seen}"
        )
    if config.recipe.soup > 1:
        lines.append(f"epochs: {config.recipe.duration}")
    if batch < config.recipe.batch_size:
        lines.append(f"--batch-size {config.recipe.batch_size} is more than there are: {batch} images per step")
    lines.append(f"threads: {threads}")
    return lines


def _classes(records: "Dataset", names: list[str]) -> str:
    counts = Counter(records["label"])
    return ", ".join(f"{counts[label]} {name}" for label, name in enumerate(names))


def _initial_weights(config: RunConfig) -> str:
    if config.pretrained_backbone:
        return f"timm's weights of the backbone ({timm_repository(config.model) or 'as timm has them'})"
    initial = initial_model(config)
    saw = "" if initial is None else f" ({_saw(ModelFolder(initial))})"
    if config.weights is not None:
        return f"the weights of {config.weights}, all but its classifier{saw}"
    if config.backbone_weights is not None:
        return f"the backbone of {config.backbone_weights}{saw}"
    return "random numbers, backbone and all"


def _saw(folder: ModelFolder) -> str:
    count = len(seen_pixels([folder.path]))
    if count:
        return f"trained on {count} images"
    return f"trained on {', '.join(folder.data_sets) or 'images that nothing says which they are'}"
