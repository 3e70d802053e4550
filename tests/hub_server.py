# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A small Hub on loopback: what huggingface_hub 2.4 asks of one, over real sockets, kept in memory.

A test starts `HubServer`, gives `server.environment(home)` to a subprocess, and the client in it, unpatched, pushes
and loads. Members: `ann` (token WRITER; READER and FINE may only read) and her organisation `org`, and `bob` (token
OTHER). Anything else sent as a token is invalid.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hub_store import DATE, Blob, Refusal, Repo, list_tree, read_card

WRITER, READER, FINE, OTHER = "hf_writer", "hf_reader", "hf_fine", "hf_other"
MEMBERS = {
    WRITER: ("ann", "write", ["org"]),
    READER: ("ann", "read", ["org"]),
    FINE: ("ann", "fineGrained", ["org"]),
    OTHER: ("bob", "write", []),
}
LFS_SUFFIXES = (".parquet", ".safetensors", ".bin", ".arrow", ".png", ".jpg")

REPO_API = re.compile(r"/api/(model|dataset|space)s/([^/]+(?:/[^/]+)?)$")
REPO_ACTION_API = re.compile(r"/api/(model|dataset|space)s/([^/]+/[^/]+)/([a-z-]+)(?:/(.*))?$")
LFS_BATCH = re.compile(r"/(?:(dataset|space)s/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch$")
RESOLVE = re.compile(r"/(?:(dataset|space)s/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)$")


