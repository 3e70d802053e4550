# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relations known by a few examples: retrieved untrained, kept with the checkpoint, never used with other weights."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from memories import count_encodings, encoded_anew
from PIL import Image
from test_memory import answers
from test_remote_code import read_elsewhere
from torch.nn import functional as F
from transformers import pipeline

from modeling_roc import RocConfig, RocModel
from processing_roc import RocProcessor
from training_roc.lora import LoraArguments, add_lora

FAN = "/per/org/fan_of"
PERSONS = ("Maya", "Noah", "Ken", "Ines", "Omar", "Rosa", "Ana", "Luis")


def make_pair(person="Maya", colour="red", words="cheers for the", tail="Rovers", **changes) -> dict:
    text = f"{person} {words} {tail}"
    start = text.index(tail)
    return {
        "text": text,
        "head": {"start": 0, "end": len(person), "type": "person"},
        "tail": {"start": start, "end": start + len(tail), "type": "organization"},
        "image": None if colour is None else Image.new("RGB", (80, 60), colour),
        **changes,
    }


EXAMPLES = [make_pair("Maya"), make_pair("Noah", "blue"), make_pair("Ken", None)]


def prepare(processor, pairs) -> dict:
    columns = {name: [pair.get(name) for pair in pairs] for name in ("text", "head", "tail", "objects")}
    return processor(**columns, images=[pair["image"] for pair in pairs], return_tensors="pt")


def example_rows(model) -> torch.Tensor:
    return model.memory.embeds[len(model.memory.input_ids) :].clone()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"own_relation_encoder": True},
        {"learn_negative_threshold": True, "pool_mentions": False},
    ],
)
def test_the_row_is_the_mean_of_the_pairs_vectors(make_model, processor, batch, settings):
    model = make_model(**settings)
    before = answers(model, batch)
    counts = count_encodings(model)
    model.train().add_relation(FAN, processor=processor, examples=EXAMPLES)
    assert model.training and counts == []
    with torch.no_grad():
        pairs = model.eval()(**prepare(processor, EXAMPLES)).pair_embeds
    assert torch.allclose(example_rows(model), F.normalize(pairs.mean(dim=0), dim=0)[None], atol=1e-6)
    assert model.config.relation_descriptions[FAN] == [] and model.config.relation_examples == {FAN: 3}
    logits = answers(model, batch)
    assert torch.allclose(logits[:, :3], before, atol=1e-5)
    with torch.no_grad():
        pairs = model(**batch).pair_embeds
    assert torch.allclose(logits[:, 3], pairs @ example_rows(model)[0] / model.config.temperature, atol=1e-4)


def test_a_relation_is_retrieved_by_its_examples(make_model, processor):
    """Two relations that nothing describes and nobody trained: new pairs of either go to their own."""
    model = make_model()
    kinds = {"fan_of": {}, "left": {"words": "has left and will not come back to", "tail": "Harbor Lights"}}
    for label, words in kinds.items():
        model.add_relation(label, processor=processor, examples=[make_pair(one, **words) for one in PERSONS[:4]])
    for label, words in kinds.items():
        pairs = prepare(processor, [make_pair(one, **words) for one in PERSONS[4:]])
        assert set(answers(model, pairs).argmax(dim=-1).tolist()) == {model.config.label2id[label]}


def test_examples_take_every_form_of_an_entity(make_model, processor):
    model, (one, two) = make_model(), EXAMPLES[:2]
    model.add_relation("given", processor=processor, examples=[one, two])
    others = [{**x, "head": tuple(x["head"][key] for key in ("start", "end")), "tail": x["tail"]} for x in (one, two)]
    untyped = [{**x, "head": {key: x["head"][key] for key in ("start", "end")}} for x in (one, two)]
    model.add_relation("pairs", processor=processor, examples=others)
    model.add_relation("dicts", processor=processor, examples=untyped)
    rows = example_rows(model)
    assert torch.allclose(rows[1], rows[2], atol=1e-6)


