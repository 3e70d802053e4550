# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Who imports whom: the import statements of all modules, in functions too, against the table of docs/design.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REMOTE_CODE = ("modeling_roc", "processing_roc")
MOST_REMOTE_FILES = 9


def read_table() -> dict[str, set[str]]:
    """Place → the places that it may import."""
    section = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("## Rooms\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w./]+)` \|.*\| ([^|]+) \|$", section, flags=re.MULTILINE)
    return {place.rstrip("/"): set(re.findall(r"`(\w+)`", imports)) for place, imports in rows}


TABLE = read_table()
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip
FILES = sorted(path for path in map(Path, TRACKED) if path.parts[0] != "tests" and (ROOT / path).exists())
# The app's folder is flat: its modules have the names of their files.
OURS = {place.removesuffix(".py") for place in TABLE} | {path.stem for path in FILES if path.parts[0] == "space"}


def imports_of(path: Path) -> list[tuple[int, str, str]]:
    """(level of a relative import, module, first part of the name) of every import statement in a file."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, one.name, one.name.split(".")[0]) for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [one.name for one in node.names]
            found += [(node.level, name, name.split(".")[0]) for name in names]
    return found


def test_every_module_lives_in_a_room_of_the_table():
    assert set(TABLE) == {path.parts[0] for path in FILES}


@pytest.mark.parametrize("place", TABLE)
def test_a_room_imports_only_those_it_may_know(place):
    allowed = TABLE[place] | {place}
    if place == "space":
        allowed |= {path.stem for path in FILES if path.parts[0] == "space"}
    refused = [
        f"{path} imports {module}"
        for path in FILES
        if path.parts[0] == place
        for level, module, first in imports_of(path)
        if level == 0 and first in OURS and first not in allowed
    ]
    assert not refused


@pytest.mark.parametrize("place", REMOTE_CODE)
def test_remote_code_imports_its_siblings_and_packages_only(place):
    for path in FILES:
        if path.parts[0] == place:
            assert len(path.parts) == 2, f"{path}: only files of one flat folder travel with a checkpoint"
            for level, module, first in imports_of(path):
                # A copy of the file must find what it needs beside itself.
                assert level <= 1 and (level == 1 or first not in OURS), f"{path} imports {module}"
                assert level == 0 or (ROOT / place / f"{module}.py").exists(), f"{path} imports .{module}"


def test_remote_code_is_few_files():
    files = [path for path in FILES if path.parts[0] in REMOTE_CODE and path.name.endswith("_roc.py")]
    assert 2 <= len(files) <= MOST_REMOTE_FILES, files


SHOWS_HELP = """
import contextlib, io, runpy, sys
for command in sys.argv[1:]:
    sys.argv = [command, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        runpy.run_module(command, run_name="__main__")
    assert "--" in shown.getvalue(), command
    assert not {"torch", "transformers", "spacy", "sklearn", "matplotlib"} & sys.modules.keys(), command
"""


def test_commands_show_their_help_without_what_takes_seconds_to_import():
    """All but train.py, whose settings are transformers' own."""
    no_commands = {"evaluation_roc.relation_f1.app", "data_scripts.demo.space_examples"}
    commands = {
        ".".join(path.with_suffix("").parts)
        for path in FILES
        if len(path.parts) > 1 and '__name__ == "__main__"' in (ROOT / path).read_text(encoding="utf-8")
    }
    commands = sorted(name for name in commands - no_commands if not name.startswith("space."))
    assert len(commands) >= 11
    subprocess.run([sys.executable, "-c", SHOWS_HELP, *commands], cwd=ROOT, check=True)
