# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Trained models go to the Hub over real HTTP and come back where nothing of this project is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import OTHER, READER, WRITER, HubServer
from huggingface_hub import ModelCard, constants
from peft import PeftModel
from small_runs import EXAMPLE, local_logits
from test_remote_code import MODEL_FILES, PROCESSOR_FILES, WITHOUT_PROJECT

from data_scripts.hub_errors import HubError
from modeling_roc import RocModel
from processing_roc import RocProcessor
from training_roc.push import push_model

ROOT = Path(__file__).parents[1]
# A user who has only the name of a repository: prints what it answers, and how it is refused.
USER = """
import os
import torch
from huggingface_hub import ModelCard, snapshot_download
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
from transformers.dynamic_module_utils import get_class_from_dynamic_module

example = json.loads(sys.argv[1])
for case in sys.argv[2:]:
    name, revision, token = case.split(",")
    os.environ.pop("HF_TOKEN", None)
    given = {"revision": revision or None, "token": token or None}
    code = {"trust_remote_code": True, **given}
    try:
        config = AutoConfig.from_pretrained(name, **code)
        model, info = AutoModel.from_pretrained(name, output_loading_info=True, **code)
        processor = AutoProcessor.from_pretrained(name, **code)
        extractor = pipeline("relation-extraction", model=name, **code)
        folder = snapshot_download(name, **given)
    except OSError as error:
        print(json.dumps({"error": str(error)}))
        continue
    handler = get_class_from_dynamic_module("handler.EndpointHandler", folder)(folder)
    with torch.no_grad():
        logits = model.eval()(**processor(**example, return_tensors="pt")).logits
    ModelCard.load(folder + "/README.md").validate()
    answers = [extractor(example, top_k=None), handler({"inputs": example, "parameters": {"top_k": 100}})]
    missing = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
    print(json.dumps({"logits": logits.tolist(), "answers": answers, "missing": missing, "type": config.model_type}))
assert not any(name in sys.modules for name in PACKAGES)
"""
# A user with the names of an adapter and of its base: prints what they answer.
ADAPTER_USER = """
import torch
from huggingface_hub import snapshot_download
from peft import PeftModel
from transformers import AutoModel, AutoProcessor, pipeline
from transformers.dynamic_module_utils import get_class_from_dynamic_module

base_name, name, example = *sys.argv[1:3], json.loads(sys.argv[3])
base = AutoModel.from_pretrained(base_name, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
inputs = processor(**example, return_tensors="pt")
report = {}

def answer(case, model):
    with torch.no_grad():
        report[case] = {"logits": model(**inputs).logits.tolist(), "labels": list(model.config.id2label.values())}

answer("base", base)
model = PeftModel.from_pretrained(base, name)
answer("adapter", model)
with model.disable_adapter():
    answer("disabled", model)
answer("enabled", model)
answer("by name", AutoModel.from_pretrained(name, trust_remote_code=True).eval())
merged = model.merge_and_unload()
answer("merged", merged)
merged.save_pretrained("merged")
processor.save_pretrained("merged")
whole, info = AutoModel.from_pretrained("merged", trust_remote_code=True, output_loading_info=True)
assert not any(info.values()), info
answer("saved", whole.eval())
handler = get_class_from_dynamic_module("handler.EndpointHandler", snapshot_download(name))
extractors = [
    pipeline("relation-extraction", model=name, trust_remote_code=True),
    pipeline("relation-extraction", model="merged", trust_remote_code=True),
    lambda example, top_k: handler(name)({"inputs": example, "parameters": {"top_k": 100}}),
]
report["answers"] = [extractor(example, top_k=None) for extractor in extractors]
assert not any(name in sys.modules for name in PACKAGES)
print(json.dumps(report))
"""
# Pushes a folder again and again, as different people.
PUSHER = """
import json, os, sys
from pathlib import Path
from data_scripts.hub_errors import HubError
from training_roc.push import push_model

folder = Path(sys.argv[1])
for case in sys.argv[2:]:
    name, token, private, revision = case.split(",")
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        print(json.dumps({"url": push_model(folder, name, private == "private", revision or None)}))
    except HubError as error:
        print(json.dumps({"error": str(error)}))
"""


@pytest.fixture(scope="module")
def server():
    server = HubServer()
    yield server
    server.stop()


def call(server, home, *arguments, token=WRITER, cwd=ROOT, **kwargs):
    environment = server.environment(home, token)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **kwargs,
    )


def lines(process) -> list[dict]:
    assert process.returncode == 0, process.stderr[-5000:]
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


def train(server, settings_folder, home, folder, *arguments, **kwargs):
    settings = ["--max_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps"]
    settings += ["--save_steps", "2", "--output_dir", folder, "--push_to_hub", *arguments]
    script = [ROOT / "train.py", settings_folder / "config.yaml"]
    return call(server, home, *script, *settings, **kwargs)


