"""Section 4.7: the key-value cache."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_from_scratch import (
    GPT_CONFIG_124M,
    GPTConfig,
    GPTModel,
    KVCache,
    MultiHeadAttention,
    TransformerBlock,
    kv_cache_bytes_per_token,
)


def draw_ids(shape, vocab_size, seed=123):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, shape, generator=generator)


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_same_logits_however_the_text_is_cut(randomize, cfg, data):
    """Of every position, with the text given in pieces of any length."""
    model = randomize(GPTModel(cfg), seed=data.draw(st.integers(0, 99))).eval()
    num_tokens = data.draw(st.integers(1, cfg["context_length"]))
    batch_size = data.draw(st.integers(1, 3))
    ids = draw_ids((batch_size, num_tokens), cfg["vocab_size"])
    cache = KVCache(cfg, batch_size, dtype=torch.float64)
    pieces = []
    with torch.no_grad():
        expected = model(ids)
        while cache.num_tokens < num_tokens:
            start = cache.num_tokens
            end = start + data.draw(st.integers(1, num_tokens - start))
            pieces.append(model(ids[:, start:end], cache=cache))
            assert cache.num_tokens == end
    torch.testing.assert_close(
        torch.cat(pieces, dim=1), expected, rtol=1e-10, atol=1e-10
    )


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_same_logits_at_every_step_in_float32(cfg, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    model = GPTModel(cfg).eval()
    ids = draw_ids((2, cfg["context_length"]), cfg["vocab_size"])
    prompt = data.draw(st.integers(1, cfg["context_length"]))
    cache = KVCache(cfg, batch_size=2)
    with torch.no_grad():
        found = [model(ids[:, :prompt], cache=cache)]
        for t in range(prompt, cfg["context_length"]):
            found.append(model(ids[:, t : t + 1], cache=cache, last_only=True))
        torch.testing.assert_close(
            torch.cat(found, dim=1), model(ids), rtol=1e-4, atol=1e-5
        )


def test_same_logits_at_full_size(model_124m):
    ids = draw_ids((2, 40), 50257)
    cache = KVCache(GPT_CONFIG_124M, batch_size=2, max_tokens=40)
    with torch.no_grad():
        model_124m(ids[:, :20], cache=cache)
        model_124m(ids[:, 20:39], cache=cache)
        found = model_124m(ids[:, 39:], cache=cache)
        expected = model_124m(ids)[:, -1:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_only_the_new_tokens_are_computed(small_config):
    """In every block: their number is what each block is given."""
    model = GPTModel(small_config).eval()
    seen = []
    for block in model.trf_blocks:
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    cache = KVCache(small_config)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]), cache=cache)
        model(torch.tensor([[4]]), cache=cache)
    assert seen == [3, 3, 1, 1]


def test_what_it_holds(small_config, randomize):
    """Each head's keys and values, worked out from the layers, in order."""
    block = randomize(TransformerBlock(small_config)).eval()
    att = block.att
    x = torch.rand(2, 5, 12, dtype=torch.float64)
    cache = KVCache(small_config, 2, dtype=torch.float64)
    with torch.no_grad():
        att(x[:, :2], cache, 1)
        cache.num_tokens = 2
        att(x[:, 2:], cache, 1)
        keys, values = att.W_key(x), att.W_value(x)
    for head in range(3):
        share = slice(4 * head, 4 * (head + 1))
        torch.testing.assert_close(cache.keys[1, :, head, :5], keys[..., share])
        torch.testing.assert_close(cache.values[1, :, head, :5], values[..., share])


def test_memory_is_reserved_once(small_config):
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config)
    places = cache.keys.data_ptr(), cache.values.data_ptr()
    with torch.no_grad():
        for token in range(7):
            model(torch.tensor([[token]]), cache=cache)
    assert (cache.keys.data_ptr(), cache.values.data_ptr()) == places
    assert cache.num_tokens == cache.max_tokens == 7


