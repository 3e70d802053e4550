# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Explanations: saliency that adds up, words that are the text's own, and a picture of them."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pipeline import MAYA, NOAH, OWN_RELATIONS, ROVERS, TEXT, make_input, make_picture
from test_processor import bert_tokenizer, roberta_tokenizer, sentencepiece_tokenizer
from torch import nn
from transformers import CLIPImageProcessorPil, ConvNextImageProcessorPil, pipeline
from transformers.modeling_outputs import BaseModelOutput

from evaluation_roc.pictures import save_explanation_picture
from processing_roc import RocProcessor

BOX = [0.125, 0.25, 0.5, 0.75]
OBJECT = {"box": BOX, "type": "thing"}


@pytest.fixture
def make_pipe(make_model, processor):
    return lambda **kwargs: pipeline("relation-extraction", model=make_model(**kwargs), processor=processor)


def words_of(explanation: dict, text: str = TEXT) -> list[str]:
    return [text[word["start"] : word["end"]] for word in explanation["words"]]


def total(explanation: dict) -> float:
    patches = explanation["patches"]["scores"] if explanation["patches"] is not None else []
    return sum(word["score"] for word in explanation["words"]) + sum(map(sum, patches))


def assert_adds_up(explanation: dict, tolerance: float = 0.03):
    gap = explanation["margin"] - explanation["blank_margin"]
    assert total(explanation) == pytest.approx(gap, abs=tolerance * max(abs(gap), 0.1))


# What is in an explanation


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": None},
        {"tail": OBJECT},
        {"head": OBJECT, "tail": {"box": [0.5, 0.5, 1.0, 1.0]}, "objects": [{"box": [0, 0, 0.25, 0.25]}]},
        {"text": TEXT.split(), "head": {"start": 0, "end": 1}, "tail": {"start": 4, "end": 6}},
    ],
)
@pytest.mark.parametrize(
    "config",
    [
        {"object_features": "roi"},
        {"object_features": "crop", "learn_negative_threshold": True, "relation_aggregation": "max"},
        {"object_features": "roi", "objective": "classification"},
        {"object_features": "roi", "text_residual": True},
        {"object_features": "roi", "own_relation_encoder": True},
    ],
)
def test_words_and_patches_add_up_to_what_the_blank_pair_lacks(make_pipe, config, changes):
    pipe = make_pipe(**config)
    given = make_input(**changes)
    plain = pipe(given, top_k=None)
    answer = pipe(given, top_k=None, explain=True)
    json.dumps(answer, allow_nan=False)
    assert [{**one, "explanation": None} for one in answer] == [{**one, "explanation": None} for one in plain]
    best, *others = [relation["explanation"] for relation in answer]
    assert_adds_up(best)
    logits = torch.tensor([one["score"] for one in answer]).log()
    assert best["margin"] == pytest.approx(float(logits[0] - logits[1:].mean()), abs=1e-3)
    assert words_of(best) == TEXT.split()
    if given["image"] is None:
        assert best["patches"] is None
    else:
        assert best["patches"]["rows"] == best["patches"]["columns"] == 2
        assert [len(row) for row in best["patches"]["scores"]] == [2, 2]
        assert best["patches"]["box"] == [0, 0, 1, 1]
    for other in others:
        assert other.keys() == best.keys()
        assert all(value is None for name, value in other.items() if name != "descriptions")
    assert not any(parameter.grad is not None for parameter in pipe.model.parameters())


def test_objects_have_their_role_and_their_box_of_the_whole_picture(make_model, processor):
    narrow = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    pipe = pipeline(
        "relation-extraction",
        model=make_model(object_features="roi"),
        processor=RocProcessor(narrow, processor.tokenizer, max_length=64),
    )
    tail = {"box": [0.25, 0.5, 0.5, 0.75]}
    objects = [
        {"box": [0.1, 0.25, 0.75, 1.0], "name": "cut"},
        {"box": [0.0, 0.0, 0.2, 1.0], "name": "gone"},
        {**tail, "name": "dog"},
    ]
    given = make_input(tail=tail, objects=objects, image=Image.new("RGB", (128, 64)))
    explanation = pipe(given, top_k=1, explain=True)[0]["explanation"]
    told = explanation["objects"]
    assert [(one["index"], one["name"], one["role"]) for one in told] == [
        (0, "cut", None), (1, "gone", None), (2, "dog", "tail"),
    ]  # fmt: skip
    assert [one["box"] for one in told] == [one["box"] for one in objects]
    apart = pipe({**given, "objects": objects[:2]}, top_k=1, explain=True)[0]["explanation"]["objects"]
    assert [(one["index"], one["role"]) for one in apart] == [(None, "tail"), (0, None), (1, None)]
    assert explanation["patches"]["box"] == pytest.approx([0.25, 0, 0.75, 1])
    # A picture of one colour is its own blank: nothing of it can be what speaks for the answer.
    assert sum(explanation["patches"]["scores"], []) == pytest.approx([0] * 4, abs=1e-6)
    assert [one["score"] for one in told] == [pytest.approx(0, abs=1e-5), None, pytest.approx(0, abs=1e-5)]


