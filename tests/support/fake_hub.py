"""A Hugging Face Hub on this machine: as much of its API as huggingface_hub needs to upload and download models.

Repositories live in memory. :attr:`FakeHub.answers` replaces the answer of a request, to misbehave::

    with fake_hub() as hub:
        hub.answers["GET /api/models/me/sae"] = Answer(200, b"<html>")
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

TOKEN = "hf_secretsecretsecretsecretsecret"
_REPOSITORY = r"(?P<repository>[^/]+/[^/]+?)"


@dataclass
class Answer:
    """An answer of the server; ``stream`` is sent after ``body`` until the client hangs up, without a length."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: bytes = b""


@dataclass
class Repository:
    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    """(commit, all files), oldest first"""

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1] if self.commits else ("0" * 40, {})
        return next((one for one in self.commits if one[0] == revision), None)

    def commit(self, files: dict[str, bytes]) -> str:
        present = {**(self.commits[-1][1] if self.commits else {}), **files}
        oid = hashlib.sha1(repr((len(self.commits), sorted(present.items()))).encode()).hexdigest()
        self.commits.append((oid, present))
        return oid


@dataclass
class FakeHub:
    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer | Callable[[], Answer]] = field(default_factory=dict)
    """``METHOD PATH`` -> what is answered instead"""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """method, path and headers of each request"""

    def put(self, repository: str, **files: bytes) -> str:
        """Commit files, ``__`` in a name standing for a dot, and return the commit."""
        named = {name.replace("__", "."): content for name, content in files.items()}
        return self.repositories.setdefault(repository, Repository()).commit(named)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        self.requests.append((method, path, headers))
        special = self.answers.get(f"{method} {path}")
        if special is not None:
            return special() if callable(special) else special
        for pattern, answer in _ROUTES:
            matched = re.fullmatch(pattern, f"{method} {path}")
            if matched:
                return answer(self, {key: unquote(value or "") for key, value in matched.groupdict().items()}, body)
        return Answer(404, b"{}")


def _json(content: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _error(status: int, code: str) -> Answer:
    return Answer(status, json.dumps({"error": code}).encode(), {"X-Error-Code": code, "X-Error-Message": code})


def _create(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repositories:
        return _json({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
    private = asked.get("private") is True or asked.get("visibility") == "private"
    hub.repositories[name] = Repository(private=private)
    return _json({"url": f"{hub.url}/{name}", "name": name})


def _info(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories.get(parts["repository"])
    if repository is None:
        return _error(404, "RepoNotFound")
    commit = repository.at(parts.get("revision") or "main")
    if commit is None:
        return _error(404, "RevisionNotFound")
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "blobId": hashlib.sha1(content).hexdigest(),
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100},
        }
        for name, content in commit[1].items()
    ]
    for sibling in siblings:
        if not str(sibling["rfilename"]).endswith(".safetensors"):
            del sibling["lfs"]
    return _json({"id": parts["repository"], "modelId": parts["repository"], "sha": commit[0], "siblings": siblings})


def _tree(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    """List the files as ``snapshot_download`` asks for them."""
    answer = _info(hub, parts, body)
    if answer.status != 200:
        return answer
    rows = json.loads(answer.body)["siblings"]
    return _json(
        [{"type": "file", "path": row["rfilename"], "size": row["size"], "oid": row["blobId"]} for row in rows]
    )


def _preupload(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }
        for file in json.loads(body)["files"]
    ]
    return _json({"files": files})


def _batch(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    objects = [
        {**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}} for one in json.loads(body)["objects"]
    ]
    return _json({"transfer": "basic", "objects": objects})


def _large(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    assert hashlib.sha256(body).hexdigest() == parts["oid"]
    hub.large[parts["oid"]] = body
    return Answer(200)


def _commit(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    files = {}
    for line in body.decode().splitlines():
        entry = json.loads(line)
        if entry["key"] == "file":
            files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        elif entry["key"] == "lfsFile":
            files[entry["value"]["path"]] = hub.large[entry["value"]["oid"]]
    name = parts["repository"]
    oid = hub.repositories[name].commit(files)
    return _json({"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{name}/commit/{oid}"})


def _resolve(hub: FakeHub, parts: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories.get(parts["repository"])
    commit = repository.at(parts["revision"]) if repository else None
    if commit is None:
        return _error(404, "RepoNotFound" if repository is None else "RevisionNotFound")
    content = commit[1].get(parts["file"])
    if content is None:
        return _error(404, "EntryNotFound")
    return Answer(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit[0]})


_ROUTES: list[tuple[str, Callable[[FakeHub, dict[str, str], bytes], Answer]]] = [
    ("POST /api/repos/create", _create),
    ("POST /api/validate-yaml", lambda hub, parts, body: _json({"errors": [], "warnings": []})),
    (rf"GET /api/models/{_REPOSITORY}(/revision/(?P<revision>[^/]+))?", _info),
    (rf"GET /api/models/{_REPOSITORY}/tree/(?P<revision>[^/]+)", _tree),
    (rf"POST /api/models/{_REPOSITORY}/preupload/(?P<revision>[^/]+)", _preupload),
    (rf"POST /{_REPOSITORY}\.git/info/lfs/objects/batch", _batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]+)", _large),
    (rf"POST /api/models/{_REPOSITORY}/commit/(?P<revision>[^/]+)", _commit),
    (rf"(?:GET|HEAD) /{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", _resolve),
]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run the server for the duration of the context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def _serve(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b"".join(iter(self._chunk, b""))
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = hub.answer(self.command, urlparse(self.path).path, body, dict(self.headers))
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            if answer.stream:
                self.close_connection = True
                self.send_header("Connection", "close")
            elif "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                try:
                    self.wfile.write(answer.body)
                    while answer.stream:
                        self.wfile.write(answer.stream)
                except OSError:
                    self.close_connection = True

        def _chunk(self) -> bytes:
            content = self.rfile.read(int(self.rfile.readline().split(b";")[0], 16))
            self.rfile.readline()
            return content

        do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815 - the names of the base class

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = FakeHub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client_of(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch, *, token: str | None = TOKEN) -> None:
    """Point the client in this process at a server, with an empty cache of its own."""
    from huggingface_hub import constants

    from methods.pretrained import download

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(cache / "no-tokens"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_resolved", {})
