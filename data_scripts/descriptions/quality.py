# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
How well the relations of a description file can be told apart in an encoder's space, before or after training.

    python -m data_scripts.relation_quality --relations relations.json --model_name_or_path bert-base-uncased
    python -m data_scripts.relation_quality --relations relations.json --model_name_or_path outputs/demo \\
        --per_relation outputs/demo/test_per_relation.json

Prints, for each relation, the mean cosine among its own descriptions, its nearest other relation and the margin
between the two, and the descriptions of different relations that are closest. With `--per_relation`, the F1 of a run
stands beside them, and how far it goes along with the margin. In a trained ROC model, the space is that of its
relation memory; in any other text encoder, that of the mean token vectors, where all texts are rather alike: compare
one set with another, not with 0.
"""

import argparse
import logging
import sys
import textwrap
from pathlib import Path

import numpy as np

from data_scripts.command import in_words
from data_scripts.converters.entity_typing import count_positions
from data_scripts.descriptions.files import load_descriptions, warn_of_doubts
from data_scripts.hub_errors import HubError, check_repository, explain_hub_errors
from data_scripts.markdown import markdown_text
from data_scripts.reading import DataError, read_json
from data_scripts.writing import write_json

logger = logging.getLogger(__name__)


def encode_descriptions(model_name_or_path: str, texts: list[str], batch_size: int = 32) -> np.ndarray:
    """
    Unit vectors (len(texts), dim) of descriptions, `batch_size` read at once: what a ROC checkpoint's relation encoder
    gives, or the mean of the last hidden states over the tokens in any other encoder that `AutoModel` opens. A warning
    says how many are too long for such an encoder, which then reads their beginnings.

    Raises:
        DataError: for a ROC model that classifies and so has no space of relations, or a vector without a direction.
    """
    import torch  # this and transformers take seconds, which --help need not wait
    from transformers import AutoModel, AutoProcessor, AutoTokenizer, PreTrainedConfig

    is_roc = PreTrainedConfig.get_config_dict(model_name_or_path)[0].get("model_type") == "roc"
    model = AutoModel.from_pretrained(model_name_or_path, trust_remote_code=is_roc).eval()
    if is_roc and model.config.objective != "retrieval":
        raise DataError(f"{model_name_or_path} classifies: it encodes no descriptions")
    reader = (AutoProcessor if is_roc else AutoTokenizer).from_pretrained(model_name_or_path, trust_remote_code=is_roc)
    if not is_roc:
        limit = min(reader.model_max_length, count_positions(model))
        lengths = [len(ids) for ids in reader(texts, verbose=False)["input_ids"]]
        if cut := [text for text, length in zip(texts, lengths, strict=True) if length > limit]:
            logger.warning(
                "%d descriptions are longer than the %d tokens that %s reads, and are cut, the longest by %d: %r",
                len(cut),
                limit,
                model_name_or_path,
                max(lengths) - limit,
                textwrap.shorten(cut[0], width=100),
            )
    embeds = []
    for start in range(0, len(texts), batch_size):
        batch = texts[start : start + batch_size]
        with torch.inference_mode():
            if is_roc:
                encoded = reader(relations=batch, return_tensors="pt")
                ids, mask = encoded["relation_input_ids"], encoded["relation_attention_mask"]
                embeds.append(model.get_relation_features(ids, mask).float())
            else:
                encoded = reader(batch, padding=True, truncation=True, max_length=limit, return_tensors="pt")
                mask = encoded["attention_mask"][..., None]
                embeds.append((model(**encoded).last_hidden_state.float() * mask).sum(dim=1) / mask.sum(dim=1))
    embeds = torch.cat(embeds).numpy()
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise DataError(f"{model_name_or_path}: a description's vector is zero or not finite")
    return embeds / norms


def relation_similarities(embeds: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Mean cosine between the descriptions of each two relations.

    Args:
        embeds (num_descriptions, dim): the descriptions' unit vectors.
        owners (num_descriptions,): each description's relation, counted from 0; every relation has at least one.

    Returns:
        (num_relations, num_relations), -1 to 1, symmetric. On the diagonal stands the mean over each two different
        descriptions of the relation; 1 where it has only one.
    """
    counts = np.bincount(owners)
    sums = np.zeros((len(counts), embeds.shape[1]))
    np.add.at(sums, owners, embeds)
    # The mean over all pairs is the product of the sums; a description's cosine with itself, which is 1, is left out.
    totals, pairs = sums @ sums.T, np.outer(counts, counts)
    np.fill_diagonal(totals, np.where(counts > 1, totals.diagonal() - counts, 1.0))
    np.fill_diagonal(pairs, np.maximum(counts * (counts - 1), 1))
    return totals / pairs