@pytest.mark.parametrize("aggregation", ["max", "mean"])
def test_descriptions_and_examples_stand_side_by_side(make_model, processor, batch, aggregation):
    model = make_model(relation_aggregation=aggregation)
    texts = ["The head is a fan of the tail.", "The head cheers for the tail."]
    model.add_relation(FAN, texts, processor, examples=EXAMPLES)
    model.add_relation("/per/per/rival", processor=processor, examples=EXAMPLES[:1])
    with torch.no_grad():
        output = model(**batch)
        cosines = model.description_cosines(output.pair_embeds)
    expected = output.pair_embeds @ torch.cat([encoded_anew(model)[-2:],
                                               example_rows(model)]).T  # fmt: skip
    fan, rival = model.memory.rows_of(3), model.memory.rows_of(4)
    assert cosines.shape == (4, 8) and (len(fan), len(rival)) == (3, 1)
    assert torch.allclose(cosines[:, fan + rival], expected, atol=1e-5)
    scores = expected[:, :3] / model.config.temperature
    by_hand = scores.amax(dim=-1) if aggregation == "max" else scores.mean(dim=-1)
    assert torch.allclose(output.logits[:, 3], by_hand, atol=1e-4)


@pytest.mark.parametrize("index", [None, "faiss"])
@pytest.mark.parametrize("aggregation", ["max", "mean"])
@pytest.mark.parametrize("learned", [False, True])
def test_search_agrees(make_model, processor, batch, index, aggregation, learned):
    if index:
        pytest.importorskip("faiss")
    model = make_model(relation_aggregation=aggregation, learn_negative_threshold=learned)
    # Rows that are a slice in another order than the relations': each has a description and examples.
    model.set_relations({"none": "Nothing ties head and tail."}, processor, "none") if not learned else None
    labels = ("a", "b", "c", "d")
    for i, label in enumerate(labels):
        texts = None if label == "c" else [f"Head and tail have {label}.", f"They share {label}."][: 1 + i % 2]
        model.add_relation(label, texts, processor, examples=[make_pair(PERSONS[i], words=f"{label} as ever")])
    model.add_relation("last", "The very last one.", processor)
    pairs = prepare(processor, [make_pair(PERSONS[i], words=f"{label} as ever") for i, label in enumerate(labels)])
    for inputs in (batch, pairs):
        logits = answers(model, {**inputs, "labels": None})
        scores, order = logits.sort(dim=-1, descending=True)
        for k in (1, 3, logits.shape[1]):
            hits = model.search(k=k, index=index, **inputs)
            assert torch.allclose(hits.scores, scores[:, :k], atol=1e-4)
            assert torch.equal(hits.indices, order[:, :k])
    model.remove_relation("b", processor)  # an index is made anew
    hits = model.search(k=1, index=index, **pairs)
    assert torch.equal(hits.indices[:, 0], answers(model, pairs).argmax(dim=-1))


def test_a_relation_that_is_there_takes_examples_beside_its_descriptions(make_model, processor, batch):
    model, at_once = make_model(), make_model(relations={"none": "Nothing ties head and tail."})
    before = model.config.id2label
    model.add_relation("/per/per/peer", processor=processor, examples=EXAMPLES)
    assert model.config.id2label == before and model.config.relation_examples == {"/per/per/peer": 3}
    for label, texts in list(model.config.relation_descriptions.items())[1:]:
        given = EXAMPLES if label == "/per/per/peer" else None
        at_once.add_relation(label, texts, processor, examples=given)
    at_once.relation_encoder.center.copy_(model.relation_encoder.center)
    assert torch.allclose(answers(model, batch), answers(at_once, batch), atol=1e-5)
    for arguments in ({"examples": EXAMPLES}, {"descriptions": "Head knows tail."}):
        with pytest.raises(ValueError, match="'/per/per/peer' is there already"):
            model.add_relation("/per/per/peer", processor=processor, **arguments)
    model = make_model(learn_negative_threshold=True)
    with pytest.raises(ValueError, match="'none' is scored by a learned threshold"):
        model.add_relation("none", processor=processor, examples=EXAMPLES)


