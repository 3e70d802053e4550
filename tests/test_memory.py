# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relation memory: never stale, kept with the checkpoint, changed without training."""

import copy
import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from memories import count_encodings, encoded_anew

from modeling_roc import RocConfig, RocModel, types_from_labels


def answers(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("own_relation_encoder", [False, True])
def test_a_checkpoint_answers_without_encoding(make_model, batch, tmp_path, own_relation_encoder):
    model = make_model(own_relation_encoder=own_relation_encoder)
    expected = answers(model, batch)
    model.save_pretrained(tmp_path)
    loaded, info = RocModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    counts = count_encodings(loaded)
    assert torch.equal(answers(loaded, batch), expected)
    assert counts == []


@pytest.mark.parametrize("fused", [False, True])
def test_training_makes_it_stale_and_saving_renews_it(make_model, batch, tmp_path, fused):
    model = make_model().train()
    before = model.memory.embeds.clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    model(**batch).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    assert not torch.allclose(before, model.memory.embeds)
    loaded = RocModel.from_pretrained(tmp_path)
    assert torch.equal(answers(loaded, batch), answers(model, batch))
    assert torch.allclose(loaded.memory.embeds, encoded_anew(loaded), atol=1e-6)


def test_training_in_eval_mode_with_a_fused_optimizer_is_noticed(make_model, batch):
    model = make_model()
    before = answers(model, batch)
    optimizer = torch.optim.AdamW(model.pair_encoder.text_encoder.parameters(), lr=1e-2, fused=True)
    model(**batch).loss.backward()
    optimizer.step()
    after = answers(model, batch)
    assert not torch.allclose(before, after)
    assert torch.allclose(model.memory.embeds, encoded_anew(model), atol=1e-6)


def test_foreign_weights_or_a_touched_memory_are_noticed(make_model, batch):
    model, other = make_model(), make_model()
    expected = answers(model, batch)
    with torch.no_grad():
        model.memory.embeds.add_(0.1)
    assert torch.allclose(answers(model, batch), expected, atol=1e-5)
    with torch.no_grad():
        other.pair_encoder.text_encoder.embeddings.word_embeddings.weight.mul_(1.5)
    weights = {name: value for name, value in other.state_dict().items() if not name.startswith("memory.")}
    model.load_state_dict(weights, strict=False)
    assert torch.allclose(answers(model, batch), answers(other, batch), atol=1e-5)


def test_inference_mode(make_model, batch, processor):
    """Tensors made in inference mode have no version counter; staleness is seen all the same."""
    with torch.inference_mode():
        model = make_model()
        before = model(**batch).logits
        model.pair_encoder.text_encoder.embeddings.word_embeddings.weight.mul_(2)
        model.add_relation("new", "Head likes tail.", processor)
        assert model(**batch).logits.shape == (4, 4)
    assert before.isfinite().all()


def test_a_set_given_in_inference_mode_can_be_trained_on(make_model, batch, processor):
    model = make_model()
    with torch.inference_mode():
        model.add_relation("new", "Head likes tail.", processor)
        model(**batch)
    model.train()
    model(**batch).loss.backward()
    torch.optim.AdamW(model.parameters(), lr=1e-2).step()
    answers(model, batch)
    model.load_state_dict(model.state_dict())


def test_other_token_ids_for_the_same_text_are_encoded(make_model, batch, processor):
    model = make_model()
    expected = answers(model, batch)

    def reversed_processor(**kwargs):
        encoded = processor(**kwargs)
        return {**encoded, "relation_input_ids": encoded["relation_input_ids"].flip(1),
                "relation_attention_mask": encoded["relation_attention_mask"].flip(1)}  # fmt: skip

    model.set_relations(model.config.relation_descriptions, reversed_processor)
    assert not torch.allclose(answers(model, batch), expected, atol=1e-3)
    model.set_relations(model.config.relation_descriptions, processor)
    assert torch.allclose(answers(model, batch), expected, atol=1e-5)


def test_a_write_through_data_is_seen_after_eval(make_model, batch):
    model = make_model()
    before = answers(model, batch)
    model.relation_encoder.projection.weight.data.mul_(torch.rand_like(model.relation_encoder.projection.weight))
    assert not torch.allclose(answers(model, batch), before, atol=1e-3)  # `answers` calls `eval`


def test_descriptions_that_were_never_prepared_are_refused(make_model, batch, processor, tmp_path):
    config = make_model().config
    model = RocModel(config)
    for mode in (True, False):
        with pytest.raises(RuntimeError, match="set_relations"):
            model.train(mode)(**batch)
    model.save_pretrained(tmp_path)  # weights can be kept all the same
    with pytest.raises(RuntimeError, match="set_relations"):
        RocModel.from_pretrained(tmp_path)(**batch)
    model.set_relations(config.relation_descriptions, processor)
    assert model.relation_encoder.center.abs().max() > 0
    assert answers(model, batch).isfinite().all()


def test_averaged_weights_are_saved_without_a_false_proof(make_model, batch, tmp_path):
    model = make_model()
    averaged = {
        name: tensor * 0.5 if "text_encoder" in name else tensor for name, tensor in model.state_dict().items()
    }
    model.save_pretrained(tmp_path, state_dict=averaged)
    loaded = RocModel.from_pretrained(tmp_path)
    answers(loaded, batch)
    assert torch.allclose(loaded.memory.embeds, encoded_anew(loaded), atol=1e-6)
    assert not torch.allclose(loaded.memory.embeds, model.memory.embeds, atol=1e-3)


def test_the_negative_relation_can_be_taken_out_and_put_back(make_model, batch, processor):
    model = make_model(learn_negative_threshold=True)
    before = answers(model, batch)
    model.remove_relation("none", processor)
    model.add_relation("none", "Nothing.", processor, negative=True)
    assert torch.allclose(answers(model, batch)[:, [2, 0, 1]], before, atol=1e-5)


def test_descriptions_edited_in_the_config_file_are_refused(make_model, batch, processor, tmp_path):
    make_model().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["relation_descriptions"]["none"] = ["Something else."]
    path.write_text(json.dumps(config))
    model = RocModel.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="set_relations"):
        answers(model, batch)
    model.set_relations(model.config.relation_descriptions, processor)
    assert answers(model, batch).isfinite().all()