def compare_relations(similarities: np.ndarray, names: list[str]) -> list[dict]:
    """What each relation has to fear by `relation_similarities`, the smallest margin first.

    Returns:
        list of dict: `relation`; `own`, the mean cosine among its own descriptions; `nearest`, the relation whose
        descriptions are nearest to them; `nearest_cosine`; `margin` = own - nearest_cosine, below 0 where another
        relation's descriptions are nearer than its own.

    Raises:
        DataError: if there are fewer than two relations.
    """
    if len(names) < 2:
        raise DataError("two relations at least are needed to tell one from another")
    others = similarities - np.diag(np.full(len(similarities), np.inf))
    table = []
    for name, own, nearest, cosine in zip(
        names, similarities.diagonal(), others.argmax(axis=1), others.max(axis=1), strict=True
    ):
        row = {"relation": name, "own": float(own), "nearest": names[nearest], "nearest_cosine": float(cosine)}
        table.append(row | {"margin": float(own - cosine)})
    return sorted(table, key=lambda row: row["margin"])


def closest_descriptions(embeds: np.ndarray, owners: np.ndarray, num_pairs: int) -> list[tuple[float, int, int]]:
    """(cosine, description, description) of at most `num_pairs` descriptions of different relations, closest first."""
    first, second = np.nonzero(np.triu(owners[:, None] != owners[None, :]))
    cosines = (embeds @ embeds.T)[first, second]
    closest = np.argsort(-cosines, kind="stable")[:num_pairs]
    return [(float(cosines[pair]), int(first[pair]), int(second[pair])) for pair in closest]


def read_f1(path: Path) -> dict[str, float]:
    """Relation → F1 (0-1), from the `test_per_relation.json` or the like that a run writes."""
    rows = read_json(path)
    try:
        return {row["relation"]: float(row["f1"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no table of scores by relation ({type(error).__name__}: {error})") from error


def format_table(table: list[dict]) -> str:
    """`compare_relations`' rows as a Markdown table with a line on all of them; F1 where the rows have it."""
    with_f1 = [row for row in table if "f1" in row]
    lines = [f"| relation | own | nearest other | cosine | margin |{' F1 |' if with_f1 else ''}"]
    lines += [f"|:--|--:|:--|--:|--:|{'--:|' if with_f1 else ''}"]
    for row in table:
        name, nearest = markdown_text(row["relation"]), markdown_text(row["nearest"])
        cells = f"{row['own']:.3f} | {nearest} | {row['nearest_cosine']:.3f} | {row['margin']:.3f} |"
        f1 = f" {row['f1']:.3f} |" if "f1" in row else " |" if with_f1 else ""
        lines.append(f"| {name} | {cells}{f1}")
    mean = sum(row["margin"] for row in table) / len(table)
    lines += ["", f"Mean margin {mean:.3f}; below 0: {sum(row['margin'] < 0 for row in table)} of {len(table)}."]
    if with_f1:
        from scipy.stats import spearmanr

        correlation = spearmanr([row["margin"] for row in with_f1], [row["f1"] for row in with_f1]).statistic
        lines.append(f"Rank correlation of margin and F1: {correlation:.2f}, over {len(with_f1)} relations.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--relations", type=Path, required=True, help="relation description file")
    parser.add_argument("--model_name_or_path", required=True, help="a ROC checkpoint, or a text encoder")
    parser.add_argument("--per_relation", type=Path, help="a run's F1 by relation, as in its test_per_relation.json")
    parser.add_argument("--output_dir", type=Path, help="folder to write relation_quality.json to")
    parser.add_argument("--num_pairs", type=int, default=10, help="pairs of descriptions to list (default: 10)")
    options = parser.parse_args()
    if options.num_pairs < 0:
        parser.error("--num_pairs cannot be negative")
    try:
        content = load_descriptions(options.relations)
        warn_of_doubts(content, options.relations)
        relations = content["relations"]
        f1 = {} if options.per_relation is None else read_f1(options.per_relation)
        if options.output_dir is not None:
            options.output_dir.mkdir(parents=True, exist_ok=True)
        names = list(relations)
        texts = [text for entry in relations.values() for text in entry["descriptions"]]
        owners = np.repeat(range(len(names)), [len(entry["descriptions"]) for entry in relations.values()])
        check_repository(options.model_name_or_path, "model")
        with explain_hub_errors(options.model_name_or_path, "model"):
            embeds = encode_descriptions(options.model_name_or_path, texts)
        table = compare_relations(relation_similarities(embeds, owners), names)
    except (OSError, ValueError, HubError) as error:
        sys.exit(f"error: {in_words(error)}")
    table = [row | ({"f1": f1[row["relation"]]} if row["relation"] in f1 else {}) for row in table]
    pairs = [
        {"cosine": cosine, "relations": [names[owners[i]], names[owners[j]]], "descriptions": [texts[i], texts[j]]}
        for cosine, i, j in closest_descriptions(embeds, owners, options.num_pairs)
    ]
    print(format_table(table))
    for pair in pairs:
        print(f"\n{pair['cosine']:.3f}")
        for name, text in zip(pair["relations"], pair["descriptions"], strict=True):
            print(f"  {name}: {text}")
    if options.output_dir is not None:
        content = {"model": options.model_name_or_path, "relations": table, "closest_descriptions": pairs}
        write_json(options.output_dir / "relation_quality.json", content)
