"""Copies checked against a manifest; archives fetched from a server that misbehaves on demand."""

import hashlib
import io
import os
import shutil
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data import download as module
from madrnet_timm.data.download import download
from madrnet_timm.data.manifest import read_manifest, verify
from madrnet_timm.errors import InputError


@pytest.fixture
def copy(hushem_dir, tmp_path):
    target = tmp_path / "copy"
    shutil.copytree(hushem_dir, target)
    return target


@pytest.mark.parametrize("name", ["hushem", "smids"])
def test_manifests_know_every_image(name, request):
    manifest = read_manifest(name)
    assert len(manifest) == {"hushem": 216, "smids": 3000}[name]
    found = verify(name, request.getfixturevalue(f"{name}_dir"))
    assert found.ok
    assert found.right == len(manifest)


def test_verify_names_missing_altered_and_unexpected(copy):
    (copy / "01_Normal" / "image_001.BMP").unlink()
    path = copy / "02_Tapered" / "image_002.BMP"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[60, 60, 0] ^= 1
    Image.fromarray(pixels).save(path)
    (copy / "03_Pyriform" / "image_003.BMP").write_bytes(b"nothing")
    Image.fromarray(pixels).save(copy / "04_Amorphous" / "mine.png")
    found = verify("hushem", copy)
    assert found.missing == ("01_Normal/image_001",)
    assert found.altered == ("02_Tapered/image_002", "03_Pyriform/image_003")
    assert found.unexpected == ("04_Amorphous/mine",)
    Image.fromarray(pixels).save(copy / "01_Normal" / "image_005.png")  # beside image_005.BMP
    assert verify("hushem", copy).unexpected == ("04_Amorphous/mine", "01_Normal/image_005.png")
    assert found.right == 213
    assert not found.ok
    assert "2 altered: 02_Tapered/image_002, 03_Pyriform/image_003" in str(found)


def test_another_lossless_encoding_is_as_the_manifest_says(copy):
    for path in sorted((copy / "01_Normal").iterdir())[:5]:
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert verify("hushem", copy).ok