def test_another_relation_set_saved_and_loaded(make_model, batch, processor, tmp_path):
    model = make_model()
    relations = {f"relation {i}": f"Head and tail have thing number {i} in common." for i in range(12)}
    model.set_relations(relations, processor)
    assert model.config.negative_relation is None
    model.save_pretrained(tmp_path)
    loaded, info = RocModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.id2label == dict(enumerate(relations))
    assert loaded.config.label2id == {label: index for index, label in enumerate(relations)}
    assert list(loaded.config.relation_descriptions) == list(relations)
    assert answers(loaded, batch).shape == (4, 12)
    assert torch.equal(answers(loaded, batch), answers(model, batch))


def test_adding_and_removing_encodes_only_what_is_new(make_model, batch, processor):
    model = make_model()
    before = answers(model, batch)
    counts = count_encodings(model)
    model.add_relation("/per/misc/awarded", "The head won the tail.", processor)
    assert counts == [1]
    with_new = answers(model, batch)
    assert with_new.shape == (4, 4) and torch.allclose(with_new[:, :3], before, atol=1e-5)
    model.remove_relation("/per/org/member_of", processor)
    assert counts == [1]
    assert torch.allclose(answers(model, batch), with_new[:, [0, 2, 3]], atol=1e-5)
    assert model.config.id2label == {0: "none", 1: "/per/per/peer", 2: "/per/misc/awarded"}


def test_nothing_of_a_removed_relation_is_left_for_another_of_its_name(make_model, processor):
    model = make_model()
    model.set_relation_offsets({"/per/per/peer": 9.0, "/per/org/member_of": 1.0})
    model.set_relation_types({"/per/per/peer": ["person", "person"]})
    model.remove_relation("/per/per/peer", processor)
    model.add_relation("/per/per/peer", "Head and tail are rivals.", processor)
    assert model.config.relation_offsets == {"/per/org/member_of": 1.0} and model.config.relation_types is None


