# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Encoders of other models: where they come from, which can serve, and what of them is kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import WRITER
from hub_store import Blob
from transformers import (
    Aimv2VisionConfig,
    AutoModel,
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    ConvNextConfig,
    DistilBertConfig,
    GPT2Config,
    GPT2Model,
    MPNetConfig,
    PixtralVisionConfig,
    ResNetConfig,
    RobertaConfig,
    RobertaModel,
    Siglip2VisionConfig,
    SiglipVisionConfig,
    SwinConfig,
    T5Config,
    ViltConfig,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
)

from modeling_roc import RocConfig, RocModel
from processing_roc import RocProcessor

ROOT = Path(__file__).parents[1]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXT = {"vocab_size": 300, **SMALL}
VISION = {"image_size": 64, "patch_size": 16, **SMALL}
# Loads a model of encoders of a Hub, as a user with another folder as home: prints what came of each case.
USER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from modeling_roc import RocModel
for case in map(json.loads, sys.argv[2:]):
    try:
        model = RocModel.from_encoders_pretrained("ann/text", "ann/vision", projection_dim=16, **case)
    except OSError as error:
        print(json.dumps({"error": str(error)}))
        continue
    model.save_pretrained("saved")
    encoders = model.pair_encoder.text_encoder, model.pair_encoder.vision_encoder
    sums = [float(sum(p.abs().sum() for p in encoder.parameters())) for encoder in encoders]
    print(json.dumps({"sums": sums, "config": open("saved/config.json").read(), "dtype": str(model.dtype)}))
"""


@pytest.fixture
def saved(tmp_path):
    """Folders of a text and a vision encoder."""
    torch.manual_seed(0)
    BertModel(BertConfig(**TEXT)).save_pretrained(tmp_path / "text")
    ViTModel(ViTConfig(**VISION)).save_pretrained(tmp_path / "vision")
    return str(tmp_path / "text"), str(tmp_path / "vision")


def make(config, **settings) -> RocModel:
    is_text = hasattr(config, "vocab_size")
    parts = {"text_config": config} if is_text else {"text_config": BertConfig(**TEXT), "vision_config": config}
    return RocModel(RocConfig(projection_dim=16, **parts, **settings)).eval()


# ---- which can serve


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (T5Config(d_model=32, num_layers=1, num_heads=2, d_ff=64), "text_config: t5 has a decoder"),
        (
            T5Config(d_model=32, num_layers=1, num_heads=2, d_ff=64, is_encoder_decoder=False),
            r"T5Model \(t5\) cannot be the text encoder",
        ),
        (BartConfig(d_model=32, encoder_layers=1, decoder_layers=1), "text_config: bart has a decoder"),
        (GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2), "knows nothing of the tokens after it"),
        (ViTMAEConfig(**VISION), r"ViTMAEModel \(vit_mae\) .* other vectors for the same input"),
        (ViTMAEConfig(**VISION, mask_ratio=0.0), "other vectors for the same input"),
        (
            PixtralVisionConfig(**VISION),
            r"PixtralVisionModel .* last_hidden_state is \(1, 32, 32\), and not \(batch, num_",
        ),
        (ResNetConfig(hidden_sizes=[8, 16], depths=[1, 1]), "vision_config: resnet has no hidden_size"),
        (ConvNextConfig(hidden_sizes=[8] * 4, depths=[1] * 4), "vision_config: convnext has no hidden_size"),
        (Siglip2VisionConfig(**SMALL), r"Siglip2VisionModel .* cannot be the vision encoder: .*spatial_shapes"),
        (ViltConfig(**{**VISION, "vocab_size": 50}), r"ViltModel \(vilt\) cannot be the text encoder"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_an_encoder_that_cannot_serve_is_named(config, message):
    with pytest.raises(ValueError, match=message):
        make(config)


def test_objects_need_a_vector_for_each_patch():
    config = SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    assert make(config).pair_encoder.vision_encoder is not None
    with pytest.raises(ValueError, match=r"SwinModel \(swin\) .* 16 × 16 patches, but 64 vectors"):
        make(config, object_features="roi")


def test_a_pretrained_encoder_that_cannot_serve_is_named(saved, tmp_path):
    text, vision = saved
    ViTMAEModel(ViTMAEConfig(**VISION)).save_pretrained(tmp_path / "mae")
    with pytest.raises(ValueError, match="ViTMAEModel"):
        RocModel.from_encoders_pretrained(text, str(tmp_path / "mae"))
    with pytest.raises(ValueError, match=r"ViTModel \(vit\) cannot be the vision|vit has no vocab_size"):
        RocModel.from_encoders_pretrained(vision)
    with pytest.raises(ValueError, match=r"BertModel \(bert\) cannot be the vision encoder"):
        RocModel.from_encoders_pretrained(text, text)
    GPT2Model(GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="GPT2Model"):
        RocModel.from_encoders_pretrained(str(tmp_path / "gpt2"))


def test_weights_that_a_checkpoint_lacks_are_told(tmp_path):
    """Of a head that is not used they may be missing: a language model's checkpoint has no pooler."""
    BertForMaskedLM(BertConfig(**TEXT)).save_pretrained(tmp_path)
    RocModel.from_encoders_pretrained(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"no weights for 16 parts of BertModel, such as encoder\.layer\.2\."):
        RocModel.from_encoders_pretrained(str(tmp_path))