class HubServer:
    """The server. Faults to set: `upload_status` (answer every upload so), `die_after` (bytes of an upload),
    `slow` (seconds before an upload is answered)."""

    def __init__(self):
        self.repos: dict[tuple[str, str], Repo] = {}  # (kind, "namespace/name")
        self.lfs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.upload_status: int | None = None
        self.die_after: int | None = None
        self.slow = 0.0
        self.lock = threading.Lock()  # one commit at a time
        self.connections: set[socket.socket] = set()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Opens the port (the same one again after a stop), with all that was stored."""
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.http.hub, self.port = self, self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Closes the port and every open connection, as when the process is killed."""
        self.http.shutdown()
        self.http.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def create(self, kind: str, name: str, private: bool = False, sdk: str | None = None) -> Repo:
        self.repos[(kind, name)] = Repo(private, sdk)
        return self.repos[(kind, name)]

    def repo(self, kind: str, name: str) -> Repo:
        return self.repos[(kind, name)]

    def uploads(self) -> list[str]:
        """The paths of all uploads of LFS files so far."""
        return [path for method, path in self.requests if method == "PUT"]

    def environment(self, home: Path, token: str | None = WRITER) -> dict[str, str]:
        """Environment of a fresh user of this Hub, whose caches lie in `home`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        return environment if token is None else environment | {"HF_TOKEN": token}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.hub.connections.add(self.connection)

    def finish(self):
        self.server.hub.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *arguments):
        pass

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError, ValueError):  # the client, or `stop`, closed the connection
            return super().handle_one_request()
        self.close_connection = True

    def answer_request(self):
        self.hub = self.server.hub
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.hub.requests.append((self.command, url.path))
        body = self.read_body()
        if body is None:
            return
        try:
            self.user, self.role, self.orgs = self.authenticate()
            self.route(url.path, body)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self.send_json({"error": refusal.message, **refusal.fields}, refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer_request

    def read_body(self) -> bytes | None:
        """The request's body; None if the server died over it."""
        chunks, left = [], int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        while chunked or left:
            if chunked:
                size = int(self.rfile.readline(), 16)
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
                chunked = size > 0
            else:
                chunks.append(self.rfile.read(min(left, 65536)))
                left -= len(chunks[-1])
                if not chunks[-1]:
                    raise ConnectionError("the client went away")
            if self.command == "PUT" and self.hub.die_after is not None:
                if sum(map(len, chunks)) > self.hub.die_after:
                    self.hub.die_after = None
                    self.hub.stop()
                    self.close_connection = True
                    return None
        return b"".join(chunks)

    def authenticate(self) -> tuple[str | None, str | None, list[str]]:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in MEMBERS:
            raise Refusal(401, None, "Invalid credentials in Authorization header")
        return MEMBERS[token] if token else (None, None, [])

    def route(self, path: str, body: bytes) -> None:
        if path == "/api/whoami-v2":
            return self.whoami()
        if path == "/api/repos/create":
            return self.create_repo(json.loads(body))
        if path == "/api/validate-yaml":
            read_card(json.loads(body)["content"])
            return self.send_json({"errors": [], "warnings": []})
        if path.startswith("/lfs/"):
            return self.put_lfs(path.removeprefix("/lfs/"), body)
        if match := LFS_BATCH.match(path):
            kind, name = match.groups()
            self.find_repo(kind or "model", unquote(name), write=True)
            return self.lfs_batch(json.loads(body))
        if match := RESOLVE.match(path):
            kind, name, revision, file = map(lambda part: part and unquote(part), match.groups())
            repo = self.find_repo(kind or "model", name)
            return self.send_file(repo, repo.resolve(revision), file)
        if match := REPO_API.match(path):
            kind, name = match.groups()
            return self.info(kind, unquote(name), "main")
        if match := REPO_ACTION_API.match(path):
            kind, name, action, rest = match.groups()
            method = getattr(self, "api_" + action.replace("-", "_"), None)
            if method is not None:
                return method(kind, unquote(name), rest or "", body)
        raise Refusal(404, None, f"no such route: {path}")

    def find_repo(self, kind: str, name: str, write: bool = False) -> Repo:
        repo = self.hub.repos.get((kind, name))
        mine = name.split("/")[0] in (self.user, *self.orgs)
        if repo is None or (repo.private and not mine):
            if self.user is None:
                raise Refusal(401, "RepoNotFound", "Invalid username or password.")
            raise Refusal(404, "RepoNotFound", "Repository not found")
        if repo.gated and not mine:
            raise Refusal(403, "GatedRepo", f"Access to {kind} {name} is restricted")
        if write and not (mine and self.role == "write"):
            if self.user is None:
                raise Refusal(401, None, "Invalid username or password.")
            raise Refusal(403, None, "Forbidden: pass a token with write access to this repository")
        return repo

    def whoami(self):
        if self.user is None:
            raise Refusal(401, None, "Invalid username or password.")
        orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in self.orgs]
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": self.role}}
        self.send_json({"type": "user", "name": self.user, "orgs": orgs, "auth": access})

    def create_repo(self, asked: dict):
        if self.user is None:
            raise Refusal(401, None, "Invalid username or password.")
        kind, namespace = asked.get("type", "model"), asked.get("organization") or self.user
        name = f"{namespace}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        created = {"url": f"{self.hub.url}/{prefix}{name}", "name": name}
        if (kind, name) in self.hub.repos:
            raise Refusal(409, None, f"You already created this {kind} repo", **created)
        if self.role != "write" or namespace not in (self.user, *self.orgs):
            message = f"You don't have the rights to create a {kind} under the namespace {namespace!r}"
            raise Refusal(403, None, message)
        self.hub.create(kind, name, asked.get("visibility") == "private", asked.get("sdk"))
        self.send_json(created)

    def info(self, kind: str, name: str, revision: str):
        repo = self.find_repo(kind, name)
        sha = repo.resolve(revision)
        files = repo.commits[sha][2]
        siblings = [{"rfilename": path} for path in files]
        if self.query.get("blobs"):
            siblings = [{"rfilename": path, "blobId": blob.oid, **blob.describe(path)} for path, blob in files.items()]
        card = read_card(files["README.md"].content.decode()) if "README.md" in files else {}
        state = {"private": repo.private, "gated": repo.gated, "disabled": False, "downloads": 0, "likes": 0}
        dates = {"createdAt": DATE, "lastModified": DATE}
        described = {"tags": card.get("tags") or [], "cardData": card, "siblings": siblings, "sdk": repo.sdk}
        described |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
        self.send_json({"id": name, "author": name.split("/")[0], "sha": sha, **state, **dates, **described})

    def api_revision(self, kind, name, rest, body):
        self.info(kind, name, unquote(rest))

    def api_auth_check(self, kind, name, rest, body):
        self.find_repo(kind, name, write=rest == "write")
        self.send_json({})

    def api_refs(self, kind, name, rest, body):
        repo = self.find_repo(kind, name)
        refs = {"converts": [], "pullRequests": []}
        for group, folder in (("branches", "heads"), ("tags", "tags")):
            shas = getattr(repo, group).items()
            refs[group] = [{"name": ref, "ref": f"refs/{folder}/{ref}", "targetCommit": sha} for ref, sha in shas]
        self.send_json(refs)

    def api_commits(self, kind, name, rest, body):
        repo = self.find_repo(kind, name)
        sha, listed = repo.resolve(unquote(rest)), []
        while sha is not None:
            title, parent, _ = repo.commits[sha]
            listed.append({"id": sha, "title": title, "message": "", "date": DATE, "authors": []})
            sha = parent
        self.send_json(listed)

    def api_tree(self, kind, name, rest, body):
        revision, _, folder = rest.partition("/")
        repo = self.find_repo(kind, name)
        files, folder = repo.commits[repo.resolve(unquote(revision))][2], unquote(folder).strip("/")
        expand, recursive = (self.query.get(name, "").lower() in ("true", "1") for name in ("expand", "recursive"))
        entries = list_tree(files, folder, expand)
        if folder and not entries:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist")
        depth = folder.count("/") + 1 if folder else 0
        self.send_json([entry for path, entry in entries.items() if recursive or path.count("/") == depth])

    def api_paths_info(self, kind, name, rest, body):
        repo = self.find_repo(kind, name)
        files = repo.commits[repo.resolve(unquote(rest))][2]
        asked = parse_qs(body.decode())
        entries = list_tree(files, "", asked.get("expand", ["false"])[0].lower() == "true")
        self.send_json([entries[path] for path in asked.get("paths", []) if path in entries])

    def api_branch(self, kind, name, rest, body):
        repo, branch = self.find_repo(kind, name, write=True), unquote(rest)
        if self.command == "DELETE":
            repo.branches.pop(branch)
        elif branch in repo.branches:
            raise Refusal(409, None, f"Reference already exists: {branch}")
        else:
            repo.branches[branch] = repo.resolve(json.loads(body or "{}").get("startingPoint", "main"))
        self.send_json({})

    def api_tag(self, kind, name, rest, body):
        repo = self.find_repo(kind, name, write=True)
        repo.tags[json.loads(body)["tag"]] = repo.resolve(unquote(rest))
        self.send_json({})

    def api_variables(self, kind, name, rest, body):
        repo, asked = self.find_repo(kind, name, write=True), json.loads(body)
        repo.variables[asked["key"]] = {"key": asked["key"], "value": asked["value"], "updatedAt": DATE}
        self.send_json(repo.variables)

    def api_preupload(self, kind, name, rest, body):
        repo = self.find_repo(kind, name, write=True)
        files = repo.commits[repo.resolve(unquote(rest))][2]
        answer = []
        for file in json.loads(body)["files"]:
            lfs = file["path"].endswith(LFS_SUFFIXES) or b"\0" in base64.b64decode(file["sample"])
            old = files.get(file["path"])
            described = {"uploadMode": "lfs" if lfs else "regular", "oid": old and old.oid}
            answer.append({"path": file["path"], "shouldIgnore": False, **described})
        self.send_json({"files": answer})

    def lfs_batch(self, asked: dict):
        objects = []
        for item in asked["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.lfs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append(answer)
        self.send_json({"transfer": "basic", "objects": objects})

    def put_lfs(self, oid: str, body: bytes):
        time.sleep(self.hub.slow)
        if self.hub.upload_status:
            raise Refusal(self.hub.upload_status, None, "the storage cannot take the file")
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, None, "the content is not what its hash says")
        self.hub.lfs[oid] = body
        self.send_json({})

    def api_commit(self, kind, name, rest, body):
        with self.hub.lock:
            sha = self.commit(self.find_repo(kind, name, write=True), unquote(rest), body)
        prefix = "" if kind == "model" else f"{kind}s/"
        self.send_json({"commitUrl": f"{self.hub.url}/{prefix}{name}/commit/{sha}", "commitOid": sha})

    def commit(self, repo: Repo, branch: str, lines: bytes) -> str:
        head = repo.resolve(branch)
        files, title = dict(repo.commits[head][2]), ""
        for line in lines.splitlines():
            key, value = (json.loads(line)[field] for field in ("key", "value"))
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", head) != head:
                    raise Refusal(412, None, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise Refusal(400, None, f"{value['path']} was not uploaded")
                files[value["path"]] = Blob(self.hub.lfs[value["oid"]], True)
            elif key == "deletedFile":
                del files[value["path"]]
            elif key == "deletedFolder":
                files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
        return repo.commit(branch, title, files)

    def send_file(self, repo: Repo, sha: str, path: str):
        blob = repo.commits[sha][2].get(path)
        if blob is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        status, content = 200, blob.content
        headers = {"ETag": f'"{blob.oid}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
            if start >= len(content):
                raise Refusal(416, None, "Range not satisfiable")
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            status, content = 206, content[start : end + 1]
        self.send(content, status, headers)

    def send_json(self, value, status: int = 200, headers: dict | None = None):
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, content: bytes, status: int, headers: dict):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
