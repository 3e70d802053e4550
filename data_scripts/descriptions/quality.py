# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Quality numbers of a description set, without training: how far apart the relations stand in an encoder's space.

    python -m data_scripts.relation_quality --relations relations.json --model_name_or_path bert-base-uncased
    python -m data_scripts.relation_quality --relations relations.json --model_name_or_path outputs/demo --output_dir q

Prints, for each relation, the mean cosine among its own descriptions, its nearest other relation and the margin
between the two, and the pairs that are hardest to tell apart. With `--output_dir`, writes `relation_quality.json` and
the heat map `relation_quality.png` there. In a trained ROC model, the space is that of its relation memory; in any
other text encoder, that of the mean token vectors, where all texts are rather alike: compare one set with another, not
with 0.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from data_scripts.descriptions.files import DescriptionError, load_plain_descriptions
from evaluation_roc.report import replacing
from evaluation_roc.separability import (
    confusable_pairs,
    format_separability,
    relation_similarities,
    save_heat_map,
    separability_table,
)
from modeling_roc import RocModel
from processing_roc import RocProcessor


def encode_descriptions(model_name_or_path: str, texts: list[str], batch_size: int = 32) -> np.ndarray:
    """
    The vectors of descriptions.

    Args:
        model_name_or_path: a ROC checkpoint (`RocModel.get_relation_features` gives the vectors), or any text encoder
            that `AutoModel` opens (the mean of its last hidden states over the tokens).
        texts: the descriptions.
        batch_size: how many a plain encoder reads at once.

    Returns:
        (len(texts), dim) of float32.

    Raises:
        ValueError: for a ROC model that classifies and so has no space of relations.
    """
    if AutoConfig.from_pretrained(model_name_or_path).model_type == "roc":
        model = RocModel.from_pretrained(model_name_or_path).eval()
        if model.config.objective != "retrieval":
            raise ValueError(f"{model_name_or_path} classifies: it encodes no descriptions")
        encoded = RocProcessor.from_pretrained(model_name_or_path)(relations=texts, return_tensors="pt")
        with torch.no_grad():
            return model.get_relation_features(
                encoded["relation_input_ids"], encoded["relation_attention_mask"]
            ).numpy()
    tokenizer = AutoTokenizer.from_pretrained(model_name_or_path)
    model = AutoModel.from_pretrained(model_name_or_path).eval()
    embeds = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(texts[start : start + batch_size], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        embeds.append((states * mask).sum(dim=1) / mask.sum(dim=1))
    return torch.cat(embeds).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--relations", type=Path, required=True, help="relation description file")
    parser.add_argument("--model_name_or_path", required=True, help="a ROC checkpoint, or a text encoder")
    parser.add_argument("--output_dir", type=Path, help="folder to write table and heat map to")
    parser.add_argument("--num_pairs", type=int, default=10, help="confusable pairs to list (default: 10)")
    options = parser.parse_args()
    if options.num_pairs < 0:
        parser.error("--num_pairs cannot be negative")
    try:
        relations = load_plain_descriptions(options.relations)["relations"]
        if options.output_dir is not None:
            options.output_dir.mkdir(parents=True, exist_ok=True)
        names = list(relations)
        texts = [text for entry in relations.values() for text in entry["descriptions"]]
        owners = [index for index, entry in enumerate(relations.values()) for _ in entry["descriptions"]]
        embeds = encode_descriptions(options.model_name_or_path, texts)
        similarities = relation_similarities(embeds, owners, len(names))
        table = separability_table(similarities, names)
    except (OSError, ValueError, DescriptionError) as error:
        sys.exit(f"error: {error}")
    pairs = confusable_pairs(similarities, names, options.num_pairs)
    print(format_separability(table, pairs), end="")
    if options.output_dir is not None:
        content = {"model": options.model_name_or_path, "relations": table, "confusable_pairs": pairs}
        with replacing(options.output_dir / "relation_quality.json") as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        save_heat_map(options.output_dir / "relation_quality.png", similarities, names)