def test_relations_added_one_by_one_are_those_of_a_set(make_model, processor, batch, tmp_path):
    """The center is that of all descriptions, whatever their order, until the model is first asked; then it stays."""
    batch = {name: batch[name] for name in batch if name not in ("pixel_values", "image_index", "labels")}
    config = RocConfig(text_config=make_model().config.text_config, projection_dim=16)
    texts = {"a": "Head likes tail.", "b": "Nothing ties them.", "c": ["The head won the tail.", "Head has tail."]}
    at_once = RocModel(copy.deepcopy(config)).eval()
    weights = copy.deepcopy(at_once.state_dict())
    at_once.set_relations(texts, processor)
    features = at_once.description_features(at_once.memory.input_ids)
    assert torch.allclose(at_once.relation_encoder.center, features.mean(dim=0), atol=1e-6)
    logits = answers(at_once, batch)
    for order in ("abc", "cab", "bca"):
        model = RocModel(copy.deepcopy(config)).eval()
        model.load_state_dict(weights)
        model.add_relation("gone", "Taken out again.", processor)
        counts = count_encodings(model)
        for label in order:
            model.add_relation(label, texts[label], processor)
        model.remove_relation("gone", processor)
        assert sum(counts) == 4
        assert torch.allclose(model.relation_encoder.center, at_once.relation_encoder.center, atol=1e-6)
        found = answers(model, batch)[:, [model.config.label2id[label] for label in "abc"]]
        assert torch.allclose(found, logits, atol=1e-4)
    model.save_pretrained(tmp_path)
    for asked in (at_once, model, RocModel.from_pretrained(tmp_path)):
        center = asked.relation_encoder.center.clone()
        asked.add_relation("d", "The tail is a town.", processor)
        assert torch.equal(asked.relation_encoder.center, center)


def test_a_new_relation_is_retrieved_untrained_by_its_own_vector(make_model, processor):
    """A pair whose vector is the description's own gets that relation."""
    model = make_model()
    model.add_relation("/per/misc/awarded", "The head won the tail.", processor)
    new = model.config.label2id["/per/misc/awarded"]
    scores = model.memory.embeds[-1] @ model.memory.embeds.T
    assert scores.argmax() == len(model.memory.embeds) - 1 and new == 3


