"""The name of a model's pipeline in timm's own configuration.

timm lets nobody add a key: ``PretrainedCfg(pipeline=...)``, and with it loading a config.json that has one there, is a
TypeError. But it has a field ``notes``, of which it makes no use, and carries it through `timm.models.save_for_hf` and
the Hub and back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..data.pipelines import PIPELINES

__all__ = ["noted_pipeline", "with_pipeline"]

_WORD = "pipeline: "


def noted_pipeline(pretrained_cfg: Mapping[str, Any]) -> str | None:
    """The pipeline in the ``notes`` of a ``pretrained_cfg``; None where there is none that is known."""
    found = [note.removeprefix(_WORD) for note in _notes(pretrained_cfg) if note.startswith(_WORD)]
    return found[0] if found and found[0] in PIPELINES else None


def with_pipeline(pretrained_cfg: Mapping[str, Any], pipeline: str) -> tuple[str, ...]:
    """The ``notes`` of a ``pretrained_cfg`` with another pipeline."""
    others = (note for note in _notes(pretrained_cfg) if not note.startswith(_WORD))
    return (_WORD + pipeline, *others)


def _notes(pretrained_cfg: Mapping[str, Any]) -> Sequence[str]:
    notes = pretrained_cfg.get("notes") or ()
    return [notes] if isinstance(notes, str) else [str(note) for note in notes]
