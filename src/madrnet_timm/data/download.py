"""Fetching a data set: from a URL or a local archive, checked and unpacked without trusting it."""

import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

from tqdm import tqdm

from ..errors import InputError
from ..files import beside_path, replacing_folder, reporting_disk_errors, sha256_of, write_text
from .manifest import MANIFESTS, verify
from .sources import SOURCES

__all__ = ["MAX_BYTES", "MAX_FILES", "download"]

MAX_FILES = 20_000
"""An archive with more files is refused."""
MAX_BYTES = 4 * 2**30
"""So is one that holds more, unpacked."""

_CHUNK = 2**20
_TIMEOUT = 30.0
_ATTEMPTS = 5
_PAUSE = 0.5  # seconds, longer each time


def _web_address(source: str) -> str:
    """A URL in the letters that HTTP takes: é and spaces are escaped, the host is spelt for the name service.

    Raises:
        InputError: No address of the web.
    """
    try:
        parts = urlsplit(source)
        host = (parts.hostname or "").encode("idna" if ":" not in (parts.hostname or "") else "ascii").decode()
        if not re.fullmatch(r"[\w.:%-]{1,253}", host) or not source.isprintable():
            raise ValueError(f"{host[:40]!r} is no name of a host" if source.isprintable() else "control characters")
        host = f"[{host}]" if ":" in host else host
        place = host if parts.port is None else f"{host}:{parts.port}"
        path, query = (quote(part, safe="%/:@!$&'()*+,;=~?") for part in (parts.path, parts.query))
        return urlunsplit((parts.scheme, place, path, query, ""))
    except ValueError as error:  # UnicodeError among them
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{ascii(source)[:120]}: no address of the web ({reason}); expected https://host/path/archive.zip"
        ) from None


def _request(url: str, start: int, validator: str) -> urllib.request.Request:
    headers = {"User-Agent": "madrnet-timm", "Accept-Encoding": "identity"}
    if start:  # If-Range: only if it is still the same file
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    return urllib.request.Request(url, headers=headers)


def _whole_number(text: str | None) -> int:
    """Of a header; 0 where there is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _noted(note: Path, url: str) -> tuple[str, int]:
    """Validator and size of the file that an earlier attempt began to fetch; nothing where that can't be told."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        validator, size = known["validator"], known["size"]
        same = known["url"] == url and isinstance(validator, str) and isinstance(size, int)
        return (validator, size) if same and validator.isascii() and validator.isprintable() else ("", 0)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # missing or damaged: fetched from the start
        return "", 0


def _fetch_once(url: str, part: Path, note: Path) -> bool:
    """Fetch what is missing of ``part``; whether it is whole now."""
    validator, size = _noted(note, url) if part.exists() else ("", 0)
    start = part.stat().st_size if validator else 0
    if start and start == size:
        return True
    with urllib.request.urlopen(_request(url, start, validator), timeout=_TIMEOUT) as answer:
        span = answer.headers.get("Content-Range", "")
        if answer.status == 206 and span.startswith(f"bytes {start}-"):
            total = _whole_number(span.rpartition("/")[2])
        else:  # the server does not know ranges, or the file is another one now
            start, total = 0, _whole_number(answer.headers.get("Content-Length"))
        if total > MAX_BYTES:
            raise InputError(f"{url}: {total / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} that are expected")
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        write_text(note, json.dumps({"url": url, "validator": validator, "size": total}))
        with reporting_disk_errors(part):
            file = part.open("ab" if start else "wb")
        bar = tqdm(total=total or None, initial=start, unit="B", unit_scale=True, desc="fetching", disable=None)
        with file, bar:
            while chunk := answer.read(_CHUNK):
                with reporting_disk_errors(part):
                    file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_BYTES:
                    raise InputError(f"{url}: more than the {MAX_BYTES / 2**30:.0f} GiB that are expected")
    return not total or part.stat().st_size == total


def _fetch(url: str, part: Path) -> None:
    """Fetch a URL to ``part``, going on where an earlier attempt, or an earlier call, was cut off."""
    note = part.with_name(f"{part.name}.json")
    reason = "cut off"
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * attempt)
        try:
            if _fetch_once(url, part, note):
                note.unlink(missing_ok=True)
                return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the file has shrunk
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):  # not "try again"
                raise InputError(f"{url}: the server says {error.code} {error.reason}; check the address") from None
            reason = f"the server says {error.code} {error.reason}"
        except InputError:
            raise
        except (OSError, HTTPException, ValueError) as error:  # ValueError: sent on to what is no address
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
    got = part.stat().st_size if part.exists() else 0
    raise InputError(
        f"{url}: not fetched to the end ({reason}; {got} bytes are here); give the command again to go on from there"
    )


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in name:
        raise InputError(f"{archive}: holds the path {name!r}, which leads out of its folder; not unpacked")
    return path


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Path and content of each file of an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise InputError(f"{archive}: {info.filename!r} is a link or a device; not unpacked")
                path = _safe(info.filename, archive)
                if not info.is_dir():
                    with zipped.open(info) as file:
                        yield path, file
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tarred:
            for member in tarred:
                if not (member.isfile() or member.isdir()):
                    raise InputError(f"{archive}: {member.name!r} is a link or a device; not unpacked")
                path = _safe(member.name, archive)
                if member.isfile() and (content := tarred.extractfile(member)) is not None:
                    yield path, content
    else:
        raise InputError(
            f"{archive}: neither zip nor tar; unpack it yourself and run `madrnet data verify` on the folder"
        )


