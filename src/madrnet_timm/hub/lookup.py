"""Finding a model by name: a folder, a published name, a repository on the Hub."""

import errno
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BUGS, InputError
from ..files import sha256_of
from ..models.published import hub_repository, published_models
from ..values import read_json
from .model_folder import SEEN
from .weights import check_safetensors

__all__ = ["HASHED", "find_model", "find_weights", "git_hash", "is_unreachable", "published_folder"]

_TIMEOUT = 5.0
_LONGEST = 4096
_NAME = re.compile(r"[\w][\w.+-]*")  # of a folder, not a path
_REVISION = re.compile(r"\w[\w./-]{0,200}", re.ASCII)
_CHECKOUT = Path(__file__).parents[3] / "hub"

HASHED = {"sha256": "model.safetensors", "config_sha256": "config.json"}
"""Files of a model that are fetched, by the key of their hash in ``models.yaml``."""

_logger = logging.getLogger(__name__)


def find_model(model: str | Path) -> Path:
    """The model folder that a name stands for, fetched to the Hub's cache if need be.

    Args:
        model: Path of a model folder or of a finished run (with or without ``local-dir:``), the name of a folder in
            ``$MADRNET_HUB_DIR``, a published name ``madrnet_<architecture>.<tag>``, or
            ``hf-hub:owner/name[@revision]``.

    Raises:
        InputError: There is no such model, or it can't be had; the message says why and what to do.
    """
    text = str(model)
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise InputError(f"{ascii(text)[:80]}: no name of a model; expected a folder, a published name or hf-hub:...")
    if text.startswith("local-dir:"):
        return _model_in(Path(text.removeprefix("local-dir:")))
    if text.startswith("hf-hub:"):
        return _fetch(text, *_repository(text), None)
    if _exists(Path(text)):
        return _model_in(Path(text))
    if _NAME.fullmatch(text) and (found := _named_folder(text)) is not None:
        return found
    if text in published_models():
        return _fetch(text, hub_repository(text), published_models()[text]["revision"], published_models()[text])
    own = os.environ.get("MADRNET_HUB_DIR")
    places = f"a folder in MADRNET_HUB_DIR ({own})" if own else "a folder in $MADRNET_HUB_DIR (not set)"
    raise InputError(
        f"{text}: no such model; expected a model folder, a finished run, {places}, hf-hub:owner/name, or one of "
        f"{', '.join(published_models())}"
    )


def find_weights(name: str) -> Path:
    """``model.safetensors`` of a published name.

    Raises:
        InputError: See `find_model`.
    """
    entry = published_models()[name]
    folder = _named_folder(name) or _fetch(name, hub_repository(name), entry["revision"], entry)
    return folder / "model.safetensors"


def published_folder(name: str) -> Path | None:
    """Where a published model lies on this machine; None if it would have to be fetched."""
    own = os.environ.get("MADRNET_HUB_DIR")
    places = [*([Path(own)] if own else []), _CHECKOUT]
    found = [place / name for place in places if (place / name / "model.safetensors").is_file()]
    return found[0] if found else _cached(hub_repository(name), published_models()[name]["revision"])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a part of the name is longer than names can be
        return False


def _model_in(path: Path) -> Path:
    """The model folder at a path: itself, or that of a finished run."""
    for folder in (path, path / "model"):
        if _exists(folder / "config.json"):
            return folder
    if path.is_file():
        raise InputError(f"{path}: a file; expected the model folder that it lies in, {path.parent}")
    if not _exists(path):
        raise InputError(f"{path}: no such folder; expected a model folder or a finished run")
    begun = "a run that is not finished; give its training again with --resume"
    other = "neither a finished run nor a model folder"
    raise InputError(f"{path}: {begun if _exists(path / 'config.yaml') else other} (config.json is missing)")


