"""Putting a model folder on the Hugging Face Hub."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from ..errors import InputError
from ..models.pretrained import published_models
from .card import ANYWHERE, check_license
from .fetch import git_hash, is_repository
from .folder_files import FILES
from .hub_errors import hub_reason, is_unreachable
from .lookup import find_model
from .model_folder import ModelFolder
from .weights import check_numbers

__all__ = ["publish"]


def _is_same(there: Any, data: bytes) -> bool:
    """Whether a file on the Hub holds these bytes."""
    return there.lfs.sha256 == hashlib.sha256(data).hexdigest() if there.lfs else there.blob_id == git_hash(data)


def _changes(files: Mapping[str, bytes], remote: Mapping[str, Any]) -> dict[str, str]:
    """``added``, ``changed`` or ``removed`` for each file of a model that is not on the Hub as it is here.

    What an older model has left there goes: its ``seen.csv`` would be taken for this one's. Files of another kind stay.
    """
    out = {name: "removed" for name in FILES if name in remote and name not in files}
    for name, data in files.items():
        if name not in remote:
            out[name] = "added"
        elif not _is_same(remote[name], data):
            out[name] = "changed"
    return out


def publish(
    model: str | Path,
    repo: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    tag: str | None = None,
    license: str | None = None,
) -> Iterator[str]:
    """Upload a model folder, and say what is done, line by line.

    Idempotent: files that are on the Hub already are not sent, and without a change there is no commit. An upload that
    was cut off is finished by the same call. A tag that exists is left where it is; if it stands for something else,
    that is an error.

    Args:
        model: What `find_model` takes: a run's folder, a model folder, a name, hf-hub:owner/name.
        repo: ``owner/name``.
        private: Make the repository private, if it has to be made.
        dry_run: Only say what would change. Where the Hub can't be asked, what would be sent to an empty repository.
        tag: Tag for the version, like ``v1.0``.
        license: Identifier of the weights' licence for the card and the config.json that are sent; without it what the
            folder says.

    Raises:
        InputError: No model folder, damaged weights, a card without front matter, no right to write, or the Hub can't
            be reached.
    """
    folder = ModelFolder(find_model(model))
    check_numbers(load_file(folder.weights), folder.weights)
    if not is_repository(repo):
        raise InputError(f"--repo {repo}: expected owner/name, of letters, digits, '-', '_' and '.'")
    card = _card(folder.path / "README.md", license)
    there = f"hf-hub:{repo}"  # where its readers find the model
    card = card.replace(f"local-dir:{ANYWHERE}", there).replace(ANYWHERE, there)
    files = {name: (folder.path / name).read_bytes() for name in FILES if (folder.path / name).is_file()}
    files["README.md"] = card.encode()
    if license is not None:
        files["config.json"] = _licensed(files["config.json"], license)
    try:
        yield from _publish(files, repo, private, dry_run, tag)
    except InputError:
        raise
    except Exception as error:  # the client's and the network's, each with its remedy
        if dry_run and _unasked(error):
            yield f"{repo}: not asked what is there already (the Hub can't be reached)"
            yield from _sizes(files, dict.fromkeys(files, "to be sent"))
            yield "dry run: nothing was sent"
            return
        reason = hub_reason(error, repo, writing=True, remedy="give the command again, what is uploaded stays")
        raise InputError(f"{repo}: {reason}") from None


def _card(path: Path, license: str | None) -> str:
    """The card's text, with its licence set if one is given."""
    from huggingface_hub import ModelCard

    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        card = ModelCard(text) if text.startswith("---\n") else None
    except (ValueError, yaml.YAMLError):
        card = None
    if card is None or not card.data.to_dict():
        raise InputError(f"{path}: no model card with front matter; save the model again, or write one")
    if license is None:
        return text
    check_license(license)
    card.data["license"] = license
    return f"{str(card).rstrip()}\n"


def _licensed(config: bytes, license: str) -> bytes:
    """A ``config.json`` with the licence that the card says.

    Raises:
        InputError: That of a model whose files the package knows by their hashes.
    """
    own = json.loads(config)
    cfg = own.get("pretrained_cfg", own)
    if cfg.get("license") == license:
        return config
    digest = hashlib.sha256(config).hexdigest()
    if known := [entry.name for entry in published_models().values() if entry.config_sha256 == digest]:
        raise InputError(
            f"--license {license}: {known[0]} has the licence {cfg.get('license')}, which its config.json states and "
            "whose hash the package knows; leave --license out"
        )
    cfg["license"] = license
    return f"{json.dumps(own, indent=2)}\n".encode()


def _sizes(files: Mapping[str, bytes], changes: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*files, *changes}, key=FILES.index):
        size = f", {len(files[name]) / 1e6:.1f} MB" if name in changes and name in files else ""
        yield f"{name}: {changes.get(name, 'unchanged')}{size}"
    if b"\nlicense: " not in files["README.md"]:
        yield "note: the card names no licence, so that nobody may use the weights; --license apache-2.0, for example"


def _unasked(error: Exception) -> bool:
    """Nobody answered, or nobody may be asked."""
    from huggingface_hub import errors

    return isinstance(error, errors.OfflineModeIsEnabled) or (
        getattr(error, "response", None) is None and is_unreachable(error)
    )


def _publish(files: Mapping[str, bytes], repo: str, private: bool, dry_run: bool, tag: str | None) -> Iterator[str]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()

    def there(revision: str | None) -> dict[str, Any]:
        return {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True, revision=revision)}

    try:
        refs = api.list_repo_refs(repo)
        remote, tags = there(None), {ref.name for ref in refs.tags}
        head = next(ref.target_commit for ref in refs.branches if ref.name == "main")
        exists = True
    except RepositoryNotFoundError:
        remote, tags, head, exists = {}, set(), None, False
    changes = _changes(files, remote)
    if not exists:
        yield f"repository {repo}: will be made{', private' if private else ''}"
    yield from _sizes(files, changes)
    if tag in tags and _changes(files, there(tag)):
        raise InputError(f"--tag {tag}: stands for other files already; a tag stays what it is, choose the next one")
    if dry_run:
        yield "dry run: nothing was sent"
        return
    if not exists:
        api.create_repo(repo, private=private, exist_ok=True)
        yield f"made: {repo}"
    if changes:
        done = api.create_commit(
            repo,
            [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=files[name])
                if name in files
                else CommitOperationDelete(path_in_repo=name)
                for name in changes
            ],
            commit_message=f"Model {tag or ''}".strip(),
        )
        head = done.oid
        yield f"uploaded: {done.commit_url}"
    if tag is not None and tag not in tags:
        api.create_tag(repo, tag=tag, revision=head)
        yield f"tag {tag}: {head}"