@pytest.fixture(scope="module")
def trained(server, place, tmp_path_factory):
    """The folder of a run that pushed to org/roc-mnre, and what it printed."""
    folder = tmp_path_factory.mktemp("run") / "roc-mnre"
    process = train(server, place, folder.parent / "home", folder, "--hub_model_id", "org/roc-mnre")
    assert process.returncode == 0, process.stderr[-5000:]
    return folder, process.stdout + process.stderr


def test_a_run_leaves_a_complete_repository(server, trained):
    folder, _ = trained
    files = server.repo("model", "org/roc-mnre").files()
    code = MODEL_FILES | PROCESSOR_FILES | {"handler.py"}
    assert {name for name in files if name.endswith(".py")} == code
    others = {"README.md", "requirements.txt", "config.json", "model.safetensors", "processor_config.json"}
    assert others | {"tokenizer.json", "tokenizer_config.json", "test_confusion_matrix.png"} <= files.keys()
    assert not any(name.startswith("checkpoint-") for name in files)
    for name in others | code:
        assert files[name] == (folder / name).read_bytes(), name
    config = json.loads(files["config.json"])
    assert config["auto_map"].keys() == {"AutoConfig", "AutoModel"}
    assert config["custom_pipelines"]["relation-extraction"]["impl"] == "pipeline_roc.RelationExtractionPipeline"
    assert 'model_id = "org/roc-mnre"' in files["README.md"].decode()
    assert all(WRITER.encode() not in blob for blob in files.values())


def test_a_checkpoint_can_be_served_too(trained):
    folder, _ = trained
    names = {path.name for path in (folder / "checkpoint-2").iterdir()}
    assert MODEL_FILES | PROCESSOR_FILES | {"handler.py", "requirements.txt", "model.safetensors"} <= names


def test_it_comes_back_by_name_for_those_who_may_read_it(server, trained, tmp_path):
    folder, _ = trained
    pushed = ["org/secret,hf_writer,private,", "org/roc-mnre,hf_writer,,trial"]
    assert all("url" in answer for answer in lines(call(server, tmp_path / "home", "-c", PUSHER, folder, *pushed)))
    assert server.repo("model", "org/secret").private
    cases = ["org/roc-mnre,,", f"org/secret,,{READER}", "org/roc-mnre,trial,", "org/secret,,", f"org/secret,,{OTHER}"]
    cases += ["org/roc-mnre,nowhere,", "org/absent,,"]
    reader = call(
        server,
        tmp_path / "elsewhere",
        "-c",
        WITHOUT_PROJECT + USER,
        json.dumps(EXAMPLE),
        *cases,
        token=None,
        cwd=tmp_path,
    )
    found = lines(reader)
    expected = local_logits(RocModel.from_pretrained(folder), folder)
    temperature = json.loads((folder / "config.json").read_text())["calibration_temperature"]
    probabilities = (expected / temperature).softmax(dim=-1)[0].tolist()
    for answer in found[:3]:
        assert answer["type"] == "roc" and not answer["missing"]
        assert torch.allclose(torch.tensor(answer["logits"]), expected, atol=1e-6)
        for relations in answer["answers"]:
            assert [one["score"] for one in relations] == pytest.approx(sorted(probabilities, reverse=True), abs=1e-6)
    assert [sorted(answer) for answer in found[3:]] == [["error"]] * 4
    assert "nowhere" in found[5]["error"]


