"""A small Hugging Face Hub on this machine, which speaks the real HTTP API to the real client.

Repositories of models and datasets with commits, tags, LFS objects, private and gated ones, ranges; and faults on
demand. It holds everything in memory and checks what the real Hub checks: tokens, hashes of LFS objects, front matter.
"""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

WRITER, READER = "hf_writer", "hf_reader"


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: list = field(default_factory=lambda: [("0" * 40, {})])  # (sha, {path: content})
    tags: dict = field(default_factory=dict)

    def files(self, revision):
        """Commit and files of a revision, or None."""
        wanted = self.tags.get(revision, revision)
        if wanted == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == wanted), None)

    def commit(self, files):
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((sha, files))
        return sha


@dataclass
class Fault:
    """What goes wrong with the requests whose method and path match: a status, ``cut``, ``corrupt`` or ``kill``."""

    match: str
    kind: int | str
    times: int = 1
    after: int = 0  # matching requests that go well first


class LoopbackHub:
    """The server; ``repos`` by ``models/owner/name`` or ``datasets/owner/name``, ``log`` of all requests."""

    def __init__(self):
        self.repos, self.objects, self.faults, self.log = {}, {}, [], []
        self.pid = None  # of the client, for "kill"
        self.lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            owner = hub

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def add(self, repo, files, kind="models", **kwargs):
        self.repos[f"{kind}/{repo}"] = made = Repo(**kwargs)
        made.commit(dict(files))
        return made

    def take_fault(self, line):
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault.kind
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *args):
        pass

    def _begin(self):
        split = urlsplit(self.path)
        self.where, self.query = unquote(split.path), parse_qs(split.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {self.where}"
        self.owner.log.append(line)
        fault = self.owner.take_fault(line)
        self.spoil = fault
        if fault == "kill":
            os.kill(self.owner.pid, signal.SIGKILL)
            self.close_connection = True
            return False
        if isinstance(fault, int):
            self._send(fault, {"error": "fault on demand"}, headers={"Retry-After": "0"})
            return False
        return True

    def _send(self, status, content=b"", headers=None, kind="application/json"):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", (headers or {}).get("X-Length", len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.spoil == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(data)

    def _error(self, status, code, message):
        self._send(status, {"error": message}, headers={"X-Error-Code": code, "X-Error-Message": message})

    @property
    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _repo(self, key, write=False):
        """The repository, or None after an answer that says why not."""
        repo = self.owner.repos.get(key)
        known = self.token in (WRITER, READER)
        if write and self.token != WRITER:
            self._error(403 if known else 401, "", "no right to write")
        elif repo is None or (repo.private and not known):
            self._error(404 if known else 401, "RepoNotFound", "Repository not found")
        elif repo.gated and not known:
            self._error(401, "GatedRepo", "Access to this repository is restricted")
        else:
            return repo
        return None

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if not self._begin():
            return
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.where):
            kind, name, revision, path = found.groups()
            self._resolve(f"{'datasets' if kind else 'models'}/{name}", revision, path)
        elif found := re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)(/.*)?", self.where):
            repo = self._repo(found[1])
            if repo is not None:
                self._describe(repo, found[1], found[2] or "")
        elif self.where == "/api/whoami-v2":
            if self.token == WRITER:
                self._send(200, {"type": "user", "name": "owner"})
            else:
                self._error(401, "", "who?")
        else:
            self._error(404, "", "no such route")

    def _resolve(self, key, revision, path):
        repo = self._repo(key)
        if repo is None:
            return
        commit = repo.files(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"no revision {revision}")
            return
        data = commit[1].get(path)
        if data is None:
            self._error(404, "EntryNotFound", f"no {path}")
            return
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit[0], "Accept-Ranges": "bytes",
        }  # fmt: skip
        if self.spoil == "corrupt":
            data = bytes([data[0] ^ 1]) + data[1:]
        wanted = self.headers.get("Range")
        if wanted and (span := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)):
            start, stop = int(span[1]), int(span[2]) + 1 if span[2] else len(data)
            headers["Content-Range"] = f"bytes {start}-{min(stop, len(data)) - 1}/{len(data)}"
            self._send(206, data[start:stop], headers, "application/octet-stream")
        elif self.command == "HEAD":
            self._send(200, b"", headers | {"X-Length": str(len(data))}, "application/octet-stream")
        else:
            self._send(200, data, headers, "application/octet-stream")

    def _describe(self, repo, key, rest):
        name = key.partition("/")[2]
        if rest == "/refs":
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in repo.tags.items()]
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1][0]}
            self._send(200, {"branches": [branch], "tags": tags, "converts": []})
            return
        found = re.fullmatch(r"(?:/(revision|tree)/([^/]+))?(?:/.*)?", rest)
        commit = repo.files(found[2] or "main") if found else None
        if commit is None:
            self._error(404, "RevisionNotFound", "no such revision")
        elif found[1] == "tree":
            self._send(200, [self._entry(path, data) for path, data in sorted(commit[1].items())])
        else:
            siblings = [{"rfilename": path} for path in sorted(commit[1])]
            self._send(200, {"id": name, "sha": commit[0], "private": repo.private, "siblings": siblings, "tags": []})

    @staticmethod
    def _entry(path, data):
        sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry = {"type": "file", "path": path, "size": len(data), "oid": sha1}
        if path.endswith(".safetensors"):
            sha256 = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
        return entry

    def do_PUT(self):
        if not self._begin():
            return
        oid = self.where.rpartition("/")[2]
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._error(400, "", "wrong hash")
            return
        self.owner.objects[oid] = self.body
        self._send(200)

    def do_POST(self):
        if not self._begin():
            return
        if self.where == "/api/repos/create":
            self._create(json.loads(self.body))
        elif self.where == "/api/validate-yaml":
            self._validate(json.loads(self.body)["content"])
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.where):
            if self._repo(f"{'datasets' if found[1] else 'models'}/{found[2]}", write=True) is not None:
                self._batch(json.loads(self.body))
        elif self.where.startswith("/verify/"):
            there = self.where.rpartition("/")[2] in self.owner.objects
            self._send(200 if there else 404, {})
        elif found := re.fullmatch(
            r"/api/((?:models|datasets)/[^/]+/[^/]+)/(preupload|commit|tag)/([^/]+)", self.where
        ):
            repo = self._repo(found[1], write=True)
            if repo is not None:
                getattr(self, f"_{found[2]}")(repo, found[1], found[3])
        else:
            self._error(404, "", "no such route")

    def _create(self, asked):
        if self.token != WRITER:
            self._error(403 if self.token == READER else 401, "", "no right to make repositories")
            return
        owner = asked.get("organization") or "owner"
        key = f"{asked.get('type') or 'model'}s/{owner}/{asked['name']}"
        answer = {"url": f"{self.owner.url}/{owner}/{asked['name']}", "name": f"{owner}/{asked['name']}"}
        if key in self.owner.repos:
            self._send(409, answer | {"error": "exists"})
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        self.owner.repos[key] = Repo(private=bool(private))
        self._send(200, answer)

    def _validate(self, content):
        front = content.split("---")[1] if content.startswith("---") else ""
        try:
            data = yaml.safe_load(front) or {}
            right = isinstance(data.get("license", ""), str)  # verified where it is named, as on the real Hub
            errors = [] if right else [{"message": "license must be a string"}]
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def _batch(self, asked):
        objects = []
        for entry in asked["objects"]:
            oid, answer = entry["oid"], {"oid": entry["oid"], "size": entry["size"]}
            if oid not in self.owner.objects:
                url = self.owner.url
                answer["actions"] = {"upload": {"href": f"{url}/lfs/{oid}"}, "verify": {"href": f"{url}/verify/{oid}"}}
            objects.append(answer)
        headers = {"Content-Type": "application/vnd.git-lfs+json"}
        self._send(200, {"transfer": "basic", "objects": objects}, headers)

    def _preupload(self, repo, key, revision):
        files = json.loads(self.body)["files"]
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
             "shouldIgnore": False}
            for f in files
        ]  # fmt: skip
        self._send(200, {"files": modes})

    def _commit(self, repo, key, revision):
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        files = dict(repo.commits[-1][1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.owner.objects:
                    self._error(400, "", "the object was not uploaded")
                    return
                files[value["path"]] = self.owner.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        sha = repo.commit(files)
        url = f"{self.owner.url}/{key.removeprefix('models/')}/commit/{sha}"
        self._send(200, {"commitUrl": url, "commitOid": sha, "success": True})

    def _tag(self, repo, key, revision):
        tag = json.loads(self.body)["tag"]
        if tag in repo.tags:
            self._error(409, "", "exists")
            return
        repo.tags[tag] = repo.files(revision)[0]
        self._send(200, {})