def test_a_frozen_encoder_stays_frozen_and_trying_draws_no_random_number():
    encoder = BertModel(BertConfig(**TEXT)).requires_grad_(False)
    state = torch.get_rng_state()
    config = RocConfig(text_config=encoder.config, projection_dim=16)
    model = RocModel(config, text_encoder=encoder)
    assert not any(one.requires_grad for one in model.pair_encoder.text_encoder.parameters())
    assert encoder.training
    torch.set_rng_state(state)
    again = RocModel(RocConfig(text_config=BertConfig(**TEXT), projection_dim=16), text_encoder=encoder)
    assert torch.equal(again.pair_projection.weight, model.pair_projection.weight)


# ---- how long a text may be


@pytest.mark.parametrize(
    ("config", "number"),
    [
        (BertConfig(**TEXT, max_position_embeddings=24), 24),
        (RobertaConfig(**TEXT, max_position_embeddings=26), 24),
        (MPNetConfig(**TEXT, max_position_embeddings=26), 24),
        (DistilBertConfig(vocab_size=300, dim=32, n_layers=1, n_heads=2, max_position_embeddings=24), 24),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_texts_beyond_an_encoders_positions_are_refused(processor, batch, config, number):
    model = make(config)
    relations = {"a": "Head likes tail.", "b": "Nothing."}
    with pytest.raises(ValueError, match=f"max_length=64 tokens, but the text encoder has positions for {number}"):
        model.set_relations(relations, processor)
    model.set_relations(relations, RocProcessor(None, processor.tokenizer, max_length=number))
    ids = torch.ones(1, number, dtype=torch.long) * 9
    pair = {name: torch.tensor([place]) for name, place in (("head_index", 1), ("tail_index", 5))}
    pair |= {"head_span": torch.tensor([[2, 3]]), "tail_span": torch.tensor([[6, 7]])}
    assert model(input_ids=ids, **pair).logits.isfinite().all()
    with pytest.raises(ValueError, match=f"has {number + 1} tokens, .* give the processor max_length={number}"):
        model(input_ids=torch.ones(1, number + 1, dtype=torch.long), **pair)


# ---- what is kept


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (BertConfig(**TEXT), "pooler"),
        (CLIPVisionConfig(**VISION), "post_layernorm"),
        (SiglipVisionConfig(**VISION), "head"),
        (Aimv2VisionConfig(**VISION), "head"),
        (ViTConfig(**VISION), "pooler"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_no_token_vector_comes_from_is_neither_kept_nor_saved(processor, batch, tmp_path, config, part):
    whole = AutoModel.from_config(config).eval()
    is_text = hasattr(config, "vocab_size")
    parts = {"text_config": config if is_text else BertConfig(**TEXT)}
    encoders = {"text_encoder": whole} if is_text else {"vision_encoder": whole}
    inputs = {"input_ids": batch["input_ids"]} if is_text else {"pixel_values": batch["pixel_values"]}
    with torch.no_grad():
        expected = whole(**inputs).last_hidden_state
    number = sum(one.numel() for one in getattr(whole, part).parameters())
    before = sum(one.numel() for one in whole.parameters())
    settings = parts if is_text else {**parts, "vision_config": config}
    model = RocModel(RocConfig(projection_dim=16, **settings), **encoders).eval()
    model.set_relations({"a": "Head likes tail.", "b": "Nothing."}, processor)
    assert number and before - sum(one.numel() for one in whole.parameters()) == number
    with torch.no_grad():
        assert torch.allclose(whole(**inputs).last_hidden_state, expected, atol=1e-5)
    batch = {**batch, "labels": torch.tensor([0, 1, 0, -100])}
    pair = batch if not is_text else {k: v for k, v in batch.items() if k not in ("pixel_values", "image_index")}
    model.train()(**pair).loss.backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []
    model.eval().save_pretrained(tmp_path)
    loaded, info = RocModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        assert torch.allclose(loaded.eval()(**pair).logits, model(**pair).logits, atol=1e-4)


class Detached(BertModel):
    """Lets no gradient through, though all of it is used."""

    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.last_hidden_state = outputs.last_hidden_state.detach()
        return outputs


def test_a_part_without_gradient_that_is_used_is_kept():
    encoder = Detached(BertConfig(**TEXT))
    names = list(encoder.state_dict())
    RocModel(RocConfig(text_config=encoder.config, projection_dim=16), text_encoder=encoder)
    assert list(encoder.state_dict()) == names


# ---- where they come from


def test_arguments_reach_what_they_are_for(saved):
    text, vision = saved
    model = RocModel.from_encoders_pretrained(
        text, vision, share_relation_encoder=False, temperature=0.2, pair_dropout=0.25,
        text_hidden_dropout_prob=0.3, vision_hidden_dropout_prob=0.4, attn_implementation="eager",
        token="hf_secret", text_token="hf_secret", text_revision="main", local_files_only=True,
        trust_remote_code=False,
    )  # fmt: skip
    for word in ("hf_secret", "revision", "trust_remote_code", "local_files_only"):
        assert word not in model.config.to_json_string(use_diff=False)
    config = model.config
    assert (config.temperature, config.pair_dropout) == (0.2, 0.25)
    assert config.text_config.hidden_dropout_prob == config.relation_config.hidden_dropout_prob == 0.3
    assert config.vision_config.hidden_dropout_prob == 0.4
    dropouts = {module.p for module in model.pair_encoder.vision_encoder.modules() if hasattr(module, "p")}
    assert 0.4 in dropouts and config.text_config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temprature", "from_encoders_pretrained takes no temprature"),
        ("text_config", "takes no text_config"),
        ("relation_config", "takes no relation_config"),
        ("text_hiden_dropout_prob", r"text \(bert\) takes no hiden_dropout_prob"),
        ("vision_patchsize", r"vision \(vit\) takes no patchsize"),
        ("text_dtype", r"text \(bert\) takes no dtype"),
        ("use_auth", "takes no use_auth"),
    ],
)
def test_an_argument_that_is_for_nothing_is_named(saved, name, message):
    with pytest.raises(TypeError, match=message):
        RocModel.from_encoders_pretrained(*saved, **{name: 0.1})
    with pytest.raises(TypeError, match="vision_ need vision_model_name_or_path"):
        RocModel.from_encoders_pretrained(saved[0], vision_patch_size=8)


def test_dtypes(saved, tmp_path):
    for given in ({"dtype": "bfloat16"}, {"dtype": torch.bfloat16}, {"torch_dtype": torch.bfloat16}):
        model = RocModel.from_encoders_pretrained(*saved, **given)
        assert {one.dtype for one in model.pair_encoder.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="'bfloat15'"):
        RocModel.from_encoders_pretrained(*saved, dtype="bfloat15")
    RobertaModel(RobertaConfig(**TEXT)).half().save_pretrained(tmp_path / "half")
    model = RocModel.from_encoders_pretrained(str(tmp_path / "half"), saved[1], dtype="auto")
    assert {one.dtype for one in model.pair_encoder.parameters()} == {torch.float16}
    assert RocModel.from_encoders_pretrained(*saved, dtype="auto").dtype == torch.float32


def test_the_vision_tower_of_a_model_of_both(saved, tmp_path):
    config = CLIPConfig(text_config=SMALL, vision_config=VISION, projection_dim=16)
    both = CLIPModel(config)
    both.save_pretrained(tmp_path / "clip")
    model = RocModel.from_encoders_pretrained(saved[0], str(tmp_path / "clip"))
    weights = model.pair_encoder.vision_encoder.state_dict()
    theirs = both.vision_model.state_dict()
    assert all(torch.equal(weights[name], theirs[name]) for name in weights) and len(weights) > 30
    with pytest.raises(ValueError, match="clip has no"):
        RocModel.from_encoders_pretrained(str(tmp_path / "clip"))


@pytest.mark.slow
def test_a_private_hub_and_its_revisions(hub, saved, tmp_path):
    """The token opens private encoders and is written nowhere; each encoder may have a revision of its own."""
    for name, folder in zip(("text", "vision"), saved, strict=True):
        repo = hub.create("model", f"ann/{name}", private=True)
        for branch, scale in (("main", 1.0), ("doubled", 2.0)):
            encoder = AutoModel.from_pretrained(folder)
            for parameter in encoder.parameters():
                parameter.data.mul_(scale)
            encoder.save_pretrained(tmp_path / branch)
            files = {path.name: Blob(path.read_bytes(), False) for path in (tmp_path / branch).iterdir()}
            repo.commit(branch, "weights", files)
    cases = [
        {},
        {"token": WRITER},
        {"token": WRITER, "revision": "doubled", "torch_dtype": "bfloat16"},
        {"token": WRITER, "vision_revision": "doubled"},
        {"token": WRITER, "local_files_only": True},
    ]
    process = subprocess.run(
        [sys.executable, "-c", USER, str(ROOT), *map(json.dumps, cases)],
        cwd=tmp_path,
        env=hub.environment(tmp_path / "home", token=None),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    refused, plain, doubled, mixed, local = map(json.loads, process.stdout.splitlines())
    assert "ann/text" in refused["error"]
    (text, vision), (twice_text, twice_vision) = plain["sums"], doubled["sums"]
    assert twice_text / text == pytest.approx(2, rel=1e-2) and twice_vision / vision == pytest.approx(2, rel=1e-2)
    assert mixed["sums"][0] == text and mixed["sums"][1] / vision == pytest.approx(2, rel=1e-6)
    assert local["sums"] == plain["sums"]
    assert (plain["dtype"], doubled["dtype"]) == ("torch.float32", "torch.bfloat16")
    for answer in (plain, doubled, mixed):
        assert WRITER not in answer["config"] and "revision" not in answer["config"]
