"""The whole model against an independent one: Hugging Face's GPT-2, made small."""

import pytest
import torch

from gpt_from_scratch import GPTModel, generate_text_simple

transformers = pytest.importorskip(
    "transformers", reason='the comparison needs Hugging Face: pip install -e ".[dev]"'
)


def build_pair(cfg, randomize, *, tied=False):
    """Build theirs with telling weights, and ours with the same ones."""
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=cfg["vocab_size"],
            n_positions=cfg["context_length"],
            n_embd=cfg["emb_dim"],
            n_head=cfg["n_heads"],
            n_layer=cfg["n_layers"],
            tie_word_embeddings=tied,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
    )
    theirs = randomize(theirs).eval()
    ours = GPTModel(cfg).double().eval()
    if tied:
        ours.tie_weights()
    gpt2 = theirs.transformer
    layers = {
        "tok_emb": {"weight": gpt2.wte.weight},
        "pos_emb": {"weight": gpt2.wpe.weight},
        "final_norm": from_norm(gpt2.ln_f),
        "out_head": {"weight": theirs.lm_head.weight},
    }
    for index, block in enumerate(gpt2.h):
        name = f"trf_blocks.{index}"
        layers[f"{name}.norm1"] = from_norm(block.ln_1)
        layers[f"{name}.norm2"] = from_norm(block.ln_2)
        if not cfg["qkv_bias"]:  # theirs always has one
            torch.nn.init.zeros_(block.attn.c_attn.bias)
        # Queries, keys and values come out of one layer, side by side.
        qkv = from_conv1d(block.attn.c_attn)
        weights, biases = qkv["weight"].chunk(3), qkv["bias"].chunk(3)
        for part, weight, bias in zip(
            ("W_query", "W_key", "W_value"), weights, biases, strict=True
        ):
            layer = {"weight": weight, "bias": bias}
            if not cfg["qkv_bias"]:
                del layer["bias"]
            layers[f"{name}.att.{part}"] = layer
        layers[f"{name}.att.out_proj"] = from_conv1d(block.attn.c_proj)
        layers[f"{name}.ff.layers.0"] = from_conv1d(block.mlp.c_fc)
        layers[f"{name}.ff.layers.2"] = from_conv1d(block.mlp.c_proj)
    ours.load_state_dict(
        {
            f"{name}.{parameter}": value.detach()
            for name, layer in layers.items()
            for parameter, value in layer.items()
        }
    )
    return ours, theirs


def from_norm(norm):
    return {"scale": norm.weight, "shift": norm.bias}


def from_conv1d(layer):
    """Their linear layers hold the weight the other way round."""
    return {"weight": layer.weight.T, "bias": layer.bias}


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("batch_size", "num_tokens"), [(1, 1), (2, 4), (3, 7)])
def test_same_logits(small_config, randomize, qkv_bias, tied, batch_size, num_tokens):
    cfg = {**small_config, "qkv_bias": qkv_bias}
    ours, theirs = build_pair(cfg, randomize, tied=tied)
    generator = torch.Generator().manual_seed(123)
    ids = torch.randint(53, (batch_size, num_tokens), generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(ids), theirs(ids).logits, rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_same_gradients(small_config, randomize, qkv_bias):
    """Of the two embeddings: through every layer of the model."""
    cfg = {**small_config, "qkv_bias": qkv_bias}
    ours, theirs = build_pair(cfg, randomize)
    ids = torch.tensor([[1, 52, 3, 3], [0, 4, 5, 6]])
    ours(ids).square().sum().backward()
    theirs(ids).logits.square().sum().backward()
    gpt2 = theirs.transformer
    for layer, their_layer in [(ours.tok_emb, gpt2.wte), (ours.pos_emb, gpt2.wpe)]:
        torch.testing.assert_close(
            layer.weight.grad, their_layer.weight.grad, rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_same_greedy_tokens(small_config, randomize, qkv_bias):
    """Twenty, within the context: theirs does not crop."""
    cfg = {**small_config, "qkv_bias": qkv_bias, "context_length": 24}
    ours, theirs = build_pair(cfg, randomize)
    gpt2 = theirs.transformer
    with torch.no_grad():  # large embeddings, so that it does not repeat itself
        for layer in (ours.tok_emb, ours.pos_emb, gpt2.wte, gpt2.wpe):
            layer.weight.mul_(20)
    ids = torch.tensor([[1, 52, 3], [0, 4, 5], [9, 9, 9], [20, 30, 40]])
    expected = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=20,
        do_sample=False,
    )
    found = generate_text_simple(ours, ids, 20, context_size=24)
    assert torch.equal(found, expected)
    assert found.shape == (4, 23)
    assert found[:, 3:].unique().numel() > 5