def test_a_picture_whose_crop_is_not_known_is_explained_without_its_place(make_model, processor, tmp_path):
    own_crop = ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.9)
    pipe = pipeline(
        "relation-extraction", model=make_model(), processor=RocProcessor(own_crop, processor.tokenizer, max_length=64)
    )
    answer = pipe(make_input(), top_k=1, explain=True)
    found = answer[0].pop("explanation")
    assert answer == pipe(make_input(), top_k=1)
    assert_adds_up(found)
    assert found["patches"]["box"] is None and len(found["patches"]["scores"]) == 2
    save_explanation_picture(tmp_path / "x.png", make_input(), [{**answer[0], "explanation": found}])


def test_all_descriptions_stand_with_their_cosines(make_pipe, processor):
    pipe = make_pipe(learn_negative_threshold=True)
    answer = pipe(make_input(), top_k=None, explain=True)
    with torch.no_grad():
        inputs = processor(text=TEXT, head=MAYA, tail=ROVERS, images=make_picture(), return_tensors="pt")
        pair = pipe.model(**inputs).pair_embeds[0]
    texts = [
        t for label in ("/per/org/member_of", "/per/per/peer") for t in pipe.model.config.relation_descriptions[label]
    ]
    cosines = dict(zip(texts, (pipe.model.memory.embeds @ pair).tolist(), strict=True))
    for relation in answer:
        descriptions = relation["explanation"]["descriptions"]
        assert descriptions[0]["description"] == relation["description"]
        if relation["label"] == "none":
            assert descriptions == [{"description": "Nothing ties head and tail.", "score": None}]
        else:
            found = [one["score"] for one in descriptions]
            assert found == sorted(found, reverse=True)
            assert found == pytest.approx([cosines[one["description"]] for one in descriptions], abs=1e-5)
    classifier = make_pipe(objective="classification")
    assert classifier(make_input(), explain=True)[0]["explanation"]["descriptions"] == []


def test_a_batch_of_unlike_inputs_is_explained_as_each_alone(make_pipe):
    pipe = make_pipe(object_features="roi")
    entities = make_input(entities=[MAYA, NOAH, {"box": BOX}])
    del entities["head"], entities["tail"]
    inputs = [make_input(), make_input(image=None), entities, make_input(tail=OBJECT, image=make_picture(1))]
    inputs += [make_input(text=f"{TEXT} in a hall", image=None)] * 8  # a pass without any picture
    together = pipe(inputs, batch_size=12, top_k=1, explain=True)
    for answer, alone in zip(together, (pipe(one, top_k=1, explain=True) for one in inputs), strict=True):
        pairs = zip(answer, alone, strict=True)
        if "relations" in answer[0]:
            pairs = ((a["relations"][0], b["relations"][0]) for a, b in pairs)
        for relation, expected in pairs:
            found, wanted = relation["explanation"], expected["explanation"]
            assert_adds_up(found)
            assert words_of(found, TEXT + " in a hall") == words_of(wanted, TEXT + " in a hall")
            assert [w["score"] for w in found["words"]] == pytest.approx(
                [w["score"] for w in wanted["words"]], abs=1e-4
            )
            for name in ("patches", "objects"):
                assert (found[name] is None) == (wanted[name] is None)
            if found["patches"] is not None:
                heat, expected_heat = (torch.tensor(one["patches"]["scores"]) for one in (found, wanted))
                assert torch.allclose(heat, expected_heat, atol=1e-4)
            if found["objects"] is not None:
                scores = [one["score"] for one in found["objects"]]
                assert scores == pytest.approx([one["score"] for one in wanted["objects"]], abs=1e-4)


def test_relations_of_the_caller_are_explained(make_pipe, processor):
    pipe = make_pipe()
    mine = pipe(make_input(), relations=OWN_RELATIONS, explain=True)
    assert_adds_up(mine[0]["explanation"])
    pipe.model.set_relations(OWN_RELATIONS, processor)
    theirs = pipe(make_input(), explain=True)
    assert total(mine[0]["explanation"]) == pytest.approx(total(theirs[0]["explanation"]), abs=1e-4)
    single = pipe(make_input(), relations={"fan": "The head admires the tail."}, explain=True)
    assert_adds_up(single[0]["explanation"])