def test_size(small_config):
    """2 layers, 3 heads of 4 features; bytes as ``model_size`` tells them."""
    cache = KVCache(small_config, 5, max_tokens=6, dtype=torch.bfloat16)
    assert cache.keys.shape == cache.values.shape == (2, 5, 3, 6, 4)
    assert cache.keys.dtype == cache.values.dtype == torch.bfloat16
    assert cache.keys.nbytes + cache.values.nbytes == 5 * 6 * kv_cache_bytes_per_token(
        small_config, torch.bfloat16
    )
    assert KVCache(small_config).max_tokens == 7
    meta = KVCache(GPT_CONFIG_124M, device="meta")
    assert meta.keys.device.type == meta.values.device.type == "meta"


def test_reset_begins_anew(small_config):
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config)
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[9, 8]])
    with torch.no_grad():
        model(first, cache=cache)
        cache.reset()
        assert cache.num_tokens == 0
        torch.testing.assert_close(model(second, cache=cache), model(second))
    assert cache.num_tokens == 2


def test_two_texts_with_a_cache_each(small_config):
    """Nothing is kept in the model: the two do not meet."""
    model = GPTModel(small_config).eval()
    texts = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[9, 8, 7, 6]])
    caches = KVCache(small_config), KVCache(small_config)
    with torch.no_grad():
        for t in range(4):
            found = [
                model(text[:, t : t + 1], cache=cache)
                for text, cache in zip(texts, caches, strict=True)
            ]
        for text, logits in zip(texts, found, strict=True):
            torch.testing.assert_close(logits, model(text)[:, -1:])


def test_the_model_without_a_cache_is_the_same_as_before(small_config):
    model = GPTModel(small_config).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = model(ids)
        model(ids, cache=KVCache(small_config))
        assert torch.equal(model(ids), expected)


def test_a_pass_that_is_broken_off_changes_nothing(small_config):
    """Such as by Ctrl + C between two layers."""
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        model(ids[:, :2], cache=cache)

        def interrupt(*_):
            raise KeyboardInterrupt

        hook = model.trf_blocks[1].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(ids[:, 2:], cache=cache)
        hook.remove()
        assert cache.num_tokens == 2
        found = model(ids[:, 2:], cache=cache)
        torch.testing.assert_close(found, model(ids)[:, 2:])


def test_last_only(small_config):
    model = GPTModel(small_config).eval()
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = model(ids, last_only=True)
    assert found.shape == (2, 1, 53)
    torch.testing.assert_close(found, model(ids)[:, -1:])


def test_last_only_spares_the_output_layer_the_rest(small_config):
    model = GPTModel(small_config).eval()
    seen = []
    model.out_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    model(torch.tensor([[1, 2, 3]]), last_only=True)
    assert seen == [(1, 1, 12)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_types(small_config, dtype):
    torch.manual_seed(123)
    model = GPTModel(small_config).to(dtype).eval()
    cache = KVCache(small_config, dtype=dtype)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        model(ids[:, :3], cache=cache)
        found = model(ids[:, 3:], cache=cache)
        assert found.dtype == dtype
        torch.testing.assert_close(found, model(ids)[:, -1:], rtol=0.05, atol=0.05)


def test_inference_mode(small_config):
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        model(ids[:, :2], cache=cache)
        torch.testing.assert_close(model(ids[:, 2:], cache=cache), model(ids)[:, 2:])


# Errors. Each leaves the cache as it was.


def check_refused(model, ids, cache, error, message):
    before = cache.num_tokens
    with torch.no_grad(), pytest.raises(error, match=message):
        model(ids, cache=cache)
    assert cache.num_tokens == before


def test_full(small_config):
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config, max_tokens=4)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]), cache=cache)
    check_refused(
        model,
        torch.tensor([[4, 5]]),
        cache,
        ValueError,
        "^the cache is full: it has room for max_tokens=4, holds 3 and is to take 2 ",
    )
    with torch.no_grad():
        model(torch.tensor([[4]]), cache=cache)


