"""Finding a model by name: a folder, a published name, a repository on the Hub."""

import os
import re
from pathlib import Path

from ..errors import InputError
from ..models.pretrained import Published, full_name, published_models
from .fetch import cached_folder, fetch_folder, is_repository, wrong_file

__all__ = ["find_model", "find_weights", "published_folder"]

_LONGEST = 4096
_NAME = re.compile(r"[\w][\w.+-]*")  # of a folder, not a path
_REVISION = re.compile(r"\w[\w./-]{0,200}", re.ASCII)
_CHECKOUT = Path(__file__).parents[3] / "hub"


def find_model(model: str | Path) -> Path:
    """The model folder that a name stands for, fetched to the Hub's cache if need be.

    Args:
        model: Path of a model folder or of a finished run (with or without ``local-dir:``), the name of a folder in
            ``$MADRNET_HUB_DIR``, a published name ``madrnet_<architecture>.<tag>`` (without the tag: the best of the
            architecture), or ``hf-hub:owner/name[@revision]``.

    Raises:
        InputError: There is no such model, or it can't be had; the message says where it was looked for, and what to
            do.
    """
    text = str(model)
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise InputError(f"{ascii(text)[:80]}: no name of a model; expected a folder, a published name or hf-hub:...")
    if text.startswith("local-dir:"):
        return _model_in(Path(text.removeprefix("local-dir:")))
    if text.startswith("hf-hub:"):
        repository, revision = _repository(text)
        return fetch_folder(text, repository, revision)
    if _exists(Path(text)):
        return _model_in(Path(text))
    if _NAME.fullmatch(text) and (found := _named_folder(text)) is not None:
        return found
    if (published := published_models().get(full_name(text))) is not None:
        return _named_folder(published.name) or _fetch(published)
    raise InputError(_no_such_model(text))


def find_weights(name: str) -> Path:
    """``model.safetensors`` of a published name.

    Raises:
        InputError: See `find_model`.
    """
    return (_named_folder(name) or _fetch(published_models()[name])) / "model.safetensors"


def published_folder(name: str) -> tuple[str, Path] | None:
    """Where a published model lies on this machine, in words and as a folder; None if it would have to be fetched."""
    for place, folder in _places().items():
        if (folder / name / "model.safetensors").is_file():
            return place, folder / name
    published = published_models()[name]
    cached = cached_folder(published.repository, published.revision)
    return None if cached is None else ("the Hub's cache", cached)


def _places() -> dict[str, Path]:
    """Folders of this machine that are searched for a published name, in this order."""
    own = os.environ.get("MADRNET_HUB_DIR")
    return ({"$MADRNET_HUB_DIR": Path(own)} if own else {}) | {"hub/ of the checkout": _CHECKOUT}


def _no_such_model(text: str) -> str:
    own = os.environ.get("MADRNET_HUB_DIR")
    place = f"a folder in MADRNET_HUB_DIR ({own})" if own else "a folder in $MADRNET_HUB_DIR (not set)"
    what = "no weights of this name are published" if text.startswith("madrnet_") else "no such model"
    return (
        f"{text}: {what}; expected a model folder, a finished run, {place}, a published name (`madrnet models` lists "
        "them), or hf-hub:owner/name"
    )


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
    published = published_models().get(name)
    own = os.environ.get("MADRNET_HUB_DIR")
    if own and _exists(Path(own) / name):
        folder = _model_in(Path(own) / name)
    elif published is not None and (_CHECKOUT / name / "model.safetensors").is_file():
        folder = _model_in(_CHECKOUT / name)
    else:
        return None
    if (wrong := wrong_file(folder, published)) is not None:
        raise InputError(f"{name}: {wrong}; bring the published files back, or rename or delete {folder}")
    return folder


def _fetch(published: Published) -> Path:
    return fetch_folder(published.name, published.repository, published.revision, published)


def _repository(text: str) -> tuple[str, str | None]:
    """Repository and revision of ``hf-hub:owner/name[@revision]``."""
    repository, _, revision = text.removeprefix("hf-hub:").partition("@")
    if not is_repository(repository) or not _REVISION.fullmatch(revision or "main") or ".." in revision:
        raise InputError(
            f"{text}: expected hf-hub:owner/name or hf-hub:owner/name@revision, of letters, digits, '-', '_' and '.'"
        )
    return repository, revision or None