def test_the_threshold_stands_for_the_negative_relation(make_model, batch, processor, tmp_path):
    model = make_model(learn_negative_threshold=True)
    assert len(model.memory.embeds) == 3  # the negative relation's description is not in the memory
    before = answers(model, batch)
    model.set_relations({"a": "Head likes tail.", "none": "Nothing.", "b": "Head is tail."}, processor)
    batch = {**batch, "labels": None}
    assert torch.allclose(answers(model, batch)[:, 1], before[:, 0], atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(answers(RocModel.from_pretrained(tmp_path), batch), answers(model, batch))
    model.remove_relation("none", processor)
    assert answers(model, batch).shape == (4, 2)


def test_nonsense_is_refused_and_changes_nothing(make_model, batch, processor):
    model = make_model()
    before, labels = answers(model, batch), list(model.config.relation_descriptions)
    for relations, message in [
        ({}, "at least one relation"),
        (["a"], "at least one relation"),
        ({"a": []}, "'a'"),
        ({"a": ["x", " "]}, "'a'"),
        ({"a": None}, "'a'"),
        ({1: "x"}, "label"),
        ({" ": "x"}, "label"),
        ({"a": "x", "b": ["y", "x"]}, "'a' and 'b'"),
        ({"a": "The head likes it.", "b": "the HEAD  likes it."}, "'a' and 'b' have descriptions that are one"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.set_relations(relations, processor)
    with pytest.raises(ValueError, match="there already"):
        model.add_relation("none", "Nothing.", processor)
    with pytest.raises(ValueError, match="no relation 'x'"):
        model.remove_relation("x", processor)
    with pytest.raises(ValueError, match="negative_relation"):
        model.set_relations({"a": "Head likes tail."}, processor, negative_relation="b")
    with pytest.raises(ValueError, match="besides the negative one"):
        make_model(learn_negative_threshold=True).set_relations({"none": "Nothing."}, processor)
    with pytest.raises(ValueError, match="max_length"):
        model.set_relations({"a": "word " * 500}, processor)
    assert torch.equal(answers(model, batch), before)
    assert list(model.config.relation_descriptions) == labels
    with pytest.raises(ValueError, match="fixed set"):
        make_model(objective="classification").set_relations({"a": "Head likes tail."}, processor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "ranking"}, "objective"),
        ({"relation_aggregation": "sum"}, "relation_aggregation"),
        ({"temperature": 0.0}, "temperature"),
        ({"fusion_encoder_config": {"hidden_size": 48, "num_attention_heads": 2}}, "hidden_size"),
        ({"relation_descriptions": {"a": []}}, "'a'"),
    ],
)
def test_config_errors(make_model, settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        make_model(**settings)


@pytest.mark.parametrize("way", ["arguments", "file", "beside a file", "attribute"])
def test_fields_are_read_in_one_way_wherever_they_come_from(make_model, processor, tmp_path, way):
    """A word is one word, a sentence one description; what cannot be is refused, naming the relation."""
    relations = {"none": "Nothing.", "/per/org/fan_of": "Head likes tail."}
    types = types_from_labels(relations)
    base = make_model(with_vision=False).config
    plain = RocConfig(text_config=base.text_config, projection_dim=16, relation_descriptions=relations)

    def give(**fields):
        if way == "arguments":
            return RocConfig(**{**fields, "relation_descriptions": relations}, text_config=base.text_config)
        if way == "attribute":
            config = copy.deepcopy(plain)
            for name, value in fields.items():
                setattr(config, name, value)
            return config
        plain.save_pretrained(tmp_path)
        if way == "beside a file":
            return RocConfig.from_pretrained(tmp_path, **fields)
        content = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**content, **fields, "relation_descriptions": relations}))
        return RocConfig.from_pretrained(tmp_path)

    config = give(relation_types=types, relation_offsets={"/per/org/fan_of": 2})
    assert config.relation_types == {"/per/org/fan_of": [["person"], ["organization"]]}
    assert config.relation_descriptions == {label: [text] for label, text in relations.items()}
    model = RocModel(RocConfig(**{**config.to_dict(), "projection_dim": 16})).eval()
    mask = model.type_mask([("Person", "organization"), ("organization", "person")])
    assert mask.tolist() == [[True, True], [True, False]]
    for wrong, message in [
        ({"relation_types": {"none": "person"}}, "'none' needs .*, got 'person'"),
        ({"relation_offsets": {"none": float("nan")}}, "'none': an offset must be a finite number, got nan"),
        ({"relation_offsets": {"none": "2"}}, "'none': an offset must be a finite number, got '2'"),
        ({"relation_offsets": {"none": True}}, "'none': an offset must be a finite number, got True"),
    ]:
        with pytest.raises(ValueError, match=message):
            give(**wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relation_offsets": {"x": 1.0}}, "relation_offsets names 'x', which is not among the relations"),
        ({"relation_types": {"x": ["person", "person"]}}, "relation_types names 'x'"),
        ({"relation_examples": {"x": 1}}, "relation_examples names 'x'"),
        ({"calibration_temperature": float("inf")}, "calibration_temperature must be above 0 and finite"),
        ({"temperature": float("nan")}, "temperature must be above 0 and finite"),
        ({"id2label": {0: "a", 2: "b"}}, "id2label must number relations from 0"),
        ({"id2label": {0: "a", 1: "a"}}, "id2label must number relations from 0"),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "label2id .* contradicts id2label"),
        ({"learn_negative_threshold": True}, "learn_negative_threshold needs a negative_relation"),
        ({"relation_descriptions": {"a": "One.", "b": [""]}}, "'b' needs at least one description"),
        ({"relation_descriptions": {"a": "One.", "b": [3]}}, "'b' needs at least one description"),
    ],
)
def test_what_a_config_cannot_mean_is_refused(settings, message):
    with pytest.raises((ValueError, StrictDataclassClassValidationError), match=message):
        RocConfig(**{"relation_descriptions": {"a": "One.", "b": "Two."}, **settings})


