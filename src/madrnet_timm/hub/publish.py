"""Putting a model folder on the Hugging Face Hub."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BUGS, InputError
from .model_folder import ModelFolder

__all__ = ["publish"]

_FILES = ("README.md", "config.json", "model.safetensors")


def _folder(run: Path) -> ModelFolder:
    for candidate in (run / "model", run):
        if (candidate / "config.json").is_file():
            return ModelFolder(candidate)
    raise InputError(f"{run}: neither a finished run nor a model folder (config.json is missing)")


def _git_hash(data: bytes) -> str:
    """Hash under which git, and the Hub, know a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _changes(folder: Path, remote: dict[str, Any]) -> dict[str, str]:
    """``added`` or ``changed`` for each file that is not on the Hub as it is here."""
    out = {}
    for name in _FILES:
        data = (folder / name).read_bytes()
        there = remote.get(name)
        if there is None:
            out[name] = "added"
            continue
        same = there.lfs.sha256 == hashlib.sha256(data).hexdigest() if there.lfs else there.blob_id == _git_hash(data)
        if not same:
            out[name] = "changed"
    return out


def _message(error: Exception, repo: str) -> str:
    if isinstance(error, BUGS):
        raise error
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return f"{repo}: the Hub does not know you; log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"{repo}: your token may not write there; ask for a token with write access, or choose another --repo"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo}: HF_HUB_OFFLINE is set; unset it to publish"
    if isinstance(error, ValueError) or status == 400:  # front matter among them
        return f"{repo}: the Hub refuses it ({str(error).strip().splitlines()[-1]})"
    if status is not None:
        return f"{repo}: the Hub answers {status}; give the command again, what is uploaded stays"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{repo}: {constants.ENDPOINT} can't be reached or broke off ({first}); give the command again to go on"


def publish(
    run: str | Path, repo: str, *, private: bool = False, dry_run: bool = False, tag: str | None = None
) -> Iterator[str]:
    """Upload the model folder of a run, and say what is done, line by line.

    Idempotent: files that are on the Hub already are not sent, and without a change there is no commit. An upload that
    was cut off is finished by the same call. A tag that exists is left where it is; if it stands for something else,
    that is an error.

    Args:
        run: A run's folder, or a model folder.
        repo: ``owner/name``.
        private: Make the repository private, if it has to be made.
        dry_run: Only say what would change.
        tag: Tag for the version, like ``v1.0``.

    Raises:
        InputError: No model folder, a card without front matter, no right to write, or the Hub can't be reached.
    """
    folder = _folder(Path(run)).path
    card = folder / "README.md"
    if not card.is_file() or not card.read_text(encoding="utf-8").startswith("---\n"):
        raise InputError(f"{card}: no model card with front matter; save the model again, or write one")
    if repo.count("/") != 1:
        raise InputError(f"--repo {repo}: expected owner/name")
    try:
        yield from _publish(folder, repo, private, dry_run, tag)
    except InputError:
        raise
    except Exception as error:  # the client's and the network's, each with its remedy
        raise InputError(_message(error, repo)) from None


def _publish(folder: Path, repo: str, private: bool, dry_run: bool, tag: str | None) -> Iterator[str]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()

    def files(revision: str | None) -> dict[str, Any]:
        return {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True, revision=revision)}

    try:
        refs = api.list_repo_refs(repo)
        remote, tags = files(None), {ref.name for ref in refs.tags}
        head = next(ref.target_commit for ref in refs.branches if ref.name == "main")
        exists = True
    except RepositoryNotFoundError:
        remote, tags, head, exists = {}, set(), None, False
    changes = _changes(folder, remote)
    if not exists:
        yield f"repository {repo}: will be made{', private' if private else ''}"
    for name in _FILES:
        size = (folder / name).stat().st_size
        yield f"{name}: {changes.get(name, 'unchanged')}" + (f", {size / 1e6:.1f} MB" if name in changes else "")
    if tag in tags and _changes(folder, files(tag)):
        raise InputError(f"--tag {tag}: stands for other files already; a tag stays what it is, choose the next one")
    if dry_run:
        yield "dry run: nothing was sent"
        return
    if not exists:
        api.create_repo(repo, private=private, exist_ok=True)
        yield f"made: {repo}"
    if changes:
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=list(_FILES), commit_message=f"Model {tag or ''}".strip()
        )
        head = done.oid
        yield f"uploaded: {done.commit_url}"
    if tag is not None and tag not in tags:
        api.create_tag(repo, tag=tag, revision=head)
        yield f"tag {tag}: {head}"
