"""Which pipeline prepares the images of a model that timm has loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.input_check import InputCheck
from ..data.pipelines import WITH_REFERENCE_BACKGROUND
from ..errors import InputError
from ..models import MADRNet
from ..values import read_json
from .model_config import ModelConfig
from .model_info import ModelInfo
from .notes import noted_pipeline, with_pipeline
from .weights import check_loaded

__all__ = ["pipeline_of", "weights_loaded"]


def pipeline_of(model: Any) -> str:
    """Name of the pipeline that a timm model's weights were trained with; ``raw`` where nothing else is known.

    It stands in the ``notes`` of ``model.pretrained_cfg``, which a MADRNet gets with its weights, else in the model
    folder that the model was loaded from.

    Raises:
        InputError: The model was loaded from a folder or the Hub, and its config.json is not there any more.
    """
    cfg = model.pretrained_cfg
    noted = noted_pipeline(cfg)
    if noted is not None:
        return noted
    config = _config_file(cfg)
    if config is not None:
        return _stored(config).pipeline
    if cfg.get("source") in ("local-dir", "hf-hub"):
        raise InputError(
            f"{cfg.get('file') or cfg.get('hf_hub_id')}: the config.json that the model was loaded with is not there "
            "any more, so that its pipeline can't be told; load the model again, or say pipeline=..."
        )
    return "raw"


def weights_loaded(model: Any, cache_dir: str | Path | None = None) -> None:
    """Check the weights that timm has put into a MADRNet, let it know its pipeline, warn of images prepared otherwise.

    There is no warning where mixed views were trained on, which are prepared in several ways.

    Args:
        model: The model, or what ``features_only`` makes of it.
        cache_dir: Where timm was told to keep what it fetches.

    Raises:
        InputError: The folder that it was loaded from names a pipeline that is not known; see `check_loaded`.
    """
    cfg = model.pretrained_cfg
    config = _config_file(cfg, cache_dir)
    weights = cfg.get("file") or cfg.get("hf_hub_id") or "the weights"
    check_loaded(model, weights if config is None else config.parent / "model.safetensors")
    stored = None if config is None else _stored(config)
    pipeline = noted_pipeline(cfg) or (None if stored is None else stored.pipeline)
    if pipeline is None:
        return
    cfg["notes"] = with_pipeline(cfg, pipeline)
    mixed = stored is not None and stored.mixed_views
    if isinstance(model, MADRNet) and pipeline in WITH_REFERENCE_BACKGROUND and not mixed:
        model.input_check = InputCheck(pipeline, cfg["mean"], cfg["std"])


def _config_file(cfg: Mapping[str, Any], cache_dir: str | Path | None = None) -> Path | None:
    """config.json beside the weights that a ``pretrained_cfg`` names."""
    if cfg.get("file"):
        place = Path(cfg["file"])
        found: Any = (place if place.is_dir() else place.parent) / "config.json"
    elif cfg.get("hf_hub_id"):
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = cfg["hf_hub_id"].partition("@")
        found = try_to_load_from_cache(repository, "config.json", cache_dir=cache_dir, revision=revision or None)
    else:
        return None
    return Path(found) if isinstance(found, str | Path) and Path(found).is_file() else None


def _stored(config: Path) -> ModelInfo:
    """What the config.json of a model folder of this package says; those of others say nothing."""
    return ModelConfig.read(config).info if ModelInfo.is_in(read_json(config)) else ModelInfo()