def test_a_misspelt_field_is_named_and_a_files_own_fields_are_kept(tmp_path):
    with pytest.raises(TypeError, match="RocConfig takes no temprature"):
        RocConfig(temprature=0.1)
    RocConfig(relation_descriptions={"a": "One."}, label2id={"a": 0}).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "of_another_tool": 3}))
    config = RocConfig.from_pretrained(tmp_path, temperature=0.25)
    assert (config.of_another_tool, config.temperature) == (3, 0.25)
    assert RocConfig(**config.to_dict()).of_another_tool == 3
    config = RocConfig(relation_descriptions={"a": "One.", "b": "Two."}, label2id={"b": 0, "a": 1})
    assert list(config.id2label.values()) == list(config.relation_descriptions) == ["b", "a"]


def test_another_models_weights_bring_its_relations_with_all_that_belongs_to_them(make_model, batch, processor):
    pytest.importorskip("faiss")
    model, other = make_model(relation_aggregation="max"), make_model(relation_aggregation="max")
    relations = {"none": "Nothing.", "fan": ["Head likes tail.", "Head cheers tail."], "rival": "Head fights tail."}
    other.set_relations({**relations, "town": "The tail is a town."}, processor, "none")
    other.set_relation_types({"fan": ["person", "team"], "town": ["person", "location"]})
    other.set_relation_offsets({"town": 4.0})
    other.config.calibration_temperature = 3.0
    types = [("person", "team")] * 4
    batch = {**batch, "labels": None}
    model.search(k=2, types=[("person", "person")] * 4, index="faiss", **batch)  # which keeps an index and types
    model.load_state_dict(other.state_dict())
    for name in ("relation_descriptions", "id2label", "label2id", "relation_types", "relation_offsets",
                 "negative_relation", "calibration_temperature"):  # fmt: skip
        assert getattr(model.config, name) == getattr(other.config, name), name
    assert torch.equal(answers(model, batch), answers(other, batch))
    assert torch.equal(model.type_mask(types), other.type_mask(types)) and not model.type_mask(types).all()
    for index in (None, "faiss"):
        found, expected = (one.search(k=4, types=types, index=index, **batch) for one in (model, other))
        assert torch.equal(found.indices, expected.indices) and torch.allclose(found.scores, expected.scores)
    memory = model.memory.to("meta")  # which relation has which rows is known without a look at a device
    assert [memory.rows_of(i) for i in range(4)] == [[0], [1, 2], [3], [4]]


def test_weights_without_their_relations_are_refused_by_name(make_model, batch, processor):
    """Such as a checkpoint's file, whose relations stand in its config: of another size, and of the same."""
    model, other = make_model(), make_model()
    other.set_relations({"none": "Nothing.", "a": "Head likes tail."}, processor)
    weights = {name: value for name, value in other.state_dict().items() if name != "memory.relations"}
    with pytest.raises(RuntimeError, match=r"memory\.(input_ids|embeds)"):
        copy.deepcopy(model).load_state_dict(weights)
    texts = {label: [text[::-1] for text in texts] for label, texts in model.config.relation_descriptions.items()}
    other.set_relations(texts, processor)
    weights = {name: value for name, value in other.state_dict().items() if name != "memory.relations"}
    if weights["memory.input_ids"].shape == model.memory.input_ids.shape:
        model.load_state_dict(weights)
        with pytest.raises(RuntimeError, match="set_relations"):
            answers(model, batch)
    renamed = make_model()
    labels = dict(zip(renamed.config.relation_descriptions, ("none", "left", "right"), strict=True))
    renamed.set_relations({labels[k]: v for k, v in renamed.config.relation_descriptions.items()}, processor)
    weights = {name: value for name, value in renamed.state_dict().items() if name != "memory.relations"}
    model = make_model()
    model.load_state_dict(weights)
    with pytest.raises(RuntimeError, match="set_relations"):
        answers(model, batch)


def move_by_step(model, weights, batch):
    model.train()
    model(**batch).loss.backward()
    torch.optim.AdamW(model.parameters(), lr=1e-2).step()


def move_through_data(model, weights, batch):
    for name, parameter in model.named_parameters():
        parameter.data.copy_(weights[name])


def move_pointers(model, weights, batch):
    for name, parameter in model.named_parameters():
        parameter.data = weights[name].clone()


