# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A small drawn data set that tries everything without a download: short posts, drawn pictures, nine relations.

The picture decides, never the text. Half of the rows are pairs of two mentions: every post stands with nine pictures,
one for each way in which its two kinds of entity pair can be related, so that each relation of a kind of pair, and
"none", stands equally often beside the same words. The best that any reader of the text alone can do with them is a
micro-F1 of 0.4. A quarter are pairs of a person in the text and a thing in the picture, a quarter pairs of two
things, several of them with the same text and picture: which box is meant, and what lies in it, decides. Entity types
are those of the name lists below, known without a look at the relation; things have none.
"""

import io
import itertools
import random
import string
from collections.abc import Iterator

from datasets import Dataset, DatasetDict
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertConfig, BertTokenizer, ViTConfig, ViTImageProcessorPil

from data_scripts.demo.pictures import NEUTRAL_THINGS, PERSON, draw_picture
from data_scripts.descriptions.files import load_builtin_descriptions
from data_scripts.schema import SPLITS, dataset_features, object_entity, text_entity

NEGATIVE_RELATION = "none"

# relation -> (head type, tail type, the thing in the picture that shows it)
RELATIONS = {
    "/per/per/couple": ("person", "person", "heart"),
    "/per/per/peer": ("person", "person", "ball"),
    "/per/org/member_of": ("person", "organization", "shirt"),
    "/per/org/leader_of": ("person", "organization", "tie"),
    "/per/loc/place_of_residence": ("person", "location", "house"),
    "/per/loc/place_of_birth": ("person", "location", "pram"),
    "/per/misc/present_in": ("person", "miscellaneous", "stage"),
    "/per/misc/awarded": ("person", "miscellaneous", "trophy"),
}

NAMES = {
    "person": (
        "Maya", "Tom Reed", "Ines", "Omar Diaz", "Priya", "Leo Brandt", "Sofia Lund", "Ken", "Amara", "Victor Hale",
        "Yuki", "Nadia Costa",
    ),
    "organization": ("Rovers", "Blue Comets", "Harbor Radio", "Red Foxes", "Northside Choir", "Falcon Labs"),
    "location": ("Lisbon", "Oslo", "Old Harbor", "Nairobi", "Kyoto", "Green Valley"),
    "miscellaneous": ("Golden Reel", "Silver Lark", "Aurora Gala", "City Cup", "Lantern Night", "Spring Prix"),
}  # fmt: skip

# The relations that a thing in a box can have to a person; two things each show the other two.
OBJECT_RELATIONS = tuple(relation for relation, (_, tail, _) in RELATIONS.items() if tail != "person")

# The kinds of the three entities of a post: a person and any two, which gives two kinds of pair.
POST_KINDS = [("person", *others) for others in itertools.combinations(NAMES, 2)]

TEMPLATES = (
    "{0} , {1} and {2} tonight",
    "so much to say about {0} , {1} and {2} !",
    "{2} : what a day for {0} and {1}",
    "another photo of {1} , {0} and {2} ...",
    "good morning {0} , good morning {2} , hello {1}",
    "thinking of {2} and {1} today # {0}",
    "RT @dailypost : {0} / {2} / {1}",
    "{1} , {2} and {0} in one picture",
)


def _write_post(kinds: tuple[str, ...], rng: random.Random) -> tuple[list[str], list[dict]]:
    """Returns a post's tokens and its entities, in the order of `kinds`, as the row's head and tail want them."""
    names = []
    for kind in kinds:
        names.append(rng.choice([name for name in NAMES[kind] if name not in names]))
    tokens, entities = [], [None] * len(kinds)
    for piece in rng.choice(TEMPLATES).split():
        if not piece.startswith("{"):
            tokens.append(piece)
            continue
        index = int(piece.strip("{}"))
        start = len(tokens)
        tokens += names[index].split()
        entities[index] = text_entity(names[index], start, len(tokens)) | {"type": kinds[index]}
    return tokens, entities


def _draw(things: list[str], rng: random.Random) -> tuple[dict, list[dict]]:
    """Returns a picture with its objects, in random order of the things, as the row wants them."""
    rng.shuffle(things)  # nothing but a look into its box may tell which thing an object is
    picture, boxes = draw_picture(things, rng)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    objects = [{"name": f"[OBJ{i}]", "box": box, "caption": None} for i, box in enumerate(boxes)]
    return {"bytes": buffer.getvalue(), "path": None}, objects


def _post_rows(tokens: list[str], entities: list[dict], prefix: str, rng: random.Random) -> list[dict]:
    """The rows of one post with all of its nine pictures: each kind of pair related this way, that way or not."""
    # Every person with every later entity: two or three pairs, of two kinds.
    pairs = [(head, tail) for head, tail in itertools.combinations(entities, 2) if head["type"] == "person"]
    choices = {}
    for head, tail in pairs:
        kinds = (head["type"], tail["type"])
        choices[kinds] = [None] + [relation for relation, (*of, _) in RELATIONS.items() if tuple(of) == kinds]
    pictures = list(itertools.product(*choices.values()))
    rng.shuffle(pictures)  # the number in image_id must not give the answer away
    rows = []
    for number, shown in enumerate(pictures):
        things = [RELATIONS[relation][2] for relation in shown if relation]
        things += rng.sample(NEUTRAL_THINGS, len(shown) - len(things))
        image, objects = _draw(things, rng)
        relation_of = dict(zip(choices, shown, strict=True))
        answers = [relation_of[head["type"], tail["type"]] for head, tail in pairs]
        rows += _rows(f"{prefix}-{number}", image, tokens, objects, pairs, answers)
    return rows


def _object_rows(
    tokens: list[str], entities: list[dict], shown: tuple[str, str], prefix: str, rng: random.Random
) -> list[dict]:
    """The rows of one post with one picture of a figure, two things that show relations and one that shows none."""
    cues = [RELATIONS[relation][2] for relation in shown]
    neutral = rng.choice(NEUTRAL_THINGS)
    things = [PERSON, *cues, neutral]
    image, objects = _draw(things, rng)
    entity = {thing: object_entity(one["name"], one["box"]) for thing, one in zip(things, objects, strict=True)}
    writer = next(one for one in entities if one["type"] == "person")
    # Without a figure there is no relation: half of the pictures pair the neutral thing with a cue instead.
    unrelated = rng.choice([(PERSON, neutral), (neutral, rng.choice(cues))])
    pairs = [(writer, entity[thing]) for thing in (*cues, neutral)]
    pairs += [(entity[head], entity[tail]) for head, tail in ((PERSON, cues[0]), (PERSON, cues[1]), unrelated)]
    return _rows(prefix, image, tokens, objects, pairs, [*shown, None] * 2)


def _rows(
    image_id: str,
    image: dict,
    tokens: list[str],
    objects: list[dict],
    pairs: list[tuple[dict, dict]],
    relations: list[str | None],
) -> list[dict]:
    return [
        {
            "id": f"{image_id}-{index}",
            "image": image,
            "image_id": image_id,
            "tokens": tokens,
            "head": head,
            "tail": tail,
            "objects": objects,
            "relation": relation or NEGATIVE_RELATION,
        }
        for index, ((head, tail), relation) in enumerate(zip(pairs, relations, strict=True))
    ]


def load_demo(seed: int = 0, num_train: int = 5400, num_validation: int = 540, num_test: int = 1080) -> DatasetDict:
    """Draws the demo set. The same arguments give the same rows; no post stands in two splits.

    Args:
        seed (int): decides posts and pictures.
        num_train, num_validation, num_test (int, 1 to 100,000): rows a split. A multiple of 540 (all kinds of post,
            each with all its pictures, and all pairs of things) balances the relations exactly.

    Returns:
        DatasetDict: "train", "validation" and "test" in the project's row schema, in random order; 2 to 6 rows share
        a picture, and with it their `image_id`.

    Raises:
        ValueError: if a split's number of rows lies outside that range.
    """
    features = dataset_features([NEGATIVE_RELATION, *RELATIONS])
    seen, splits = set(), {}
    # The training split comes last: its size then changes nothing in what is tested.
    for split, num_rows in (("test", num_test), ("validation", num_validation), ("train", num_train)):
        if not 1 <= num_rows <= 100_000:
            raise ValueError(f"The {split} split can have 1 to 100,000 rows, not {num_rows}.")
        rng = random.Random(f"{seed} {split}")
        rows, posts = [], _posts(seen, rng)
        num_post_rows = num_rows - num_rows // 2
        while len(rows) < num_post_rows:
            number, tokens, entities = next(posts)
            rows += _post_rows(tokens, entities, f"{split}-{number}", rng)
        del rows[num_post_rows:]
        thing_pairs = itertools.cycle(itertools.combinations(OBJECT_RELATIONS, 2))
        while len(rows) < num_rows:
            number, tokens, entities = next(posts)
            rows += _object_rows(tokens, entities, next(thing_pairs), f"{split}-{number}", rng)
        del rows[num_rows:]
        rng.shuffle(rows)
        splits[split] = Dataset.from_list(rows, features=features)
    return DatasetDict({split: splits[split] for split in SPLITS})


def _posts(seen: set[tuple[str, ...]], rng: random.Random) -> Iterator[tuple[int, list[str], list[dict]]]:
    """Yields numbered posts of all kinds in turn, none of which is in `seen`; they are put there."""
    for number, kinds in enumerate(itertools.cycle(POST_KINDS)):
        tokens, entities = _write_post(kinds, rng)
        while tuple(tokens) in seen:
            tokens, entities = _write_post(kinds, rng)
        seen.add(tuple(tokens))
        yield number, tokens, entities


def load_demo_descriptions() -> dict:
    """Returns the demo's relation descriptions: the content of `relations/demo.json`, checked."""
    return load_builtin_descriptions("demo")


