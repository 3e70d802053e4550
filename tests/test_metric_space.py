# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The metric's folder as a Space: pushed by the README's line, loaded back by name, and its form."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "evaluation_roc" / "relation_f1"
LABELS = {"predictions": [1, 2, 0, 1], "references": [1, 2, 1, 0]}
MICRO = {"accuracy": 0.5, "micro_precision": 2 / 3, "micro_recall": 2 / 3, "micro_f1": 2 / 3}
SCORES = {**MICRO, "macro_f1": 0.5, "macro_f1_present": 0.75}
LOAD = f"""
import evaluate, json, sys
for revision in (None, sys.argv[1]):
    metric = evaluate.load("org/relation_f1", revision=revision)
    print(json.dumps(metric.compute(**{LABELS}, num_labels=4, negative_label=0)))
"""


def test_the_metric_is_pushed_as_a_space_and_loaded_by_name(hub, tmp_path):
    commands = re.findall(r"^hf upload .*$", (FOLDER / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (command,) = map(shlex.split, commands)
    command[0] = str(Path(sys.executable).with_name("hf"))
    subprocess.run(command, cwd=ROOT, env=hub.environment(tmp_path / "ann"), check=True, capture_output=True)
    repo = hub.repo("space", "org/relation_f1")
    files = repo.files()
    metadata = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert metadata["sdk"] == repo.sdk == "gradio" and metadata["app_file"] in files
    assert {"relation_f1.py", "requirements.txt"} <= files.keys()
    assert not any("__pycache__" in path for path in files)

    command = [sys.executable, "-c", LOAD, repo.branches["main"]]  # in a folder that has no metrics/ and no project
    environment = hub.environment(tmp_path / "user", token=None)
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        assert json.loads(line) == pytest.approx(SCORES)
    assert len(result.stdout.splitlines()) == 2


def test_the_spaces_form():
    client = pytest.importorskip("gradio_client", reason="gradio is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "0"}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=FOLDER, env=environment)
    try:
        for _ in range(240):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert app.poll() is None
            time.sleep(0.5)
        form = client.Client(f"http://127.0.0.1:{port}", verbose=False)

        def score(rows, negative_label):
            table = {"headers": list(LABELS), "data": rows, "metadata": None}
            return form.predict(table, 4, negative_label, api_name="/score")

        rows = [list(row) for row in zip(*LABELS.values(), strict=True)]
        assert score(rows, 0) == pytest.approx(SCORES)
        assert score(rows, None)["micro_f1"] == 0.5
        for rows, words in (([[5, 1]], "predictions.0. is 5"), ([["", 1]], "invalid literal"), ([], "empty")):
            with pytest.raises(client.exceptions.AppError, match=words):
                score(rows, 0)
    finally:
        app.terminate()
        app.wait()