def move_by_loading_a_part(model, weights, batch):
    part = {name.removeprefix("pair_encoder."): value for name, value in weights.items() if "pair_encoder." in name}
    model.pair_encoder.load_state_dict(part)


def move_with_dropout_on(model, weights, batch):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    move_through_data(model, weights, batch)


@pytest.mark.parametrize("own_relation_encoder", [False, True])
@pytest.mark.parametrize(
    "move",
    [move_by_step, move_through_data, move_pointers, move_by_loading_a_part, move_with_dropout_on],
    ids=lambda move: move.__name__,
)
def test_every_answer_sees_that_weights_have_moved(make_model, batch, processor, move, own_relation_encoder):
    """Between two answers, without a call of eval(): each public way compares with descriptions as they are now."""
    pytest.importorskip("faiss")
    batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    pair = {name: value for name, value in batch.items() if name != "labels"}
    others = {"fan": "Head likes tail.", "rival": "Head fights tail."}
    settings = {"own_relation_encoder": own_relation_encoder, "with_vision": False, "pair_dropout": 0.0}
    for way in ("forward", "memory", "cosines", "memory's cosines", "search", "faiss"):
        model = make_model(**settings)
        memory = model.make_relation_memory(others, processor)
        weights = {name: value.detach() * 1.5 + 0.1 for name, value in model.named_parameters()}

        def ask(model=model, memory=memory, way=way):
            with torch.no_grad():
                embeds = model.encode_pairs(**pair)
                if way == "forward":
                    return embeds, model(**pair).logits, model.memory
                if way == "memory":
                    return embeds, model(**pair, relation_memory=memory).logits, memory
                if way == "cosines":
                    return embeds, model.description_cosines(embeds), model.memory
                if way == "memory's cosines":
                    return embeds, model.description_cosines(embeds, memory), memory
                index = "faiss" if way == "faiss" else None
                return embeds, model.search(k=2, index=index, relation_memory=memory, **pair).scores, memory

        ask()
        move(model, weights, batch)
        _, found, asked = ask()
        anew = encoded_anew(model, asked)
        assert torch.allclose(asked.embeds, anew, atol=1e-5), way
        # With dropout on, a pair's own vector is another at each call; the descriptions' are not.
        if move not in (move_by_step, move_with_dropout_on):
            cosines = model.encode_pairs(**pair) @ anew.T
            if "cosines" in way:
                assert torch.allclose(found, cosines, atol=1e-5), way
            elif asked is memory:
                expected = cosines.sort(descending=True).values if way in ("search", "faiss") else cosines
                assert torch.allclose(found, expected / model.config.temperature, atol=1e-3), way


def test_a_memory_of_other_relations(make_model, processor, batch):
    model = make_model()
    with pytest.raises(ValueError, match="negative_relation 'x' is not among the relations"):
        model.make_relation_memory({"a": "Text."}, processor, negative_relation="x")
    other = {"none": "Nothing ties head and tail.", "fan": ["The head admires the tail.", "The head likes it."]}
    memory = model.make_relation_memory(other, processor)
    with torch.no_grad():
        outputs = model(**{**batch, "labels": None}, relation_memory=memory)
        cosines = model.description_cosines(outputs.pair_embeds, memory)
        model.set_relations(other, processor)
        expected = model(**{**batch, "labels": None})
    assert torch.allclose(outputs.logits, expected.logits, atol=1e-5)
    assert torch.allclose(cosines, outputs.pair_embeds @ memory.embeds.T)
    assert [memory.rows_of(index) for index in (0, 1)] == [[0], [1, 2]]


def test_a_model_without_relations_or_without_a_memory_takes_no_others(make_model, processor, batch):
    memory = make_model().make_relation_memory({"a": "Text."}, processor)
    with pytest.raises(ValueError, match="takes no relation_memory"):
        make_model(objective="classification")(**batch, relation_memory=memory)
    config = make_model().config
    empty = RocModel(RocConfig(text_config=config.text_config, vision_config=config.vision_config))
    with pytest.raises(ValueError, match="no relations of its own yet"):
        empty.make_relation_memory({"a": "Text."}, processor)