def test_one_description_and_one_example_each_are_a_slice_in_another_order(make_model, processor, batch):
    model = make_model(relations={"none": "Nothing ties head and tail."})
    for label, person in (("a", "Ken"), ("b", "Ines")):
        model.add_relation(label, f"They share {label}.", processor, examples=[make_pair(person, words=label)])
    model.remove_relation("none", processor)
    assert [model.memory.rows_of(index) for index in (0, 1)] == [[0, 2], [1, 3]]
    hits = model.search(k=2, **batch)
    assert torch.allclose(hits.scores, answers(model, {**batch, "labels": None}).sort(descending=True)[0], atol=1e-4)


@pytest.mark.parametrize("with_descriptions", [True, False])
def test_saved_and_loaded(make_model, processor, batch, tmp_path, with_descriptions):
    model = make_model()
    model.add_relation(FAN, "The head is a fan of the tail.", processor, examples=EXAMPLES)
    model.add_relation("/a/sorted/first", None, processor, examples=EXAMPLES[:2])
    if not with_descriptions:
        for label in ("none", FAN, "/per/org/member_of", "/per/per/peer"):
            model.remove_relation(label, processor)
        assert model.memory.input_ids.shape[0] == 0
        batch = {**batch, "labels": None}
    expected = answers(model, batch)
    model.save_pretrained(tmp_path)
    loaded, info = RocModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.relation_examples == model.config.relation_examples
    assert torch.equal(loaded.memory.embeds, model.memory.embeds)
    assert torch.allclose(answers(loaded, batch), expected, atol=1e-6)
    loaded.train().eval()
    assert torch.allclose(answers(loaded, batch), expected, atol=1e-6)
    assert torch.equal(loaded.search(k=1, **batch).indices[:, 0], expected.argmax(dim=-1))
    state = make_model()
    state.load_state_dict(loaded.state_dict())
    assert torch.allclose(answers(state, batch), expected, atol=1e-6)


def test_a_saved_folder_works_without_the_project(make_model, processor, tmp_path):
    model, processor = make_model(with_vision=False), RocProcessor(None, processor.tokenizer, max_length=64)
    model.add_relation(FAN, processor=processor, examples=[make_pair(one, None) for one in PERSONS[:5]])
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    example = {name: value for name, value in make_pair("Rosa").items() if name != "image"}
    (folder / "example.json").write_text(json.dumps(example))
    (report,) = read_elsewhere(tmp_path, folder)  # adds a relation, too, saves and loads again
    assert not any(report["info"].values()) and not any(report["info_again"].values())
    expected = answers(model, processor(**example, return_tensors="pt"))
    assert torch.allclose(torch.tensor(report["logits"]), expected, atol=1e-6)
    assert torch.allclose(torch.tensor(report["logits_again"])[:, :4], expected, atol=1e-6)
    assert report["pipeline"][0]["label"] == FAN and report["pipeline"][0]["examples"] == 5


def with_fans(make_model, processor, **settings):
    model = make_model(**settings)
    model.add_relation(FAN, "The head is a fan of the tail.", processor, examples=EXAMPLES)
    model.add_relation("rival", processor=processor, examples=EXAMPLES[:1])
    return model