_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
)  # fmt: skip


def _unpack(archive: Path, folder: Path) -> None:
    count = size = 0
    try:
        for path, content in tqdm(_members(archive), desc="unpacking", unit="file", mininterval=1, disable=None):
            count += 1
            if count > MAX_FILES:
                raise InputError(f"{archive}: holds more than {MAX_FILES} files; not a data set of this package")
            target = folder / path
            if target.exists() or any((folder / parent).is_file() for parent in path.parents):
                raise InputError(f"{archive}: holds {path} twice; not unpacked")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while chunk := content.read(_CHUNK):
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise InputError(f"{archive}: unpacks to more than {MAX_BYTES / 2**30:.0f} GiB; not unpacked")
                    file.write(chunk)
    except _DAMAGED as error:
        raise InputError(f"{archive}: a damaged or encrypted archive ({error}); fetch it again") from None
    except OSError as error:
        if error.errno is None:  # of a compressed stream, not of the disk
            raise InputError(f"{archive}: a damaged archive ({error}); fetch it again") from None
        raise


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than names can be, or with a NUL
        return False


def _data_root(folder: Path, name: str) -> Path:
    """The folder inside of an unpacked archive that holds the class folders."""
    classes = SOURCES[name].classes
    below = (path for path in folder.rglob("*") if path.is_dir() and "__MACOSX" not in path.parts)
    inside = [folder, *sorted(below)]
    for candidate in inside:
        if classes and all((candidate / folder_name).is_dir() for folder_name in classes):
            return candidate
    expected = ", ".join(classes or ())
    raise InputError(f"the archive does not hold the class folders of {SOURCES[name].title} ({expected})")


def _free_folder(output: str | Path) -> Path:
    """The folder for the images, which nothing stands in."""
    try:
        output = Path(output).resolve()
        free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    except (OSError, ValueError) as error:  # longer than names can be, with a NUL, not readable
        raise InputError(f"--output {ascii(str(output))[:80]}: no name for a folder ({error.args[-1]})") from None
    if not free:
        raise InputError(f"--output {output}: is not an empty folder; choose another")
    return output


def _put(name: str, archive: Path, source: str, output: Path) -> int:
    """Unpack an archive and put its images into a folder, if they are those of the manifest; how many there are."""
    with replacing_folder(output) as folder:
        unpacked = folder.with_name(f"{folder.name}.archive")
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            _unpack(archive, unpacked)
            root = _data_root(unpacked, name)
            found = verify(name, root)
            if not found.ok:
                raise InputError(
                    f"{source}: not {SOURCES[name].title} as its manifest says: {str(found).replace(chr(10), '; ')}"
                )
            for child in sorted(root.iterdir()):
                if child.name in (SOURCES[name].classes or ()):
                    os.replace(child, folder / child.name)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    return found.right


def download(name: str, source: str, output: str | Path, sha256: str | None = None) -> int:
    """Fetch a data set, check it and put it into a folder.

    A transfer that was cut off goes on where it stopped, in the same call or the next. Nothing stands in ``output``
    before everything is checked: the archive's hash where it is given, and every image by the manifest of the
    package.

    Args:
        name: ``hushem`` or ``smids``.
        source: URL (http or https) or path of a zip or tar archive.
        output: The folder, which must not exist or be empty.
        sha256: Hash of the archive.

    Returns:
        Number of images.

    Raises:
        InputError: Another data set; a folder that is not empty; a source that can't be read or fetched; another hash;
            an archive with paths that lead out of it, links, more than `MAX_FILES` files or `MAX_BYTES`; images that
            are missing or altered.
    """
    if name not in MANIFESTS:
        raise InputError(f"data set {name!r}: only {' and '.join(MANIFESTS)} can be fetched")
    output = _free_folder(output)
    remote = source.lower().startswith(("http://", "https://"))
    address = _web_address(source) if remote else ""
    archive = beside_path(output).with_suffix(".download") if remote else Path(source)
    if remote:
        with reporting_disk_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, archive)
    elif not _is_file(archive):
        raise InputError(f"{source}: no such archive; expected a file, or a URL that begins with https://")
    try:
        if sha256 is not None and (found_hash := sha256_of(archive)) != sha256.lower():
            raise InputError(f"{source}: sha256 is {found_hash}, not {sha256}; another file, or tampered with")
        return _put(name, archive, source, output)
    finally:
        if remote:
            archive.unlink(missing_ok=True)
