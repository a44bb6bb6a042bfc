"""What the Hub, its client, the network and the disk say against a request, in words for the user."""

import errno

from ..errors import BUGS

__all__ = ["hub_reason", "is_unreachable"]

_FULL_OR_CLOSED = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


def is_unreachable(error: BaseException) -> bool:
    """Nobody answered, or the server is down: the cache will do. A full disk or a bug is something else."""
    if isinstance(error, BUGS):
        return False
    status = _status(error)
    return status >= 500 if status is not None else not _is_disk(error)


def hub_reason(
    error: Exception, repository: str, revision: str | None = None, *, writing: bool = False, remedy: str
) -> str:
    """Why a request failed and what to do, in one line; a bug is raised again.

    Args:
        error: Of the client.
        repository: ``owner/name``.
        revision: That was asked for.
        writing: Something was to be uploaded.
        remedy: What to do where the Hub can't be reached.
    """
    if isinstance(error, BUGS):
        raise error
    from huggingface_hub import constants, errors

    place, status = f"{constants.ENDPOINT}/{repository}", _status(error)
    if isinstance(error, errors.GatedRepoError):
        return f"{place} is gated; ask for access on its page, then log in with `hf auth login`"
    if isinstance(error, errors.LocalTokenNotFoundError) or (writing and status == 401):
        return "the Hub does not know you; log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{place} does not exist, or is private and you are not logged in; check the name and "
            "MADRNET_HUB_NAMESPACE, or use `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place} has no revision {revision}; leave @{revision} out, or ask for one of its tags"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{place} holds no config.json and model.safetensors; pickled weights are never opened, ask its owner"
    if status == 403 and writing:
        return "your token may not write there; ask for a token with write access, or choose another --repo"
    if status in (401, 403):
        return f"the Hub refuses this token ({status}); log in with `hf auth login`"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it" + ("" if writing else f", or {remedy}")
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if status == 400 or (writing and isinstance(error, ValueError)):  # front matter among them
        return f"the Hub refuses it ({str(error).strip().splitlines()[-1]})"
    if status is not None:
        return f"the Hub answers {status}; {remedy if writing else 'try again later'}"
    if _is_disk(error):
        return f"can't be written to the cache ({getattr(error, 'strerror', first)}); free some space or set HF_HOME"
    return f"{constants.ENDPOINT} can't be reached or broke off ({first}); {remedy}"


def _status(error: BaseException) -> int | None:
    """Of the Hub's answer; the client may have wrapped it."""
    found: BaseException | None = error
    while found is not None:
        status = getattr(getattr(found, "response", None), "status_code", None)
        if status is not None:
            return status
        found = found.__cause__
    return None


def _is_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL_OR_CLOSED
