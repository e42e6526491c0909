"""Section 4.1: the configuration, the checks of token ids, and the outline."""

from types import MappingProxyType

import pytest
import torch
from torch import nn

from gpt_from_scratch import (
    GPT2_CONFIGS,
    GPT3_CONFIG,
    GPT_CONFIG_124M,
    DummyGPTModel,
    DummyLayerNorm,
    DummyTransformerBlock,
    FeedForward,
    GPTModel,
    TransformerBlock,
    load_tokenizer,
    validate_config,
)
from gpt_from_scratch.llm_architecture import require_int, validate_token_ids

KEYS = "vocab_size context_length emb_dim n_heads n_layers drop_rate qkv_bias".split()
MODELS = [DummyGPTModel, GPTModel]


# Configurations


def test_gpt_config_124m():
    assert GPT_CONFIG_124M == {
        "vocab_size": 50257,
        "context_length": 1024,
        "emb_dim": 768,
        "n_heads": 12,
        "n_layers": 12,
        "drop_rate": 0.1,
        "qkv_bias": False,
    }


@pytest.mark.parametrize(
    ("name", "emb_dim", "n_heads", "n_layers"),
    [
        ("gpt2", 768, 12, 12),
        ("gpt2-medium", 1024, 16, 24),
        ("gpt2-large", 1280, 20, 36),
        ("gpt2-xl", 1600, 25, 48),
    ],
)
def test_gpt2_family(name, emb_dim, n_heads, n_layers):
    changed = {"emb_dim": emb_dim, "n_heads": n_heads, "n_layers": n_layers}
    assert GPT2_CONFIGS[name] == {**GPT_CONFIG_124M, **changed}


def test_gpt2_family_has_four_members():
    assert list(GPT2_CONFIGS) == ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]


def test_gpt3_is_the_largest_of_table_2_1():
    assert GPT3_CONFIG == {
        **GPT_CONFIG_124M,
        "context_length": 2048,
        "emb_dim": 12288,
        "n_heads": 96,
        "n_layers": 96,
    }


@pytest.mark.parametrize(
    "cfg", [*GPT2_CONFIGS.values(), GPT3_CONFIG], ids=[*GPT2_CONFIGS, "gpt3"]
)
def test_known_configurations_are_valid_and_in_the_books_order(cfg):
    validate_config(cfg)
    assert list(cfg) == KEYS


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict.fromkeys(KEYS[:5], 1),
        {"n_heads": 12},
        {"drop_rate": 0},
        {"drop_rate": 0.999},
        {"qkv_bias": True},
    ],
)
def test_valid_configurations_pass_unchanged(small_config, change):
    cfg = {**small_config, **change}
    before = dict(cfg)
    validate_config(cfg)
    assert cfg == before


def test_any_mapping_is_a_configuration(small_config):
    validate_config(MappingProxyType(small_config))


@pytest.mark.parametrize("key", KEYS[:5])
@pytest.mark.parametrize("value", [0, -3, 4.0, True, "12", None])
def test_sizes_are_positive_integers(small_config, key, value):
    message = rf"^cfg\['{key}'\] must be an integer >= 1, got {value!r}$"
    with pytest.raises(ValueError, match=message):
        validate_config({**small_config, key: value})


@pytest.mark.parametrize(
    "value", [1, 1.0, -0.1, 10, float("nan"), float("inf"), "0.1", None, True, False]
)
def test_drop_rate_is_a_fraction(small_config, value):
    message = rf"^cfg\['drop_rate'\] must be a number in \[0, 1\), got {value!r}$"
    with pytest.raises(ValueError, match=message):
        validate_config({**small_config, "drop_rate": value})


@pytest.mark.parametrize("value", [0, 1, "False", None, 0.0])
def test_qkv_bias_is_true_or_false(small_config, value):
    message = rf"^cfg\['qkv_bias'\] must be True or False, got {value!r}$"
    with pytest.raises(ValueError, match=message):
        validate_config({**small_config, "qkv_bias": value})


@pytest.mark.parametrize("n_heads", [5, 24])
def test_heads_take_equal_shares(small_config, n_heads):
    message = (
        r"^cfg\['emb_dim'\] must be divisible by cfg\['n_heads'\], got 12 and "
        rf"{n_heads}: each head takes an equal share$"
    )
    with pytest.raises(ValueError, match=message):
        validate_config({**small_config, "n_heads": n_heads})


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_needed(small_config, key):
    cfg = {name: value for name, value in small_config.items() if name != key}
    message = rf"^cfg lacks \['{key}'\]; start from a copy .*GPT_CONFIG_124M, '{key}'"
    with pytest.raises(ValueError, match=message):
        validate_config(cfg)


