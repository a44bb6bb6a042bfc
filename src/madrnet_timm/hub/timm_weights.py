"""timm's own weights on the Hub: where they are, and whether they can be had, before anything is built."""

import timm

from ..errors import InputError
from .hub_errors import hub_reason

__all__ = ["check_timm_weights", "timm_repository"]

_TIMEOUT = 5.0
_FILE, _PICKLE = "model.safetensors", "pytorch_model.bin"


def timm_repository(model: str) -> str | None:
    """Repository with timm's weights of a model, or of a MADRNet's backbone; None where the Hub has none.

    Args:
        model: timm name, with or without ``madrnet_`` and tag.
    """
    cfg = timm.get_pretrained_cfg(model.removeprefix("madrnet_"))
    return cfg.hf_hub_id if cfg is not None and cfg.has_weights else None


def check_timm_weights(model: str) -> None:
    """Find out in seconds whether ``--pretrained-backbone`` can work: timm itself asks the Hub for a minute.

    Raises:
        InputError: timm has no such weights, or they are not in the cache and the Hub can't be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    repository = timm_repository(model)
    if repository is None:
        raise InputError(
            f"--pretrained-backbone: timm has no weights for {model.removeprefix('madrnet_')}; leave the option out, "
            "or give a file with --backbone-weights"
        )
    name, _, revision = repository.partition("@")
    if any(isinstance(try_to_load_from_cache(name, file, revision=revision or None), str) for file in (_FILE, _PICKLE)):
        return
    remedy = (
        f"fetch {_FILE} of https://huggingface.co/{name} where there is a network and give it with --backbone-weights "
        "FILE, or leave the option out to start from random numbers"
    )
    try:
        get_hf_file_metadata(hf_hub_url(name, _FILE, revision=revision or None), timeout=_TIMEOUT)
    except EntryNotFoundError:  # under another name: timm knows
        return
    except Exception as error:  # the client's and the network's
        reason = hub_reason(error, name, revision, remedy=remedy)
        raise InputError(f"--pretrained-backbone: {name} is not in the cache, and {reason}") from None