def test_in_bfloat16_and_in_inference_mode(make_pipe):
    pipe = make_pipe()
    with torch.inference_mode():
        in_inference = pipe(make_input(), explain=True)
    exact = pipe(make_input(), explain=True)
    assert in_inference == exact
    rough = pipeline("relation-extraction", model=make_pipe().model.to(torch.bfloat16), processor=pipe.processor)
    answer = rough(make_input(), explain=True)
    explanation = answer[0]["explanation"]
    assert answer[0]["label"] == exact[0]["label"]
    assert abs(total(explanation) - total(exact[0]["explanation"])) < 0.3 * abs(total(exact[0]["explanation"])) + 0.1


def test_explain_is_yes_or_no(make_pipe):
    pipe = make_pipe()
    with pytest.raises(ValueError, match="explain must be True or False, got 'yes'"):
        pipe(make_input(), explain="yes")
    assert "explanation" not in pipe(make_input(), explain=False)[0]


# The saliency itself


class Embedded(nn.Module):
    """A text encoder that does nothing to its embeddings, so that all of the model can be made linear."""

    def __init__(self, embeddings: nn.Embedding):
        super().__init__()
        self.embeddings = embeddings

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids=None, inputs_embeds=None, attention_mask=None):
        return BaseModelOutput(self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds)


def test_of_a_linear_model_every_token_gets_what_it_adds(make_model, processor):
    model = make_model(with_vision=False, objective="classification", fusion_encoder_config={"num_hidden_layers": 0})
    model.pair_encoder.text_encoder = Embedded(model.get_input_embeddings())
    model.pair_encoder.pair_fusion = nn.Linear(128, 32)
    inputs = processor(text=TEXT, head=MAYA, tail=ROVERS, return_tensors="pt", return_offsets_mapping=True)
    inputs = dict(inputs)
    words, _ = inputs.pop("word_ids"), inputs.pop("offset_mapping")
    blank = inputs["input_ids"].masked_fill(words >= 0, processor.tokenizer.mask_token_id)

    def margin(ids):
        with torch.no_grad():
            logits = model(**{**inputs, "input_ids": ids}).logits[0]
        return float(logits[1] - (logits[0] + logits[2]) / 2)

    for num_steps in (1, 7):
        found = model.get_saliency(**inputs, blank_input_ids=blank, targets=torch.tensor([1]), num_steps=num_steps)
        assert float(found.margin) == pytest.approx(margin(inputs["input_ids"]), abs=1e-5)
        assert float(found.blank_margin) == pytest.approx(margin(blank), abs=1e-5)
        for place in range(inputs["input_ids"].shape[1]):
            without = inputs["input_ids"].clone()
            without[0, place] = blank[0, place]
            added = margin(inputs["input_ids"]) - margin(without)
            assert float(found.tokens[0, place]) == pytest.approx(added, abs=1e-5)
    # Only the mentions' own tokens are looked at by such a model.
    assert found.tokens[0].nonzero().flatten().tolist() == [
        place for span in (inputs["head_span"], inputs["tail_span"]) for place in range(*span[0].tolist())
    ]


def test_what_cannot_be_explained_is_refused(make_model, batch):
    model = make_model()
    given = {name: value for name, value in batch.items() if name != "labels"}
    given |= {"blank_input_ids": given["input_ids"], "targets": torch.zeros(4, dtype=torch.long)}
    with pytest.raises(ValueError, match="num_steps and batch_size must be 1 or more, got 0 and 8"):
        model.get_saliency(**given, num_steps=0)
    with pytest.raises(ValueError, match="go together"):
        model.get_saliency(**{**given, "image_index": None})
    with pytest.raises(ValueError, match="training mode"):
        model.train().get_saliency(**given)


# Words


def word_strings(processor, text, head, tail, **kwargs):
    encoded = processor(text=text, head=head, tail=tail, return_offsets_mapping=True, **kwargs)
    (offsets,), (numbers,), (ids,) = (encoded[name] for name in ("offset_mapping", "word_ids", "input_ids"))
    assert len(offsets) == len(numbers) == len(ids)
    spans = {}
    for (start, end), number in zip(offsets, numbers, strict=True):
        assert (number < 0) == (start == end)
        if number >= 0:
            first, last = spans.get(number, (start, end))
            spans[number] = (min(first, start), max(last, end))
    assert list(spans) == sorted(spans)
    return encoded, [tuple(span) for span in spans.values()]