def test_all_missing_keys_are_named():
    with pytest.raises(ValueError, match=r"^cfg lacks \['vocab_size', .*'qkv_bias'\];"):
        validate_config({})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("emb_dims", r"did you mean 'emb_dim'\?"),
        ("n_head", r"did you mean 'n_heads'\?"),
        ("dropout_rate", r"did you mean 'drop_rate'\?"),
        ("xyz", r"the keys are \['vocab_size', .*'qkv_bias'\]"),
        (5, r"the keys are \['vocab_size', .*'qkv_bias'\]"),
    ],
)
def test_unknown_key(small_config, key, hint):
    """Named even when a key is missing too: a misspelt one is both."""
    with pytest.raises(ValueError, match=rf"^cfg has an unknown key {key!r}; {hint}$"):
        validate_config({**small_config, key: 1})
    with pytest.raises(ValueError, match="unknown key"):
        validate_config({key: 1})


@pytest.mark.parametrize(
    ("cfg", "kind"), [(None, "NoneType"), ([], "list"), ("gpt2", "str"), (12, "int")]
)
def test_configuration_is_a_dictionary(cfg, kind):
    with pytest.raises(TypeError, match=f"^cfg must be a dictionary, got {kind}$"):
        validate_config(cfg)


@pytest.mark.parametrize("component", [*MODELS, FeedForward, TransformerBlock])
def test_components_check_their_configuration(small_config, component):
    with pytest.raises(ValueError, match="must be divisible by"):
        component({**small_config, "n_heads": 5})


# Integer arguments


@pytest.mark.parametrize("value", [2, 3, 10**20])
def test_require_int_passes(value):
    require_int("size", value, at_least=2)


@pytest.mark.parametrize("value", [1, 0, -5])
def test_require_int_too_small(value):
    with pytest.raises(ValueError, match=f"^size must be at least 2, got {value}$"):
        require_int("size", value, at_least=2)


@pytest.mark.parametrize("value", [2.0, True, "2", None, torch.tensor(2)])
def test_require_int_other_type(value):
    with pytest.raises(TypeError, match=r"^size must be an integer, got "):
        require_int("size", value, at_least=0)


# Token ids, checked by both models alike


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([[1, 2]], TypeError, r"^token ids must be a tensor, got list; use torch\.ten"),
        (
            torch.tensor([[1.0]]),
            TypeError,
            r"must be torch\.int64 or torch\.int32, got torch\.float32.*ids\.long\(\)",
        ),
        (
            torch.tensor([[True]]),
            TypeError,
            r"must be torch\.int64 or torch\.int32, got torch\.bool",
        ),
        (
            torch.tensor([[1j]]),
            TypeError,
            r"must be torch\.int64 or torch\.int32, got torch\.complex64",
        ),
        (torch.tensor([[1]], dtype=torch.int16), TypeError, r"got torch\.int16"),
        (torch.tensor([1, 2]), ValueError, r"got \(2,\); add .*ids\.unsqueeze\(0\)$"),
        (torch.tensor(1), ValueError, r"must have shape \(batch, tokens\), got \(\)$"),
        (torch.ones(1, 2, 3).long(), ValueError, r"tokens\), got \(1, 2, 3\)$"),
        (torch.ones(2, 0).long(), ValueError, r"no token: shape \(2, 0\); .*50256$"),
        (
            torch.ones(1, 8).long(),
            ValueError,
            r"^8 tokens are more than context_length=7; .*last ones: ids\[:, -7:\]$",
        ),
        (
            torch.tensor([[0, 53]]),
            ValueError,
            r"^token id 53 is not in the vocabulary: ids go from 0 to 52 "
            r"\(vocab_size=53\); .*tokenizer of another model\?$",
        ),
        (torch.tensor([[0], [-1]]), ValueError, r"^token id -1 is not in the vocab"),
        (torch.tensor([[60, -2, 3]]), ValueError, r"^token id -2 is not in the vocab"),
    ],
)
def test_wrong_token_ids(small_config, model_class, ids, error, message):
    with pytest.raises(error, match=message):
        model_class(small_config)(ids)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_extreme_ids_and_lengths_that_are_still_right(small_config, model_class, dtype):
    """The first and the last id; one token, and exactly context_length."""
    model = model_class(small_config)
    for shape in [(2, 1), (2, 7)]:
        for token_id in (0, 52):
            ids = torch.full(shape, token_id, dtype=dtype)
            assert model(ids).shape == (*shape, 53)