def test_more_tokens_than_positions(small_config):
    model = GPTModel(small_config).eval()
    cache = KVCache(small_config)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3, 4, 5]]), cache=cache)
    check_refused(
        model,
        torch.tensor([[6, 7, 8]]),
        cache,
        ValueError,
        "^5 tokens in the cache and 3 more are more than context_length=7$",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3}, "^the cache was made for batch_size=3, got a batch of 2$"),
        (
            {"dtype": torch.bfloat16},
            r"^the cache holds torch\.bfloat16 on cpu, the model computes "
            r"torch\.float32 on cpu; give KVCache the model's dtype and device$",
        ),
        ({"device": "meta"}, r"^the cache holds torch\.float32 on meta, the model"),
        ({"n_layers": 3}, "^the cache has 3 layers, the model 2; was it made for"),
        ({"n_layers": 1}, "^the cache has 1 layers, the model 2; was it made for"),
        (
            {"n_heads": 2},
            "^the cache holds 2 heads of 6 features, got 3 heads of 4; was it made",
        ),
        ({"emb_dim": 15}, "^the cache holds 3 heads of 5 features, got 3 heads of 4"),
    ],
)
def test_made_for_something_else(small_config, options, message):
    cfg = {**small_config}
    cfg.update({key: options.pop(key) for key in list(options) if key in cfg})
    cache = KVCache(cfg, **{"batch_size": 2, **options})
    ids = torch.tensor([[1, 2], [3, 4]])
    check_refused(GPTModel(small_config).eval(), ids, cache, ValueError, message)


def test_gradients(small_config):
    model = GPTModel(small_config)
    cache = KVCache(small_config)
    message = r"^a KVCache keeps no gradients; call the model .* `with torch\.no_grad"
    with pytest.raises(RuntimeError, match=message):
        model(torch.tensor([[1, 2]]), cache=cache)
    assert cache.num_tokens == 0


@pytest.mark.parametrize("layer", [-1, 2])
def test_no_such_layer(small_config, layer):
    att = MultiHeadAttention(12, 12, 7, 0.0, 3)
    message = f"^the cache has 2 layers, so none with index {layer}"
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        att(torch.rand(1, 2, 12), KVCache(small_config), layer)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "^batch_size must be at least 1, got 0$"),
        ({"batch_size": 2.0}, TypeError, r"^batch_size must be an integer, got 2\.0$"),
        ({"max_tokens": 0}, ValueError, "^max_tokens must be at least 1, got 0$"),
        ({"max_tokens": "7"}, TypeError, "^max_tokens must be an integer, got '7'$"),
        (
            {"max_tokens": 8},
            ValueError,
            "^max_tokens must be at most context_length=7, got 8: the model has no",
        ),
    ],
)
def test_wrong_sizes(small_config, options, error, message):
    with pytest.raises(error, match=message):
        KVCache(small_config, **options)


def test_wrong_config(small_config):
    with pytest.raises(ValueError, match=r"^cfg\['n_heads'\] must be an integer >= 1"):
        KVCache({**small_config, "n_heads": 0})


# What only an eye on the parts tells


def test_attention_alone(small_config, randomize):
    """One query against five keys: the sum that the formula asks for."""
    att = randomize(MultiHeadAttention(12, 12, 7, 0.0, 3)).eval()
    x = torch.rand(1, 5, 12, dtype=torch.float64)
    cache = KVCache(small_config, dtype=torch.float64)
    with torch.no_grad():
        att(x[:, :4], cache, 0)
        cache.num_tokens = 4
        found = att(x[:, 4:], cache, 0)
        heads = []
        for share in range(0, 12, 4):
            query = att.W_query(x[0, 4])[share : share + 4]
            keys = att.W_key(x[0])[:, share : share + 4]
            values = att.W_value(x[0])[:, share : share + 4]
            attn_weights = torch.softmax(keys @ query / math.sqrt(4), dim=0)
            heads.append(attn_weights @ values)
        expected = att.out_proj(torch.cat(heads))
    torch.testing.assert_close(found[0, 0], expected)