def test_a_token_that_may_not_push_is_told_so_at_once(server, trained, tmp_path):
    folder, _ = trained
    before = {path: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    cases = [
        "org/new,,,",
        f"org/new,{READER},,",
        "org/new,hf_wrong,,",
        f"ann/new,{OTHER},,",
        f"org/roc-mnre,{OTHER},,",
        f"org/roc-mnre,{WRITER},private,",
        f"a/b/c,{WRITER},,",
    ]
    messages = [
        "No token for the Hub: run `hf auth login`",
        "The token may only read",
        "does not know this token",
        "'bob' may not write to 'ann'",
        "'bob' may not write to 'org'",
        "is on the Hub already, and public",
        "cannot be the name of a repository",
    ]
    answers = lines(call(server, tmp_path / "home", "-c", PUSHER, folder, *cases))
    for answer, message in zip(answers, messages, strict=True):
        assert message in answer["error"]
        assert (
            f"The model is whole in {folder}. To push it: python -m training_roc.push --folder {folder}"
            in answer["error"]
        )
    assert before == {path: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def test_a_run_that_cannot_push_stops_before_it_trains(server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", OTHER)
    with pytest.raises(HubError, match="'bob' may not write to 'ann'"):
        run("--push_to_hub", "--hub_model_id", "ann/other")
    assert not any((tmp_path / "out").glob("*"))


def test_a_push_that_breaks_off_loses_nothing_and_is_finished_later(server, place, tmp_path):
    folder = tmp_path / "run"
    server.upload_status = 507
    try:
        process = train(
            server, place, tmp_path / "home", folder, "--hub_model_id", "org/late", "--hub_token", WRITER, token=None
        )
    finally:
        server.upload_status = None
    assert process.returncode != 0
    assert "The Hub has no room for these files" in process.stderr
    command = f"python -m training_roc.push --folder {folder} --hub_model_id org/late"
    assert f"The model is whole in {folder}. To push it: {command}" in process.stderr
    assert "test_micro_f1" in process.stdout  # the run went on to its scores
    assert WRITER.encode() not in (folder / "training_args.bin").read_bytes()
    expected = local_logits(RocModel.from_pretrained(folder), folder)
    assert "README.md" not in server.repo("model", "org/late").files()
    finished = call(server, tmp_path / "home", *command.split()[1:])
    assert finished.returncode == 0 and "/org/late/commit/" in finished.stdout, finished.stderr
    files = server.repo("model", "org/late").files()
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert 'model_id = "org/late"' in files["README.md"].decode()
    assert torch.equal(local_logits(RocModel.from_pretrained(folder), folder), expected)


@pytest.mark.slow  # the client tries again five times
def test_a_server_that_dies_amid_an_upload(server, trained, tmp_path):
    folder, _ = trained
    copy = tmp_path / "copy"
    model, processor = RocModel.from_pretrained(folder), RocProcessor.from_pretrained(folder)
    model.add_relation("/per/misc/host_of", "The head is the host of the tail.", processor)
    model.save_pretrained(copy)
    processor.save_pretrained(copy)
    server.die_after = 1000
    command = ["-m", "training_roc.push", "--folder", copy, "--hub_model_id", "org/again"]
    try:
        process = call(server, tmp_path / "home", *command)
    finally:
        server.start()
    assert process.returncode != 0
    assert "cannot be reached, or stopped answering" in process.stderr
    assert "model.safetensors" not in server.repo("model", "org/again").files()
    assert call(server, tmp_path / "home", *command).returncode == 0
    assert server.repo("model", "org/again").files()["model.safetensors"] == (copy / "model.safetensors").read_bytes()


def test_nothing_to_push(tmp_path):
    with pytest.raises(ValueError, match="holds no trained model"):
        push_model(tmp_path, "org/x")


def test_an_adapter_goes_to_the_hub_and_comes_back(server, place, renamed, trained, tmp_path):
    """To who has nothing of this project; the adapter's relations are not the base's."""
    folder = tmp_path / "roc-adapter"
    arguments = ("--use_lora", "true", "--model_name_or_path", "org/roc-mnre", "--dataset_name", renamed)
    process = train(server, place, tmp_path / "home", folder, "--hub_model_id", "org/roc-adapter", *arguments)
    assert process.returncode == 0, process.stderr[-5000:]
    files = server.repo("model", "org/roc-adapter").files()
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "handler.py"} <= files.keys()
    assert not {"config.json", "model.safetensors", "modeling_roc.py"} & files.keys()
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/roc-mnre"
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == ["org/roc-mnre"] and card.data.base_model_relation == "adapter"
    assert 'model_id = "org/roc-adapter"' in card.content
    reader = call(
        server,
        tmp_path / "elsewhere",
        "-c",
        WITHOUT_PROJECT + ADAPTER_USER,
        "org/roc-mnre",
        "org/roc-adapter",
        json.dumps(EXAMPLE),
        token=None,
        cwd=tmp_path,
    )
    (report,) = lines(reader)
    base = RocModel.from_pretrained(trained[0])
    expected = {name: local_logits(base, folder) for name in ("base", "disabled")}
    own_labels = list(base.config.id2label.values())
    adapted = PeftModel.from_pretrained(base, folder)
    expected |= dict.fromkeys(("adapter", "enabled", "by name", "merged", "saved"), local_logits(adapted, folder))
    for case, logits in expected.items():
        assert torch.allclose(torch.tensor(report[case]["logits"]), logits, atol=1e-4), case
        labels = own_labels if case in ("base", "disabled") else list(adapted.config.id2label.values())
        assert report[case]["labels"] == labels, case
    calibrated = expected["adapter"] / adapted.config.calibration_temperature
    assert adapted.config.calibration_temperature != 1.0
    probabilities = sorted(calibrated.softmax(dim=-1)[0].tolist(), reverse=True)
    for answers in report["answers"]:
        assert [one["score"] for one in answers] == pytest.approx(probabilities, abs=1e-5)
        assert all(one["label"].startswith("new ") for one in answers)
        assert {one["description"] for one in answers} <= {f"Said anew : {number} times ." for number in range(5)}
    with pytest.raises(AssertionError):
        assert torch.allclose(expected["base"][:, :5], expected["adapter"], atol=1e-2)
    later = call(
        server, tmp_path / "home", "-m", "training_roc.push", "--folder", folder, "--hub_model_id", "org/later"
    )
    assert later.returncode == 0, later.stderr[-3000:]
    assert server.repo("model", "org/later").files()["requirements.txt"] == files["requirements.txt"]