def build_demo_tokenizer() -> BertTokenizer:
    """Returns a lower-case WordPiece tokenizer of the demo's words, spelling all other Latin words by letters."""
    texts = [*TEMPLATES, *NAMES, *itertools.chain(*NAMES.values()), "unknown"]
    for relation in load_demo_descriptions()["relations"].values():
        texts += relation["descriptions"]
    words = {word for text in texts for word, _ in BertPreTokenizer().pre_tokenize_str(text.lower())}
    letters = set(string.ascii_lowercase + string.digits)
    words |= letters | {"##" + letter for letter in letters} | set(string.punctuation)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    return BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)}, model_max_length=128)


def demo_image_processor() -> ViTImageProcessorPil:
    """Returns an image processor for 64 x 64 pixels."""
    return ViTImageProcessorPil(size={"height": 64, "width": 64})


def demo_backbone_configs() -> tuple[BertConfig, ViTConfig]:
    """Returns (text_config, vision_config) of backbones small enough to train from scratch on a CPU in minutes."""
    shared = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,  # 64 dimensions have none to spare
    }  # fmt: skip
    text_config = BertConfig(vocab_size=len(build_demo_tokenizer()), max_position_embeddings=128, **shared)
    vision_config = ViTConfig(image_size=64, patch_size=16, **shared)
    return text_config, vision_config
