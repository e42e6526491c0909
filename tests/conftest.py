"""What tests share: small models, telling weights, an independent GPT, a browser."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import GPT_CONFIG_124M, GPTConfig, GPTModel

# Two processes test at once; with more threads than cores they would wait in turn.
torch.set_num_threads(1)

# The same examples in every run, and no verdict that hangs on a machine's speed.
settings.register_profile(
    "repeatable",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@st.composite
def _configs(draw):
    """Small valid configurations without dropout; no two sizes are bound together."""
    n_heads = draw(st.integers(1, 4))
    return {
        "vocab_size": draw(st.integers(2, 40)),
        "context_length": draw(st.integers(2, 9)),
        "emb_dim": n_heads * draw(st.integers(1, 5)),
        "n_heads": n_heads,
        "n_layers": draw(st.integers(1, 3)),
        "drop_rate": 0.0,
        "qkv_bias": draw(st.booleans()),
    }


# In a test: @given(cfg=st.from_type(GPTConfig)).
st.register_type_strategy(GPTConfig, _configs())


@pytest.fixture(scope="session")
def small_config():
    """A configuration with sizes that are all different; vary it by copy."""
    return {
        "vocab_size": 53,
        "context_length": 7,
        "emb_dim": 12,
        "n_heads": 3,
        "n_layers": 2,
        "drop_rate": 0.0,
        "qkv_bias": False,
    }


@pytest.fixture(scope="session")
def randomize():
    """Give a module float64 parameters far from 0 and 1, so that none goes unseen."""

    def move(module, seed=0):
        generator = torch.Generator().manual_seed(seed)
        module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                draw = torch.rand(2, *parameter.shape, generator=generator)
                sign = torch.where(draw[1] < 0.5, -1.0, 1.0)
                parameter.copy_(sign * (0.2 + 0.6 * draw[0]))
        return module

    return move


@pytest.fixture(scope="session")
def model_124m():
    """Build the untrained model that the course's published numbers come from."""
    torch.manual_seed(123)
    return GPTModel(GPT_CONFIG_124M).eval()


@pytest.fixture
def compiled():
    """Compile a module as one graph; forget all graphs afterwards."""
    yield lambda module: torch.compile(module, fullgraph=True, backend="eager")
    torch._dynamo.reset()


class _PlainNorm(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        return nn.functional.layer_norm(x, self.scale.shape, self.scale, self.shift)


class _PlainAttention(nn.Module):
    """Scores, mask, softmax, one head after the other; the mask is a buffer."""

    def __init__(self, d_in, d_out, context_length, num_heads, qkv_bias):
        super().__init__()
        self.num_heads = num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        mask = torch.ones(context_length, context_length).triu(diagonal=1)
        self.register_buffer("mask", mask)

    def forward(self, x):
        num_tokens = x.shape[1]
        future = self.mask[:num_tokens, :num_tokens].bool()
        heads = []
        for queries, keys, values in zip(
            self.W_query(x).chunk(self.num_heads, dim=-1),
            self.W_key(x).chunk(self.num_heads, dim=-1),
            self.W_value(x).chunk(self.num_heads, dim=-1),
            strict=True,
        ):
            attn_scores = queries @ keys.mT / keys.shape[-1] ** 0.5  # (B, T, T)
            attn_scores = attn_scores.masked_fill(future, float("-inf"))
            heads.append(attn_scores.softmax(dim=-1) @ values)  # (B, T, head_dim)
        return self.out_proj(torch.cat(heads, dim=-1))


class _PlainFeedForward(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * emb_dim, emb_dim),
        )

    def forward(self, x):
        return self.layers(x)


class _PlainBlock(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        emb_dim = cfg["emb_dim"]
        self.att = _PlainAttention(
            emb_dim, emb_dim, cfg["context_length"], cfg["n_heads"], cfg["qkv_bias"]
        )
        self.ff = _PlainFeedForward(emb_dim)
        self.norm1 = _PlainNorm(emb_dim)
        self.norm2 = _PlainNorm(emb_dim)

    def forward(self, x):
        stream = x
        stream = stream + self.att(self.norm1(stream))
        stream = stream + self.ff(self.norm2(stream))
        return stream


class _PlainModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.trf_blocks = nn.Sequential(
            *[_PlainBlock(cfg) for _ in range(cfg["n_layers"])]
        )
        self.final_norm = _PlainNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx):
        x = self.tok_emb(in_idx) + self.pos_emb.weight[: in_idx.shape[1]]
        return self.out_head(self.final_norm(self.trf_blocks(x)))


@pytest.fixture(scope="session")
def plain():
    """Give a second implementation, spelled out, without dropout: a stored mask.

    Its state dicts hold the masks beside the weights, as those of the book's code do.
    """
    return SimpleNamespace(
        Attention=_PlainAttention, Block=_PlainBlock, Model=_PlainModel
    )


@pytest.fixture(scope="module")
def browser():
    """Give the system's Chromium, which gets no answer from another computer."""
    playwright_api = pytest.importorskip(
        "playwright.sync_api", reason='no Playwright: pip install -e ".[browser]"'
    )
    names = ("google-chrome", "chromium", "chromium-browser")
    found = [path for path in map(shutil.which, names) if path]
    # Ubuntu's snap has a /tmp of its own, where a test's files are not.
    chromium = next((p for p in found if "snap" not in Path(p).resolve().parts), None)
    if chromium is None:
        pytest.skip("no Chromium (a snap does not do): install the package `chromium`")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            headless=True,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-proxy-server",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield browser
        browser.close()
