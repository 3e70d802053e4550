# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Runs of train.py on the demo set, as a user starts them, and snippets as a user without this project runs them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The project is installed in .venv for development; a user of a checkpoint has only packages.
WITHOUT_PROJECT = """
import importlib.util, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path = [path for path in sys.path if path not in ("", ROOT)]
assert importlib.util.find_spec("modeling_roc") is None
""".replace("ROOT", repr(str(ROOT)))


def train(folder: Path, *arguments: str, cwd: Path | None = None) -> dict:
    """Runs train.py in `cwd` with `folder` as its output; returns all of its scores."""
    cwd = cwd or folder.parent
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", str(ROOT / "train.py")]
    subprocess.run([*command, "--output_dir", str(folder), *arguments], check=True, cwd=cwd)
    return json.loads((cwd / folder / "all_results.json").read_text())
