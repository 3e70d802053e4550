# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space is created and updated by one command, over real HTTP."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hub_server import OTHER, READER, WRITER

from data_scripts.converters.push import main as push_dataset
from training_roc.push import main as push_model
from training_roc.push_space import main as push_space

ROOT = Path(__file__).parents[1]


@pytest.fixture
def push(hub, tmp_path):
    hub.create("model", "org/roc-mnre")

    def run(*arguments, token=WRITER):
        command = [sys.executable, "-m", "training_roc.push_space", *arguments]
        environment = hub.environment(tmp_path / "home", token)
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return run


def test_a_space_is_created_and_updated(hub, push):
    for _ in range(2):
        process = push("--push_to_hub", "org/roc-posts", "--model", "org/roc-mnre")
        assert process.returncode == 0, process.stderr
        assert process.stdout.strip() == f"{hub.url}/spaces/org/roc-posts"
        repo = hub.repo("space", "org/roc-posts")
        files = repo.files()
        here = {path.relative_to(ROOT / "space") for path in (ROOT / "space").rglob("*") if path.is_file()}
        pushed = {str(path) for path in here if not {"__pycache__", "screenshots"} & set(path.parts)}
        assert pushed <= files.keys() <= pushed | {".gitattributes"}
        for path in pushed - {"README.md"}:
            assert files[path] == (ROOT / "space" / path).read_bytes()
        metadata = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
        assert metadata["sdk"] == repo.sdk == "gradio" and metadata["app_file"] in files
        assert metadata["models"] == ["org/roc-mnre"] and "org/roc-posts" in files["README.md"].decode()
        assert repo.variables["ROC_MODEL"]["value"] == "org/roc-mnre"
        # A file of an older version is gone after the next push.
        head = repo.branches["main"]
        repo.commit("main", "by hand", {**repo.commits[head][2], "old.py": repo.commits[head][2]["app.py"]})
    assert "old.py" in repo.files()


@pytest.mark.parametrize("main", [push_dataset, push_model, push_space])
def test_the_three_push_commands_have_the_same_flags(main, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["push", "--help"])
    with pytest.raises(SystemExit):
        main()
    flags = set(re.findall(r"--\w+", capsys.readouterr().out))
    assert {"--push_to_hub", "--private", "--revision", "--token"} <= flags
    assert {"--hub_private_repo", "--hub_revision", "--hub_token"} <= flags
    assert ("--folder" in flags) == (main is not push_space) and ("--hub_model_id" in flags) == (main is push_model)


def test_what_is_pinned_is_what_is_tested():
    gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e .[demo]")
    metadata = yaml.safe_load((ROOT / "space" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert metadata["sdk_version"] == gradio.__version__


def test_what_goes_wrong_is_told_in_sentences(hub, push):
    space = ("--push_to_hub", "org/roc-posts", "--model")
    for arguments, token, words in (
        ((*space, "org/nothing"), WRITER, "There is no model 'org/nothing' on the Hub"),
        ((*space, "org/roc-mnre"), READER, "The token may only read."),
        ((*space, "org/roc-mnre"), OTHER, "'bob' may not write to 'org'"),
        ((*space, "org/roc-mnre"), None, "No token for the Hub"),
    ):
        process = push(*arguments, token=token)
        assert process.returncode == 1 and words in process.stderr and "Traceback" not in process.stderr
    assert ("space", "org/roc-posts") not in hub.repos


WHEEL = """
import contextlib, sys
from pathlib import Path
from training_roc import model_card, push
sys.argv = ["push_space", "--push_to_hub", "org/x", "--model", "org/y"]
assert Path(model_card.__file__).is_relative_to(sys.path[0])
with contextlib.suppress(FileNotFoundError):
    model_card.build_model_card(None)
    raise AssertionError("a card without a template")
push.write_serving_files(sys.argv[0] + "_files")
from training_roc.push_space import main
main()
"""


@pytest.mark.slow
def test_a_wheel_holds_what_its_modules_open_and_says_what_it_lacks(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    ignored = shutil.ignore_patterns(".*", "outputs", "tests", "__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    (names,) = installed.glob("*.dist-info/top_level.txt")
    rooms = ["data_scripts", "evaluation_roc", "extraction_roc", "modeling_roc", "processing_roc", "training_roc"]
    assert sorted(names.read_text().split()) == rooms
    (tmp_path / "push_space_files").mkdir()
    code = f"import sys\nsys.path.insert(0, {str(installed)!r})\n{WHEEL}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(
        "the Space is pushed from a checkout of the repository"
    )
    assert {path.name for path in (tmp_path / "push_space_files").iterdir()} == {"handler.py", "requirements.txt"}
