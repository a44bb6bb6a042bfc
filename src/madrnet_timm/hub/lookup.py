"""Finding a model by name: a folder, a published name, a repository on the Hub."""

import hashlib
import os
from pathlib import Path

from ..errors import InputError
from ..models.published import hub_repository, published_models

__all__ = ["find_model", "find_weights"]

_TIMEOUT = 5.0
_FILES = ("config.json", "model.safetensors")


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


def _published(name: str) -> Path:
    entry = published_models()[name]
    places = [Path(os.environ["MADRNET_HUB_DIR"])] if os.environ.get("MADRNET_HUB_DIR") else []
    places.append(Path(__file__).parents[3] / "hub")  # of a checkout
    for place in places:
        folder = place / name
        if (folder / "model.safetensors").is_file():
            _check_hash(name, folder / "model.safetensors", entry["sha256"])
            return folder
    if entry["sha256"] is None:
        raise InputError(
            f"{name}: its weights are not published yet; train them with `{entry['train']}` "
            f"and put the model folder into $MADRNET_HUB_DIR/{name}"
        )
    return _fetch(name, hub_repository(name), entry["revision"], entry["sha256"])


def _check_hash(name: str, file: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{name}: {file} has the sha256 {found[:12]}..., not {sha256[:12]}... of the published weights; "
            "delete it and fetch it again"
        )


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, name, revision=revision) for name in _FILES]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None  # type: ignore[arg-type]


def _fetch(name: str, repository: str, revision: str | None, sha256: str | None) -> Path:
    """The folder of a repository in the Hub's cache; one question with a short timeout comes before any download."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    cached = _cached(repository, revision)
    if cached is None or revision is None:  # a tag stays what it is, a branch moves
        if constants.HF_HUB_OFFLINE:
            if cached is None:
                raise InputError(
                    f"{name}: not in the cache, and HF_HUB_OFFLINE is set; unset it, or put the model folder into "
                    f"$MADRNET_HUB_DIR/{name.removeprefix('hf-hub:')}"
                )
        else:
            try:
                get_hf_file_metadata(hf_hub_url(repository, _FILES[1], revision=revision), timeout=_TIMEOUT)
                paths = [hf_hub_download(repository, file, revision=revision, etag_timeout=_TIMEOUT) for file in _FILES]
                cached = Path(paths[0]).parent
            except Exception as error:  # the client's, the network's, the disk's: each with its remedy
                if cached is None or not _is_unreachable(error):
                    raise InputError(f"{name}: {_reason(error, repository, revision)}") from None
    assert cached is not None
    _check_hash(name, cached / _FILES[1], sha256)
    return cached


def _is_unreachable(error: Exception) -> bool:
    """Nobody answered, or the server is down: what is in the cache will do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500


def _reason(error: Exception, repository: str, revision: str | None) -> str:
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
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        return f"can't be written to the cache ({error.strerror}); free some space or set HF_HOME"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"not in the cache, and {constants.ENDPOINT} can't be reached or broke off ({first}); "
        "check the connection, or put the model folder into $MADRNET_HUB_DIR"
    )