def zipped(folder, prefix="HuSHeM/", extra=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
        for name, data in extra:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(folder, members=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        if folder:
            archive.add(folder, "data")
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


class Server:
    """Serves ``content`` with ranges and an ETag; ``faults`` are taken one for each request."""

    def __init__(self):
        self.content, self.faults, self.ranges, self.paths = b"", [], [], []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fault = owner.faults.pop(0) if owner.faults else None
                wanted = self.headers.get("Range")
                owner.ranges.append(wanted)
                owner.paths.append(self.path)
                if isinstance(fault, int) and fault >= 400:
                    self.send_error(fault)
                    return
                tag = '"' + hashlib.sha256(owner.content).hexdigest()[:16] + '"'
                start = 0
                if wanted and fault != "no ranges" and self.headers.get("If-Range") == tag:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(owner.content) - 1}/{len(owner.content)}")
                else:
                    self.send_response(200)
                self.send_header("ETag", tag)
                length = "abc" if fault == "no length" else str(len(owner.content) - start)
                self.send_header("Content-Length", length)
                self.end_headers()
                body = owner.content[start:]
                if fault == "cut":
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.zip"


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_verifies_and_unpacks(server, hushem_dir, tmp_path):
    mac = [(f"__MACOSX/HuSHeM/{name}/._x", "x") for name in ("01_Normal", "02_Tapered", "03_Pyriform", "04_Amorphous")]
    server.content = zipped(hushem_dir, extra=[("HuSHeM/readme.txt", "hello"), *mac])
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert download("hushem", server.url, tmp_path / "out" / "hushem", sha256) == 216
    assert verify("hushem", tmp_path / "out" / "hushem").ok
    assert leftovers(tmp_path / "out") == ["hushem"]


def test_a_cut_transfer_goes_on_where_it_stopped(server, hushem_dir, tmp_path):
    server.content = zipped(hushem_dir)
    server.faults = ["cut", 429, "cut"]
    assert download("hushem", server.url, tmp_path / "hushem") == 216
    half = len(server.content) // 2
    assert server.ranges[:2] == [None, f"bytes={half}-"]
    assert server.ranges[3] == f"bytes={half + (len(server.content) - half) // 2}-"


def test_the_next_call_goes_on_too(server, hushem_dir, tmp_path):
    server.content = zipped(hushem_dir)
    server.faults = ["cut", *[503] * 4]
    with pytest.raises(InputError, match=r"not fetched to the end .*give the command again"):
        download("hushem", server.url, tmp_path / "hushem")
    assert not (tmp_path / "hushem").exists()
    assert download("hushem", server.url, tmp_path / "hushem") == 216
    assert server.ranges[-1] == f"bytes={len(server.content) // 2}-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, hushem_dir, tmp_path):
    server.content = b"something else" * 1000
    server.faults = ["cut", *[503] * 4]
    with pytest.raises(InputError):
        download("hushem", server.url, tmp_path / "hushem")
    server.content = zipped(hushem_dir)
    assert download("hushem", server.url, tmp_path / "hushem") == 216


def test_a_server_without_ranges(server, hushem_dir, tmp_path):
    server.content = zipped(hushem_dir)
    server.faults = ["cut", "no ranges"]
    assert download("hushem", server.url, tmp_path / "hushem") == 216


def test_a_length_that_is_none(server, hushem_dir, tmp_path):
    server.content, server.faults = zipped(hushem_dir), ["no length"]
    assert download("hushem", server.url, tmp_path / "hushem") == 216


@pytest.mark.parametrize(
    "note", ["", "{", "[]", "3", '{"url": 1}', '{"url": "URL", "validator": "a\\nb", "size": 3}', "[" * 100_000]
)
def test_a_damaged_note_of_an_earlier_attempt(server, tmp_path, note):
    """The file is fetched from the start."""
    server.content = b"no archive" * 100
    (tmp_path / ".hushem.download").write_bytes(b"no")
    (tmp_path / ".hushem.download.json").write_text(note.replace("URL", server.url))
    with pytest.raises(InputError, match="neither zip nor tar"):
        download("hushem", server.url, tmp_path / "hushem")
    assert server.ranges == [None]


def test_addresses_are_escaped(server, tmp_path):
    server.content = b"no archive"
    with pytest.raises(InputError, match="neither zip nor tar"):
        download("hushem", server.url.replace("data.zip", "données neuves%20.zip?né=1#x"), tmp_path / "hushem")
    assert server.paths == ["/donn%C3%A9es%20neuves%20.zip?n%C3%A9=1"]


@pytest.mark.parametrize(
    "source",
    ["http://[::1", "http://", "https:///a.zip", "http://a b/x", f"http://{'a' * 70}.org/x", f"http://{'a.' * 200}org/",
     "http://a:port/x", "http://a:99999/x", "http://a/\nb", "http://a/\0", "http://é\ud800/"],
)  # fmt: skip
def test_what_is_no_address(source, tmp_path):
    with pytest.raises(InputError, match="no address of the web") as error:
        download("hushem", source, tmp_path / "hushem")
    assert "\n" not in str(error.value)


def test_names_that_can_not_be(tmp_path):
    for source in ("a" * 5000, "a\0b", ""):
        with pytest.raises(InputError, match="no such archive"):
            download("hushem", source, tmp_path / "hushem")
    for output in ("a" * 5000, "a\0b"):
        with pytest.raises(InputError, match="no name for a folder"):
            download("hushem", "x.zip", output)


def test_tampered_files(server, copy, tmp_path):
    path = copy / "01_Normal" / "image_001.BMP"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    server.content = zipped(copy)
    with pytest.raises(InputError, match=r"sha256 is .*not 00.*tampered"):
        download("hushem", server.url, tmp_path / "hushem", "00" * 32)
    with pytest.raises(InputError, match=r"not HuSHeM as its manifest says: .*1 altered: 01_Normal/image_001"):
        download("hushem", server.url, tmp_path / "hushem")
    path.unlink()
    server.content = zipped(copy)
    with pytest.raises(InputError, match=r"1 missing: 01_Normal/image_001"):
        download("hushem", server.url, tmp_path / "hushem")
    assert leftovers(tmp_path) == ["copy"]


def link(kind):
    member = tarfile.TarInfo("data/link")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def path_out(name):
    member = tarfile.TarInfo(name)
    member.size = 1
    return member


def spoiled_zip():
    data = bytearray(zipped_of(("a.bmp", os.urandom(5000) + bytes(5000))))
    data[200:400] = bytes(200)
    return bytes(data)


def zip_link():
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (lambda: tarred(None, [link(tarfile.SYMTYPE)]), "is a link or a device"),
        (lambda: tarred(None, [link(tarfile.LNKTYPE)]), "is a link or a device"),
        (lambda: tarred(None, [path_out("../out")]), "leads out of its folder"),
        (lambda: tarred(None, [path_out("/tmp/out")]), "leads out of its folder"),
        (lambda: tarred(None, [path_out("a"), path_out("a")]), "holds a twice"),
        (lambda: tarred(None, [path_out("a"), path_out("a/b")]), "holds a/b twice"),
        (lambda: spoiled_zip(), "damaged"),
        (lambda: tarred(None, [path_out("a")]), "does not hold the class folders"),
        (lambda: tarred(None, [path_out("a")])[:40], "damaged|neither zip nor tar"),
        (lambda: zipped_of(("../../out", "x")), "leads out of its folder"),
        (lambda: zipped_of(("..\\out", "x")), "leads out of its folder"),
        (lambda: zipped_of((zip_link(), "/etc/passwd")), "is a link or a device"),
        (lambda: b"hello", "neither zip nor tar"),
    ],
)
def test_archives_that_are_not_unpacked(tmp_path, archive, words):
    (tmp_path / "data.bin").write_bytes(archive())
    with pytest.raises(InputError, match=words):
        download("hushem", str(tmp_path / "data.bin"), tmp_path / "sub" / "hushem")
    assert leftovers(tmp_path) in (["data.bin"], ["data.bin", "sub"])
    assert not (tmp_path / "sub").exists() or leftovers(tmp_path / "sub") == []


def zipped_of(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10 * 2**20)
    monkeypatch.setattr(module, "MAX_FILES", 50)
    large = zipped_of(*((f"{number}.bmp", bytes(2**20)) for number in range(20)))
    assert len(large) < 2**20
    many = zipped_of(*((f"{number}.bmp", b"x") for number in range(60)))
    for data, words in ((large, "unpacks to more than"), (many, "more than 50 files")):
        (tmp_path / "bomb.zip").write_bytes(data)
        with pytest.raises(InputError, match=words):
            download("hushem", str(tmp_path / "bomb.zip"), tmp_path / "hushem")
        assert leftovers(tmp_path) == ["bomb.zip"]


def test_mistakes_before_anything_is_fetched(server, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        download("hushem", server.url, tmp_path / "full")
    with pytest.raises(InputError, match="only hushem and smids"):
        download("folder", server.url, tmp_path / "new")
    with pytest.raises(InputError, match="no such archive"):
        download("hushem", "nowhere.zip", tmp_path / "new")
    server.faults = [404]
    with pytest.raises(InputError, match="the server says 404"):
        download("hushem", server.url, tmp_path / "new")
    assert len(server.ranges) == 1
    assert os.listdir(tmp_path) == ["full"]
