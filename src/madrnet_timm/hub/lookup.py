"""Finding a model by name: a folder, a published name, a repository on the Hub."""

import errno
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BUGS, InputError
from ..files import sha256_of
from ..models.published import hub_repository, published_models

__all__ = ["HASHED", "find_model", "find_weights", "published_folder"]

_TIMEOUT = 5.0

HASHED = {"sha256": "model.safetensors", "config_sha256": "config.json"}
"""Files of a model that are fetched, by the key of their hash in ``models.yaml``."""

_logger = logging.getLogger(__name__)


def find_model(model: str | Path) -> Path:
    """The model folder that a name stands for, fetched to the Hub's cache if need be.

    Args:
        model: Path of a model folder (with or without ``local-dir:``), a published name
            ``madrnet_<architecture>.<tag>``, or ``hf-hub:owner/name[@revision]``.

    Raises:
        InputError: There is no such model, or it can't be had; the message says why and what to do.
    """
    text = str(model)
    if text.startswith("local-dir:"):
        return Path(text.removeprefix("local-dir:"))
    if text.startswith("hf-hub:"):
        repository, _, revision = text.removeprefix("hf-hub:").partition("@")
        if repository.count("/") != 1:
            raise InputError(f"{text}: expected hf-hub:owner/name or hf-hub:owner/name@revision")
        return _fetch(text, repository, revision or None, None)
    if Path(text).exists():
        return Path(text)
    if text in published_models():
        return _published(text)
    known = ", ".join(published_models())
    raise InputError(f"{text}: no such model; expected a model folder, hf-hub:owner/name, or one of {known}")


def find_weights(name: str) -> Path:
    """``model.safetensors`` of a published name.

    Raises:
        InputError: See `find_model`.
    """
    return _published(name) / "model.safetensors"


def _places() -> list[Path]:
    """Folders of model folders: the user's own, and that of a checkout."""
    own = os.environ.get("MADRNET_HUB_DIR")
    return [*([Path(own)] if own else []), Path(__file__).parents[3] / "hub"]


def published_folder(name: str) -> Path | None:
    """Where a published model lies on this machine; None if it would have to be fetched."""
    found = [place / name for place in _places() if (place / name / "model.safetensors").is_file()]
    return found[0] if found else _cached(hub_repository(name), published_models()[name]["revision"])


def _published(name: str) -> Path:
    entry = published_models()[name]
    for place in _places():
        folder = place / name
        if (folder / "model.safetensors").is_file():
            wrong = _wrong_file(folder, entry)
            if wrong is not None:
                raise InputError(f"{name}: {wrong}; bring the published files back, or delete {folder}")
            return folder
    if entry["sha256"] is None:
        raise InputError(
            f"{name}: its weights are not published yet; train them with `{entry['train']}` "
            f"and put the model folder into $MADRNET_HUB_DIR/{name}"
        )
    return _fetch(name, hub_repository(name), entry["revision"], entry)


def _wrong_file(folder: Path, entry: Mapping[str, Any] | None) -> str | None:
    """Which file of a model folder is not the published one, or None."""
    if entry is None or entry["sha256"] is None:  # not published: whatever was trained will do
        return None
    for key, name in HASHED.items():
        wanted = entry.get(key)
        if wanted is not None and (found := sha256_of(folder / name)) != wanted:
            return f"{folder / name} has the sha256 {found[:12]}..., not {wanted[:12]}... as published"
    return None


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, name, revision=revision) for name in HASHED.values()]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None  # type: ignore[arg-type]


def _fetch(name: str, repository: str, revision: str | None, entry: Mapping[str, Any] | None) -> Path:
    """The folder of a repository in the Hub's cache.

    What never changes (a published name's tag, a commit) is taken from the cache without a question. Else one question
    with a short timeout comes before any download; where nobody answers it, the cache will do, and a warning says so.
    """
    from huggingface_hub import constants

    cached = _cached(repository, revision)
    fixed = entry is not None or re.fullmatch("[0-9a-f]{40}", revision or "") is not None
    if cached is None and constants.HF_HUB_OFFLINE:
        raise InputError(f"{name}: not in the cache, and HF_HUB_OFFLINE is set; unset it, or {_elsewhere(name, entry)}")
    if not constants.HF_HUB_OFFLINE and not (cached is not None and fixed):
        try:
            cached = _download(repository, revision)
        except Exception as error:  # the client's, the network's, the disk's: each with its remedy
            if cached is None or not _is_unreachable(error):
                raise InputError(f"{name}: {_reason(error, repository, revision, _elsewhere(name, entry))}") from None
            _logger.warning("%s: the Hub does not answer; taken from the cache as it was seen last", name)
    assert cached is not None
    wrong = _wrong_file(cached, entry)
    if wrong is not None and not constants.HF_HUB_OFFLINE:  # spoiled on the way, or on the disk: once more
        try:
            cached = _download(repository, revision, force=True)
        except Exception as error:
            raise InputError(f"{name}: {_reason(error, repository, revision, _elsewhere(name, entry))}") from None
        wrong = _wrong_file(cached, entry)
    if wrong is not None:
        raise InputError(
            f"{name}: {wrong}; the repository is not what the package knows, or the cache is damaged: delete it"
        )
    return cached


def _download(repository: str, revision: str | None, force: bool = False) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download

    for file in HASHED.values():
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=_TIMEOUT)
    files = list(HASHED.values())
    return Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=files, etag_timeout=_TIMEOUT, force_download=force
        )
    )


def _elsewhere(name: str, entry: Mapping[str, Any] | None) -> str:
    """What to do instead of asking the Hub."""
    return f"put the model folder into $MADRNET_HUB_DIR/{name}" if entry else "give the path of the model's folder"


def _is_unreachable(error: Exception) -> bool:
    """Nobody answered, or the server is down: what is in the cache will do. A full disk or a bug is something else."""
    if isinstance(error, BUGS):
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status >= 500
    return not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT))


def _reason(error: Exception, repository: str, revision: str | None, elsewhere: str) -> str:
    if isinstance(error, BUGS):
        raise error
    from huggingface_hub import constants, errors

    place = f"{constants.ENDPOINT}/{repository}"
    if isinstance(error, errors.GatedRepoError):
        return f"{place} is gated; ask for access on its page, then log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{place} does not exist, or is private and you are not logged in; check the name and "
            "MADRNET_HUB_NAMESPACE, or use `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place} has no revision {revision}; leave @{revision} out, or ask for one of its tags"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{place} holds no config.json and model.safetensors; pickled weights are never opened, ask its owner"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{place}: the Hub refuses this token ({status}); log in with `hf auth login`"
    if status is not None:
        return f"{place}: the Hub answers {status}; try again later"
    if isinstance(error, OSError) and error.errno is not None and not _is_unreachable(error):
        return f"can't be written to the cache ({error.strerror}); free some space or set HF_HOME"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"not in the cache, and {constants.ENDPOINT} can't be reached or broke off ({first}); "
        f"check the connection, or {elsewhere}"
    )