def test_without_bounds_any_id_and_length_is_right():
    validate_token_ids(torch.tensor([[-1, 10**9] * 5000]))


def test_a_batch_of_no_texts_holds_no_wrong_id():
    validate_token_ids(torch.ones(0, 3, dtype=torch.int64), vocab_size=1)


def test_ids_on_the_meta_device_have_no_values_to_check():
    validate_token_ids(torch.ones(1, 2, dtype=torch.int64, device="meta"), vocab_size=1)


@pytest.mark.parametrize("model_class", MODELS)
def test_positions_are_counted_on_the_device_of_the_ids(small_config, model_class):
    model = model_class(small_config).to("meta")
    seen = []
    model.pos_emb.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.ones(2, 3, dtype=torch.int64, device="meta"))
    assert [positions.device.type for positions in seen] == ["meta"]


# The outline


def test_token_ids_of_the_two_texts():
    tokenizer = load_tokenizer()
    texts = ["Every effort moves you", "Every day holds a"]
    ids = [tokenizer.encode(text) for text in texts]
    assert ids == [[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]]


def test_published_shape():
    model = DummyGPTModel(GPT_CONFIG_124M)
    ids = torch.tensor([[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]])
    assert model(ids).shape == (2, 4, 50257)


def test_placeholders_return_their_input(small_config):
    x = torch.randn(2, 3, 12)
    assert DummyTransformerBlock(small_config)(x) is x
    assert DummyLayerNorm(12)(x) is x
    assert DummyLayerNorm(12, eps=1e-3)(x) is x


def test_logits_are_the_sum_of_two_embeddings_times_the_head(small_config, randomize):
    model = randomize(DummyGPTModel(small_config)).eval()
    ids = torch.tensor([[5, 0, 52, 5], [7, 7, 1, 2]])
    logits = model(ids)
    for b in range(2):
        for t in range(4):
            x = model.tok_emb.weight[ids[b, t]] + model.pos_emb.weight[t]
            torch.testing.assert_close(logits[b, t], model.out_head.weight @ x)


def test_order_of_creation():
    """Token embedding, position embedding, head: each gets its seeded numbers."""
    cfg = {**GPT_CONFIG_124M, "vocab_size": 5, "context_length": 3}
    torch.manual_seed(123)
    model = DummyGPTModel(cfg)
    torch.manual_seed(123)
    expected = [nn.Embedding(5, 768), nn.Embedding(3, 768), nn.Linear(768, 5)]
    found = [model.tok_emb, model.pos_emb, model.out_head]
    for layer, layer_expected in zip(found, expected, strict=True):
        assert torch.equal(layer.weight, layer_expected.weight)


def test_parts_of_the_outline(small_config):
    model = DummyGPTModel({**small_config, "drop_rate": 0.3})
    names = "tok_emb pos_emb drop_emb trf_blocks final_norm out_head".split()
    assert [name for name, _ in model.named_children()] == names
    assert len(model.trf_blocks) == 2
    assert all(isinstance(part, DummyTransformerBlock) for part in model.trf_blocks)
    assert isinstance(model.final_norm, DummyLayerNorm)
    assert model.drop_emb.p == 0.3
    assert [name for name, _ in model.named_parameters()] == [
        "tok_emb.weight",
        "pos_emb.weight",
        "out_head.weight",
    ]


def test_dropout_only_in_training(small_config):
    torch.manual_seed(123)
    model = DummyGPTModel({**small_config, "drop_rate": 0.5})
    ids = torch.tensor([[1, 2, 3]])
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_have_the_parameters_type(small_config, dtype):
    model = DummyGPTModel(small_config).to(dtype)
    assert model(torch.tensor([[1, 2]])).dtype == dtype


def test_outline_on_the_meta_device(small_config):
    model = DummyGPTModel(small_config).to("meta")
    logits = model(torch.ones(2, 7, dtype=torch.int64, device="meta"))
    assert logits.shape == (2, 7, 53)
    assert logits.is_meta


def test_outline_compiles_to_one_graph(small_config, compiled):
    model = DummyGPTModel(small_config).eval()
    ids = torch.tensor([[1, 2, 3], [4, 5, 52]])
    assert torch.equal(compiled(model)(ids), model(ids))
