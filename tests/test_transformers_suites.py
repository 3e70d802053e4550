# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
transformers' own suites for models, configs and processors pass on ours, but for what the table names.

They come with the source distribution of the installed version: unpacked in the folder ROC_TRANSFORMERS_SOURCE, or
downloaded by pip.
"""

import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

import pytest
import transformers

PROJECT = Path(__file__).parents[1]
OLD_NAMES = "these encoders are saved under the names of older checkpoints, which from_pretrained alone translates"
OWN_INIT = (
    "the encoder's own `_init_weights`, which transformers tests for no encoder of this age, leaves some as drawn"
)
NAMED_ONLY = "a call takes named arguments only: how texts and pictures are prepared belongs to the checkpoint"
# "Set-up::test" → why it says nothing of this model. Each of them must fail: what passes is applicable.
INAPPLICABLE = {
    "TextAndViT::test_save_load_keys_to_ignore_on_save": OLD_NAMES,
    "Objects::test_save_load_keys_to_ignore_on_save": OLD_NAMES,
    "AllOptions::test_save_load_keys_to_ignore_on_save": OLD_NAMES,
    "ModernBertAndDinov2::test_save_load_keys_to_ignore_on_save": OLD_NAMES,
    "RobertaAndClip::test_can_init_all_missing_weights": OWN_INIT,
    "ModernBertAndDinov2::test_can_init_all_missing_weights": OWN_INIT,
    "RobertaAndClip::test_from_pretrained_no_checkpoint": (
        "which parts of an encoder are idle is found when a model is made, and kept in that model's config; the test "
        "gives a config that no model was made of"
    ),
    "ModernBertAndDinov2::test_training_gradient_checkpointing*": (
        "the test's stand-in keeps one call of each layer, which runs twice a step here: for pairs and descriptions"
    ),
    "Config::test_config_from_and_save_pretrained_composite": (
        "text encoder and fusion layers are both BERTs: of two parts of one type, transformers opens the first"
    ),
    "Processor::test_call_arguments_*": NAMED_ONLY,
    "Processor::test_init_arguments_not_in_processor_kwargs": NAMED_ONLY,
    "Processor::test_doubly_passed_kwargs_0_images": NAMED_ONLY,
    "Processor::test_flat_kwarg_applied_when_modality_dict_lacks_it": NAMED_ONLY,
    "Processor::test_kwargs_overrides_default_subprocessor_kwargs_0_images": NAMED_ONLY,
    "Processor::test_overlapping_text_image_kwargs_handling_0_images": NAMED_ONLY,
    "Processor::test_structured_kwargs_nested_from_dict_0_images": NAMED_ONLY,
    "Processor::test_unstructured_kwargs_*images": NAMED_ONLY,
    "Processor::test_model_input_names": "a text with a picture has no objects, though the model takes some",
    "Processor::test_subprocessor_defaults_0_text": "markers and type prompts are written into a text",
    "Processor::test_subprocessor_defaults_preserved_by_kwargs_0_images": "a text is padded to the batch's longest",
    "Processor::test_processor_text_has_no_visual": "a text has one picture, not a list of them",
    "Processor::test_processor_from_and_save_pretrained*": (
        "saving writes auto_map into the processor that is saved: code that travels with a checkpoint has one"
    ),
}


@pytest.fixture
def source(tmp_path):
    """(transformers' source distribution, the folder of a package that its tests need or None)"""
    if folder := os.environ.get("ROC_TRANSFORMERS_SOURCE"):
        pytest.importorskip("parameterized", reason="transformers' tests need it: pip install parameterized")
        return Path(folder), None
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    name = f"transformers=={transformers.__version__}"
    for command in (
        ["download", "--no-deps", "--no-binary", "transformers", "--dest", tmp_path, name],
        ["install", "--no-deps", "--target", tmp_path / "packages", "parameterized"],
    ):
        done = subprocess.run([*pip, *command], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network, and no ROC_TRANSFORMERS_SOURCE: pip says {done.stderr.strip()[-200:]}")
    with tarfile.open(next(tmp_path.glob("transformers-*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    return next(tmp_path.glob("transformers-*/")), tmp_path / "packages"


@pytest.mark.slow
def test_all_that_is_applicable_passes(source, tmp_path, capsys):
    folder, packages = source
    report = tmp_path / "report.xml"
    path = os.pathsep.join(str(place) for place in (PROJECT, packages, os.environ.get("PYTHONPATH")) if place)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-c", os.devnull, "--noconftest", "-q"),
            *("-W", "ignore", "-p", "no:cacheprovider", "--tb=short", "--junit-xml", report),
            Path(__file__).with_name("transformers_suites.py"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert report.exists(), done.stdout + done.stderr
    failed = set(re.findall(r"^(?:SUBFAILED.*|FAILED|ERROR) \S*::(\w+::\w+)", done.stdout, flags=re.MULTILINE))
    counts = {}
    for case in ElementTree.parse(report).iter("testcase"):
        setup = case.get("classname").rpartition(".")[2]
        name = f"{setup}::{case.get('name').partition(' ')[0]}"
        outcome = "skipped" if case.find("skipped") is not None else "inapplicable" if name in failed else "passed"
        counts.setdefault(setup, Counter())[outcome] += 1
    with capsys.disabled():
        print()
        for setup, numbers in counts.items():
            print(
                f"{setup:20}", ", ".join(f"{numbers[what]:3} {what}" for what in ("passed", "skipped", "inapplicable"))
            )
    known = {name for name in failed if any(fnmatch(name, pattern) for pattern in INAPPLICABLE)}
    assert not failed - known, done.stdout
    needless = [pattern for pattern in INAPPLICABLE if not any(fnmatch(name, pattern) for name in failed)]
    assert not needless, "these pass, and need no entry"