def _named_folder(name: str) -> Path | None:
    """The folder of that name in ``$MADRNET_HUB_DIR`` or, of a published one, in a checkout's ``hub/``."""
    entry = published_models().get(name)
    own = os.environ.get("MADRNET_HUB_DIR")
    if own and _exists(Path(own) / name):
        folder = _model_in(Path(own) / name)
    elif entry is not None and (_CHECKOUT / name / "model.safetensors").is_file():
        folder = _model_in(_CHECKOUT / name)
    else:
        return None
    wrong = _wrong_file(folder, entry)
    if wrong is not None:
        raise InputError(f"{name}: {wrong}; bring the published files back, or rename or delete {folder}")
    return folder


def _repository(text: str) -> tuple[str, str | None]:
    """Repository and revision of ``hf-hub:owner/name[@revision]``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    repository, _, revision = text.removeprefix("hf-hub:").partition("@")
    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if repository.count("/") != 1 or not _REVISION.fullmatch(revision or "main") or ".." in revision:
        raise InputError(
            f"{text}: expected hf-hub:owner/name or hf-hub:owner/name@revision, of letters, digits, '-', '_' and '.'"
        )
    return repository, revision or None


def _wrong_file(folder: Path, entry: Mapping[str, Any] | None) -> str | None:
    """Which file of a model folder is not the published one, or is not there, or None."""
    for key, name in HASHED.items():
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        wanted = entry.get(key) if entry is not None else None
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
            if cached is None or not is_unreachable(error):
                raise InputError(f"{name}: {_reason(error, repository, revision, _elsewhere(name, entry))}") from None
            _logger.warning("%s: the Hub does not answer; taken from the cache as it was seen last", name)
    assert cached is not None
    wrong = _spoiled(cached, entry)
    if wrong is not None and not constants.HF_HUB_OFFLINE:  # on the way, or on the disk: once more
        try:
            cached = _download(repository, revision, force=True)
        except Exception as error:
            raise InputError(f"{name}: {_reason(error, repository, revision, _elsewhere(name, entry))}") from None
        wrong = _spoiled(cached, entry)
    if wrong is not None:
        what = "and HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "and fetched anew it was the same"
        raise InputError(
            f"{name}: {wrong}, {what}; delete {cached.parents[1]} and try again, or ask the owner of {repository}"
        )
    return cached


def _spoiled(folder: Path, entry: Mapping[str, Any] | None) -> str | None:
    """Which file of the Hub's cache is not what was published, or what the Hub said that it sends, or None.

    The cache names a file by its hash: git's, or of a large one the sha256.
    """
    wrong = _wrong_file(folder, entry)
    for path in () if wrong or entry is not None else (folder / name for name in HASHED.values()):
        named = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", named):
            same = sha256_of(path) == named
        elif re.fullmatch("[0-9a-f]{40}", named):
            same = git_hash(path.read_bytes()) == named
        else:
            same = _is_readable(path)
        if not same:
            return f"{path} is damaged"
    return wrong


def _is_readable(path: Path) -> bool:
    try:
        read_json(path) if path.suffix == ".json" else check_safetensors(path)
    except InputError:
        return False
    return True


def git_hash(data: bytes) -> str:
    """Hash under which git, and the Hub, know a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _download(repository: str, revision: str | None, force: bool = False) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download

    for file in HASHED.values():
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=_TIMEOUT)
    files = [*HASHED.values(), "README.md", SEEN]
    return Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=files, etag_timeout=_TIMEOUT, force_download=force
        )
    )


def _elsewhere(name: str, entry: Mapping[str, Any] | None) -> str:
    """What to do instead of asking the Hub."""
    return f"put the model folder into $MADRNET_HUB_DIR/{name}" if entry else "give the path of the model's folder"


def is_unreachable(error: Exception) -> bool:
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
    if isinstance(error, OSError) and error.errno is not None and not is_unreachable(error):
        return f"can't be written to the cache ({error.strerror}); free some space or set HF_HOME"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"not in the cache, and {constants.ENDPOINT} can't be reached or broke off ({first}); "
        f"check the connection, or {elsewhere}"
    )
