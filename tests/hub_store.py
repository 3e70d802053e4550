# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the tests' Hub keeps: repositories with their commits, branches and tags, all in memory."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import yaml

DATE = "2026-01-01T00:00:00.000Z"


class Refusal(Exception):
    """An answer other than success: status, the Hub's code for the client, words, further fields of the body."""

    def __init__(self, status: int, code: str | None, message: str, **fields):
        self.status, self.code, self.message, self.fields = status, code, message, fields


@dataclasses.dataclass
class Blob:
    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def describe(self, path: str, expand: bool = False) -> dict:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.oid, "sha256": self.oid, "size": len(self.content), "pointerSize": 130}
        if expand:
            entry["lastCommit"] = {"id": "0" * 40, "title": "commit", "date": DATE}
        return entry


class Repo:
    """A repository: `commits` maps a sha to (title, parent, {path: Blob}), `branches` and `tags` a name to a sha."""

    def __init__(self, private: bool, sdk: str | None):
        self.private, self.gated, self.sdk = private, False, sdk
        self.commits: dict[str, tuple[str, str | None, dict[str, Blob]]] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.variables: dict[str, dict[str, str]] = {}  # of a Space
        self.commit("main", "initial commit", {".gitattributes": Blob(b"*.parquet filter=lfs\n", False)})

    def commit(self, branch: str, title: str, files: dict[str, Blob]) -> str:
        parent = self.branches.get(branch)
        listing = sorted((path, blob.oid) for path, blob in files.items())
        sha = hashlib.sha1(json.dumps([parent, title, len(self.commits), listing]).encode()).hexdigest()
        self.commits[sha] = (title, parent, files)
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The content of every file, for tests to look at."""
        return {path: blob.content for path, blob in self.commits[self.resolve(revision)][2].items()}


def list_tree(files: dict[str, Blob], folder: str, expand: bool) -> dict[str, dict]:
    """Every file and folder below `folder`, by path."""
    entries = {}
    for path, blob in sorted(files.items()):
        for parent in list(Path(path).parents)[-2::-1]:
            entries.setdefault(str(parent), {"type": "directory", "path": str(parent), "oid": "0" * 40, "size": 0})
        entries[path] = blob.describe(path, expand)
    return {path: entry for path, entry in entries.items() if not folder or path.startswith(folder + "/")}


def read_card(text: str) -> dict:
    """The metadata at the top of a README.md."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?\n", text + "\n", flags=re.DOTALL)
    try:
        card = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        raise Refusal(400, None, "Invalid YAML", errors=[{"message": str(error)}]) from error
    return card or {}
