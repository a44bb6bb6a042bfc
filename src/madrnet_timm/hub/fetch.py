"""A model folder from the Hub, by way of the client's cache."""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import sha256_of
from .folder_files import FILES, NEEDED
from .hub_errors import hub_reason, is_unreachable

if TYPE_CHECKING:
    from ..models.pretrained import Published

__all__ = ["cached_folder", "fetch_folder", "git_hash", "is_repository", "wrong_file"]

_TIMEOUT = 5.0

_logger = logging.getLogger(__name__)


def is_repository(name: str) -> bool:
    """Whether it can be the ``owner/name`` of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def cached_folder(repository: str, revision: str | None) -> Path | None:
    """Where a repository's model lies in the client's cache; None if it is not there. Nobody is asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(FILES), local_files_only=True)
        )
    except LocalEntryNotFoundError:
        return None
    return folder if all((folder / name).is_file() for name in NEEDED) else None


def fetch_folder(name: str, repository: str, revision: str | None, published: "Published | None" = None) -> Path:
    """The folder of a repository in the client's cache, fetched if need be.

    What never changes (a published name's tag, a commit) is taken from the cache without a question. Else the Hub is
    asked, and where it does not answer the cache will do; a warning says so. A damaged file is fetched once more.

    Args:
        name: What the user calls it, for messages.
        repository: ``owner/name``.
        revision: Branch, tag or commit.
        published: Its entry in ``models.yaml``, whose hashes must be right.

    Raises:
        InputError: It can't be had, or its files are damaged.
    """
    from huggingface_hub import constants

    looked, place = _looked_in(published)
    cached, offline = cached_folder(repository, revision), constants.HF_HUB_OFFLINE
    if cached is None and offline:
        raise InputError(f"{name}: {looked}not in the cache, and HF_HUB_OFFLINE is set; unset it, or {place}")
    fixed = published is not None or re.fullmatch("[0-9a-f]{40}", revision or "") is not None
    folder = cached
    if not offline and (cached is None or not fixed):
        try:
            folder = _download(repository, revision)
        except Exception as error:  # the client's, the network's, the disk's: each with its remedy
            if cached is None or not is_unreachable(error):
                reason = hub_reason(error, repository, revision, remedy=f"check the connection, or {place}")
                raise InputError(f"{name}: {looked}not in the cache, and {reason}") from None
            _logger.warning("%s: the Hub does not answer; taken from the cache as it was seen last", name)
    assert folder is not None
    wrong = wrong_file(folder, published) or _damaged_file(folder)
    if wrong is not None and not offline:  # on the way, or on the disk: once more
        try:
            folder = _download(repository, revision, force=True)
        except Exception as error:
            reason = hub_reason(error, repository, revision, remedy=f"check the connection, or {place}")
            raise InputError(f"{name}: {wrong}, and {reason}") from None
        wrong = wrong_file(folder, published) or _damaged_file(folder)
    if wrong is not None:
        what = "and HF_HUB_OFFLINE is set" if offline else "and fetched anew it was the same"
        raise InputError(
            f"{name}: {wrong}, {what}; delete {folder.parents[1]} and try again, or ask the owner of {repository}"
        )
    return folder


def _looked_in(published: "Published | None") -> tuple[str, str]:
    """Where else a model was looked for, and where it may be put, for messages."""
    if published is None:
        return "", "give the path of the model's folder"
    own = os.environ.get("MADRNET_HUB_DIR") or "not set"
    return f"not in MADRNET_HUB_DIR ({own}), ", f"put the model folder into $MADRNET_HUB_DIR/{published.name}"


def _download(repository: str, revision: str | None, force: bool = False) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    found = HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT)  # the client's own question has no end
    if not {*NEEDED} <= {file.rfilename for file in found.siblings or ()}:
        raise EntryNotFoundError(repository)
    return Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=list(FILES), etag_timeout=_TIMEOUT, force_download=force
        )
    )


def wrong_file(folder: Path, published: "Published | None") -> str | None:
    """Which file of a model folder is not the published one, or is not there, or None."""
    wanted = (None, None) if published is None else (published.sha256, published.config_sha256)
    for name, digest in zip(NEEDED, wanted, strict=True):
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if digest is not None and (found := sha256_of(folder / name)) != digest:
            return f"{folder / name} has the sha256 {found[:12]}..., not {digest[:12]}... as published"
    return None


def _damaged_file(folder: Path) -> str | None:
    """Which file of the cache is not what the Hub said that it sends, or None.

    The cache names a file by its hash: git's, or of a large one the sha256.
    """
    for path in (folder / name for name in NEEDED):
        named = path.resolve().name
        if (len(named) == 64 and sha256_of(path) != named) or (
            re.fullmatch("[0-9a-f]{40}", named) and git_hash(path.read_bytes()) != named
        ):
            return f"{path} is damaged"
    return None


def git_hash(data: bytes) -> str:
    """Hash under which git, and the Hub, know a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