TOKENIZERS = {"bert": bert_tokenizer(), "roberta": roberta_tokenizer(), "sentencepiece": sentencepiece_tokenizer()}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_are_those_of_the_text(name):
    processor = RocProcessor(None, TOKENIZERS[name])
    text = "Tom Hanks , not #Tom lives in Los  Angeles"
    head = {"start": 17, "end": 20, "type": "person"}
    tail = {"start": 30, "end": 42, "type": "location"}
    encoded, spans = word_strings(processor, text, head, tail)
    words = [text[start:end] for start, end in spans]
    assert words == ["Tom", "Hanks", ",", "not", "#", "Tom", "lives", "in", "Los", "Angeles"]
    # The tokens of a mention are those whose words lie in it; the second blank may have one, and is no word.
    (start, end), (numbers,) = encoded["tail_span"][0], encoded["word_ids"]
    assert set(numbers[start:end]) - {-1} == {8, 9}
    assert numbers.count(8) + numbers.count(9) == end - start - numbers[start:end].count(-1)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_of_any_text_are_in_order_and_do_not_cross_mentions(name, data):
    processor = RocProcessor(None, TOKENIZERS[name])
    text = data.draw(st.text(alphabet=st.sampled_from("ab #,.é中文\u3000 \t🙂T'"), min_size=4, max_size=40))
    solid = [i for i, char in enumerate(text) if not char.isspace()]
    if len(solid) < 2:
        return
    first, second = sorted(data.draw(st.lists(st.sampled_from(solid), min_size=2, max_size=2, unique=True)))
    end = data.draw(st.integers(first + 1, second))
    head, tail = {"start": first, "end": end}, {"start": second, "end": len(text)}
    budget = data.draw(st.sampled_from([128, 40]))
    try:
        _, spans = word_strings(processor, text, head, tail, max_length=budget)
    except ValueError as error:  # a tokenizer may have no token for a mention, and two long ones do not fit
        assert "leaves nothing" in str(error) or "fit" in str(error)
        return
    for one, other in zip(spans, spans[1:], strict=False):
        assert one[0] <= other[0] and one[1] <= max(other[0], one[1])
    for start, stop in spans:
        surface = text[start:stop]
        assert surface == surface.strip() and surface
        for edge in (first, second):
            assert not start < edge < stop
    if budget == 128 and name == "roberta":
        covered = {place for start, stop in spans for place in range(start, stop)}
        assert covered >= set(solid)


def test_padding_and_a_long_text_have_no_words(processor):
    long = " ".join(["Maya met Noah"] + ["so"] * 80)
    texts = [TEXT, long]
    encoded = processor(
        text=texts,
        head=[MAYA, MAYA],
        tail=[NOAH, NOAH],
        return_tensors="pt",
        return_offsets_mapping=True,
        max_length=32,
    )
    assert encoded["word_ids"].shape == encoded["input_ids"].shape
    assert encoded["offset_mapping"].shape == (*encoded["input_ids"].shape, 2)
    padding = encoded["attention_mask"] == 0
    assert padding.any() and (encoded["word_ids"][padding] == -1).all()
    kept = {tuple(span) for span in encoded["offset_mapping"][1].tolist()} - {(0, 0)}
    assert (0, 4) in kept and max(end for _, end in kept) < len(long) / 2
    assert "word_ids" not in processor(text=TEXT, head=MAYA, tail=NOAH)


# The picture


@pytest.mark.parametrize(
    "changes", [{}, {"image": None}, {"tail": OBJECT, "text": TEXT.split(), "head": {"start": 0, "end": 1}}]
)
def test_it_is_drawn(make_pipe, tmp_path, changes):
    pipe = make_pipe(object_features="roi")
    given = make_input(**changes)
    save_explanation_picture(tmp_path / "why.png", given, pipe(given, explain=True))
    with Image.open(tmp_path / "why.png") as drawn:
        colours = {pixel for _, pixel in drawn.convert("RGB").getcolors(1 << 24)}
    assert any(red > blue + 40 or blue > red + 40 for red, _, blue in colours)
    assert [path.name for path in tmp_path.iterdir()] == ["why.png"]


def test_the_page_grows_with_what_is_written(make_pipe, tmp_path):
    given, sizes = make_input(), []
    answer = make_pipe()(given, explain=True)
    for times in (1, 20, 40):
        words = "The head is a person who admires the tail, a team or a band, and says so. " * times
        answer[-1]["explanation"]["descriptions"] = [{"description": words, "score": 0.1}]
        save_explanation_picture(tmp_path / "why.png", given, answer)
        with Image.open(tmp_path / "why.png") as drawn:
            sizes.append(drawn.size)
    assert sizes[0][0] == sizes[1][0] == sizes[2][0]
    # Some twenty lines more each time, of some thirty pixels.
    assert sizes[2][1] > sizes[1][1] + 500 and sizes[1][1] > sizes[0][1] + 100


def test_an_answer_without_explanation_is_not_drawn(make_pipe, tmp_path):
    given = make_input()
    for answer in (make_pipe()(given), []):
        with pytest.raises(ValueError, match="explain=True"):
            save_explanation_picture(tmp_path / "why.png", given, answer)
    assert not any(tmp_path.iterdir())