def assert_stale(model, batch, tmp_path, labels=(FAN, "rival")):
    message = f"examples of {', '.join(map(repr, labels))} were encoded with other weights"
    with pytest.raises(RuntimeError, match=message):
        answers(model, batch)
    with pytest.raises(RuntimeError, match=message):
        model.search(k=1, **batch)
    with pytest.raises(RuntimeError, match=message):
        model.save_pretrained(tmp_path / "stale")
    assert not (tmp_path / "stale" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "part",
    [
        *(f"pair_encoder.{name}" for name in ("text_encoder", "vision_encoder", "vision_projection", "fusion")),
        "pair_encoder.pair_fusion",
        "pair_projection",
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_step_makes_them_stale(make_model, processor, batch, tmp_path, part, fused):
    model = make_model()
    before = answers(model, batch)
    model.add_relation(FAN, "The head is a fan of the tail.", processor, examples=EXAMPLES)
    model.add_relation("rival", processor=processor, examples=EXAMPLES[:1])
    optimizer = torch.optim.AdamW(model.get_submodule(part).parameters(), lr=1e-2, fused=fused)
    model(**batch).loss.backward()  # in eval mode: nobody could say that it is training
    optimizer.step()
    assert_stale(model, batch, tmp_path)
    # One after the other is given anew; what is stale says so until it is.
    model.remove_relation("rival", processor)
    model.add_relation("rival", processor=processor, examples=EXAMPLES[:1])
    assert_stale(model, batch, tmp_path, labels=(FAN,))
    model.remove_relation(FAN, processor)
    logits = answers(model, batch)
    assert logits.isfinite().all() and not torch.allclose(logits[:, :3], before, atol=1e-3)


def test_other_ways_to_go_stale(make_model, processor, batch, tmp_path):
    model = with_fans(make_model, processor)
    with torch.no_grad():
        model.pair_projection.bias.add_(0.1)
    assert_stale(model, batch, tmp_path)
    model = with_fans(make_model, processor)
    with torch.no_grad():
        model.memory.embeds.add_(0.1)  # descriptions are encoded anew, examples cannot be
    assert_stale(model, batch, tmp_path)
    model = with_fans(make_model, processor)
    model.pair_encoder.pair_fusion[1].weight.data.mul_(2)
    assert_stale(model.eval(), batch, tmp_path)
    model = with_fans(make_model, processor)
    assert_stale(model.to(torch.bfloat16), {**batch, "pixel_values": batch["pixel_values"].bfloat16()}, tmp_path)
    model.set_relations({"a": "One thing."}, processor)  # and is no more, with the examples
    assert model.config.relation_examples == {} and model.memory.embeds.shape == (1, 16)


def test_what_a_pairs_vector_does_not_depend_on_leaves_them_right(make_model, processor, batch):
    model = with_fans(make_model, processor, own_relation_encoder=True)
    rows = example_rows(model)
    with torch.no_grad():
        model.relation_encoder.projection.weight.mul_(-1)
        model.relation_encoder.text_encoder.embeddings.word_embeddings.weight.mul_(1.5)
    answers(model, batch)
    assert torch.equal(example_rows(model), rows)
    assert torch.allclose(model.memory.embeds[:-2], encoded_anew(model), atol=1e-6)


def test_loaded_in_another_type_they_are_refused(make_model, processor, batch, tmp_path):
    with_fans(make_model, processor).save_pretrained(tmp_path / "saved")
    loaded = RocModel.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    assert_stale(loaded, {**batch, "pixel_values": batch["pixel_values"].bfloat16()}, tmp_path)
    for label in (FAN, "rival"):
        loaded.remove_relation(label, processor)
    loaded.add_relation(FAN, processor=processor, examples=EXAMPLES)
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    expected = answers(loaded, batch)
    loaded.save_pretrained(tmp_path / "again")
    again = RocModel.from_pretrained(tmp_path / "again", dtype=torch.bfloat16)
    assert torch.allclose(answers(again, batch), expected, atol=1e-6)


def test_examples_of_a_config_edited_by_hand_are_refused(make_model, processor, batch, tmp_path):
    model = with_fans(make_model, processor)
    model.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    config = json.loads(path.read_text())
    config["relation_examples"] = {"/per/per/peer": 3, "rival": 1}
    path.write_text(json.dumps(config))
    assert_stale(RocModel.from_pretrained(tmp_path / "saved"), batch, tmp_path, labels=("/per/per/peer",))


def test_weights_of_elsewhere_are_saved_without_a_false_proof(make_model, processor, batch, tmp_path):
    model = with_fans(make_model, processor)
    averaged = {name: tensor * 0.5 if "fusion" in name else tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "saved", state_dict=averaged)
    assert_stale(RocModel.from_pretrained(tmp_path / "saved"), batch, tmp_path)


def test_training_with_examples_is_refused_at_once(make_model, processor, batch):
    model = with_fans(make_model, processor).train()
    with pytest.raises(ValueError, match=f"training changes the weights .* {FAN!r}, 'rival'"):
        model(**batch)
    assert answers(model, batch).isfinite().all()  # nothing was moved before it was refused
    for label in (FAN, "rival"):
        model.remove_relation(label, processor)
    model.train()(**batch).loss.backward()


def test_other_relations_come_and_go(make_model, processor, batch):
    model = with_fans(make_model, processor)
    before, rows, proofs = answers(model, batch), example_rows(model), model.memory.examples_proof.clone()
    model.add_relation("new", "Head likes tail.", processor)
    model.remove_relation("/per/org/member_of", processor)
    assert torch.equal(example_rows(model), rows) and torch.equal(model.memory.examples_proof, proofs)
    assert torch.allclose(answers(model, {**batch, "labels": None})[:, :4], before[:, [0, 2, 3, 4]], atol=1e-5)
    model.remove_relation(FAN, processor)
    assert torch.equal(example_rows(model), rows[1:]) and model.config.relation_examples == {"rival": 1}
    memory = model.make_relation_memory({"none": "Nothing.", "fan": "Head likes tail."}, processor)
    with torch.no_grad():
        assert model(**{**batch, "labels": None}, relation_memory=memory).logits.shape == (4, 2)
    assert torch.equal(example_rows(model), rows[1:])


def test_the_pipeline_says_what_an_answer_is_from(make_model, processor, tmp_path):
    model = make_model()
    model.add_relation(FAN, processor=processor, examples=EXAMPLES)
    model.add_relation("rival", "The head and the tail compete.", processor, examples=EXAMPLES[:1])
    pipe = pipeline("relation-extraction", model=model, processor=processor)
    answer = pipe(make_pair("Omar"), top_k=None, explain=True)
    found = {one["label"]: one for one in answer}
    assert found[FAN]["description"] is None and found[FAN]["examples"] == 3
    assert found["rival"]["description"] is None and found["rival"]["examples"] == 1
    assert found["none"]["description"] and "examples" not in found["none"]
    with torch.no_grad():
        pair = model(**prepare(processor, [make_pair("Omar")])).pair_embeds[0]
    rival = found["rival"]["explanation"]["descriptions"]
    assert [one["description"] for one in rival] == [None, "The head and the tail compete."]
    assert rival[0]["examples"] == 1 and rival[0]["score"] == pytest.approx(float(pair @ model.memory.embeds[-1]))
    (shown,) = found[FAN]["explanation"]["descriptions"]
    assert shown["score"] == pytest.approx(float(pair @ model.memory.embeds[-2]))
    assert answer[0]["explanation"]["words"]
    json.dumps(answer)
    others = pipe(make_pair("Omar"), relations={"none": "Nothing.", FAN: "The head is a fan."})
    assert {one["description"] for one in others} == {"Nothing.", "The head is a fan."}


def test_an_adapter_brings_its_examples_along(make_model, processor, batch, tmp_path):
    peft = pytest.importorskip("peft")
    with_fans(make_model, processor).save_pretrained(tmp_path / "base")
    base = RocModel.from_pretrained(tmp_path / "base")
    model = add_lora(base, processor, LoraArguments(use_lora=True, lora_rank=4))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    with pytest.raises(RuntimeError, match=FAN):
        answers(model, batch)
    for label in (FAN, "rival"):
        base.remove_relation(label, processor)
    base.add_relation("fan", processor=processor, examples=EXAMPLES)
    expected = answers(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    base = RocModel.from_pretrained(tmp_path / "base").eval()
    own = answers(base, batch)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(answers(loaded, batch), expected)
    assert base.config.relation_examples == {"fan": 3}
    with loaded.disable_adapter():
        assert torch.equal(answers(loaded, batch), own)
        assert base.config.relation_examples == {FAN: 3, "rival": 1}
    with pytest.raises(RuntimeError, match="'fan'"):
        answers(loaded.merge_and_unload(), batch)


def test_what_is_wrong_is_named_and_changes_nothing(make_model, processor, batch):
    model = make_model()
    before = answers(model, batch)
    bad_span = make_pair(head={"start": 0, "end": 400})
    for examples, message in [
        ([], f"relation {FAN!r}: give 1 to 16 examples, got 0"),
        ([make_pair()] * 17, f"relation {FAN!r}: give 1 to 16 examples, got 17"),
        (make_pair(), f"relation {FAN!r}: examples must be a list of dicts, got dict"),
        ([make_pair(), "Maya"], f"relation {FAN!r}: example 1 must be a dict, got str"),
        ([make_pair(), {"text": "Maya"}], f"relation {FAN!r}: example 1: head is missing"),
        ([{**make_pair(), "tail": 3}], f"relation {FAN!r}: example 0: tail must be a dict, got int"),
        ([make_pair(relation="x")], f"relation {FAN!r}: example 0 has unknown fields .'relation'."),
        ([make_pair(), make_pair(), bad_span], f"relation {FAN!r}: example 2: head"),
        ([make_pair(), make_pair(image="no/such.png")], f"relation {FAN!r}: example 1: cannot read picture"),
        ([make_pair(), make_pair(image=3)], f"relation {FAN!r}: example 1: a picture must be a PIL picture"),
        ([{**make_pair(), "tail": {"box": [0, 0, 0.5, 0.5]}}], f"relation {FAN!r}: objects were given to a model"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.add_relation(FAN, processor=processor, examples=examples)
    with pytest.raises(ValueError, match=f"relation {FAN!r}: give the model's processor"):
        model.add_relation(FAN, examples=EXAMPLES)
    with pytest.raises(ValueError, match=f"relation {FAN!r} needs descriptions, or examples"):
        model.add_relation(FAN, processor=processor)
    with pytest.raises(ValueError, match="'none' is there already; remove it first"):
        model.add_relation("none", "Nothing at all.", processor, examples=EXAMPLES)
    with pytest.raises(ValueError, match="same description"):
        model.add_relation(FAN, "Nothing ties head and tail.", processor, examples=EXAMPLES)
    assert torch.equal(answers(model, batch), before) and model.config.relation_examples == {}
    learned = make_model(learn_negative_threshold=True)
    with pytest.raises(ValueError, match="'no' is scored by a learned threshold"):
        learned.add_relation("no", processor=processor, negative=True, examples=EXAMPLES)
    with pytest.raises(ValueError, match="fixed set"):
        make_model(objective="classification").remove_relation("none", processor)
    with pytest.raises(ValueError, match="fixed set"):
        make_model(objective="classification").add_relation(FAN, processor=processor, examples=EXAMPLES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relation_examples": {"b": 1}}, "'b'"),
        ({"relation_examples": {"a": 0}}, "1 to 16 examples, got 0"),
        ({"relation_examples": {"a": 17}}, "1 to 16 examples, got 17"),
        ({"relation_examples": {"a": True}}, "1 to 16 examples, got True"),
        ({"relation_examples": {"a": 1}, "negative_relation": "a", "learn_negative_threshold": True}, "threshold"),
        ({"relation_descriptions": {"a": ["One."], "b": []}, "relation_examples": {"a": 1}}, "'b'"),
    ],
)
def test_config_errors(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        RocConfig(**{"relation_descriptions": {"a": ["One."]}, **settings})
