"""``check.dummy_gpt_model``: right variants pass, mistakes unknown get no name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import DummyLayerNorm, DummyTransformerBlock, check


class Model(nn.Module):
    """The class of notebook 4.1; the versions below change a step of it."""

    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(
            *[DummyTransformerBlock(cfg) for _ in range(cfg["n_layers"])]
        )
        self.final_norm = DummyLayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def positions(self, in_idx):
        return torch.arange(in_idx.shape[1], device=in_idx.device)

    def forward(self, in_idx):
        x = self.tok_emb(in_idx) + self.pos_emb(self.positions(in_idx))
        x = self.drop_emb(x)
        x = self.trf_blocks(x)
        x = self.final_norm(x)
        return self.out_head(x)


def model(change=None, **steps):
    """Make a version with other methods, or changed after it was made."""
    if change:

        def init(self, cfg):
            Model.__init__(self, cfg)
            change(self, cfg)

        steps["__init__"] = init
    return type("DummyGPTModel", (Model,), steps)


class NanoGPT(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.lm_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)
        self.wte = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.wpe = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.h = nn.ModuleList(nn.Identity() for _ in range(cfg["n_layers"]))
        self.rate = cfg["drop_rate"]

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.size(1)]
        x = F.dropout(x, self.rate, self.training)
        for block in self.h:
            x = block(x)
        return self.lm_head(x)


RIGHT = {
    "finished": gpt_from_scratch.DummyGPTModel,
    "notebook": Model,
    "nanoGPT": NanoGPT,
    "rows of the position table": model(
        positions=lambda self, idx: torch.arange(
            self.pos_emb.num_embeddings, device=idx.device
        )[: idx.shape[1]]
    ),
    "moved": model(
        positions=lambda self, idx: torch.arange(idx.shape[1]).to(idx.device)
    ),
    "one row for each text": model(
        positions=lambda self, idx: torch.arange(
            idx.shape[1], device=self.pos_emb.weight.device
        ).expand(idx.shape)
    ),
    "unsqueezed": model(
        positions=lambda self, idx: torch.arange(
            0, idx.shape[-1], dtype=torch.long, device=idx.device
        ).unsqueeze(0)
    ),
    "counted": model(positions=lambda self, idx: torch.ones_like(idx).cumsum(1) - 1),
    "buffer": model(
        change=lambda self, cfg: self.register_buffer(
            "numbers", torch.arange(cfg["context_length"])
        ),
        positions=lambda self, idx: self.numbers[: idx.shape[1]],
    ),
    "small initial weights": model(
        change=lambda self, cfg: [
            nn.init.normal_(p, std=0.02) for p in self.parameters()
        ]
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.dummy_gpt_model(RIGHT[name])
    assert report.passed, report


def after(function):
    return model(
        forward=lambda self, idx: function(self, Model.forward(self, idx), idx)
    )


UNKNOWN = {
    "positions from 2": model(
        positions=lambda self, idx: torch.arange(2, idx.shape[1] + 2)
    ),
    "positions doubled": model(
        positions=lambda self, idx: (2 * torch.arange(idx.shape[1])) % 7
    ),
    "sorted ids as positions": model(positions=lambda self, idx: idx.argsort(-1)),
    "last position repeated": model(
        positions=lambda self, idx: torch.arange(idx.shape[1]).clamp(max=5)
    ),
    "embeddings scaled": model(
        change=lambda self, cfg: setattr(self, "scale", cfg["emb_dim"] ** 0.5),
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                self.trf_blocks(
                    self.drop_emb(
                        self.tok_emb(idx) * self.scale
                        + self.pos_emb(self.positions(idx))
                    )
                )
            )
        ),
    ),
    "tokens subtracted": model(
        forward=lambda self, idx: self.out_head(
            self.tok_emb(idx) - self.pos_emb(self.positions(idx))
        )
    ),
    "first block skipped": model(
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                self.trf_blocks[1:](
                    self.drop_emb(self.tok_emb(idx) + self.pos_emb(self.positions(idx)))
                )
            )
        )
    ),
    "blocks from the back": model(
        change=lambda self, cfg: setattr(
            self, "trf_blocks", nn.ModuleList(self.trf_blocks)
        ),
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                nn.Sequential(*list(self.trf_blocks)[::-1])(
                    self.drop_emb(self.tok_emb(idx) + self.pos_emb(self.positions(idx)))
                )
            )
        ),
    ),
    "one block too many": model(
        change=lambda self, cfg: self.trf_blocks.append(nn.Identity())
    ),
    "one block too few": model(change=lambda self, cfg: self.trf_blocks.__delitem__(0)),
    "twelve blocks": model(
        change=lambda self, cfg: setattr(
            self, "trf_blocks", nn.Sequential(*[nn.Identity() for _ in range(12)])
        )
    ),
    "real normalization": model(
        change=lambda self, cfg: setattr(
            self, "final_norm", nn.LayerNorm(cfg["emb_dim"])
        )
    ),
    "dropout fixed at 0.1": model(
        change=lambda self, cfg: setattr(self, "drop_emb", nn.Dropout(0.1))
    ),
    "dropout without rate": model(
        change=lambda self, cfg: setattr(self, "drop_emb", nn.Dropout())
    ),
    "dropout twice": model(
        change=lambda self, cfg: setattr(
            self, "drop_emb", nn.Sequential(self.drop_emb, nn.Dropout(cfg["drop_rate"]))
        )
    ),
    "softmax over the texts": after(lambda self, out, idx: out.softmax(0)),
    "sigmoid": after(lambda self, out, idx: out.sigmoid()),
    "temperature": after(lambda self, out, idx: out / 0.9),
    "rounded": after(lambda self, out, idx: out.round(decimals=2)),
    "first token's logits": after(lambda self, out, idx: out[:, 0]),
    "transposed": after(lambda self, out, idx: out.transpose(1, 2)),
    "flattened": after(lambda self, out, idx: out.flatten(0, 1)),
    "tuple": after(lambda self, out, idx: (out, idx)),
    "future leaks": after(lambda self, out, idx: out + 0.01 * out.mean(1, True)),
    "texts leak": after(lambda self, out, idx: out + 0.01 * out[:1]),
    "past leaks": after(lambda self, out, idx: out + 0.01 * out.cumsum(1)),
    "last id without a score": after(
        lambda self, out, idx: F.pad(out[..., :-1], (0, 1), value=-100.0)
    ),
    "ids changed": after(lambda self, out, idx: (out, idx.add_(1))[0]),
    "seed set": after(lambda self, out, idx: (torch.manual_seed(3), out)[1]),
    "gradient halved": after(lambda self, out, idx: (out + out.detach()) / 2),
    "positions not trained": model(
        change=lambda self, cfg: self.pos_emb.requires_grad_(False)
    ),
    "positions start at 0": model(
        change=lambda self, cfg: nn.init.zeros_(self.pos_emb.weight)
    ),
    "padding id": model(
        change=lambda self, cfg: setattr(
            self,
            "tok_emb",
            nn.Embedding(cfg["vocab_size"], cfg["emb_dim"], padding_idx=0),
        )
    ),
    "one position too many": model(
        change=lambda self, cfg: setattr(
            self, "pos_emb", nn.Embedding(cfg["context_length"] + 1, cfg["emb_dim"])
        )
    ),
    "vocabulary of GPT-2": model(
        change=lambda self, cfg: setattr(
            self, "out_head", nn.Linear(cfg["emb_dim"], 50257, bias=False)
        )
    ),
    "surplus layer": model(
        change=lambda self, cfg: setattr(self, "a", nn.Linear(2, 2))
    ),
    "sizes the other way": lambda cfg: Model(
        {**cfg, "emb_dim": cfg["vocab_size"], "vocab_size": cfg["emb_dim"]}
    ),
    "attribute access": lambda cfg: Model({"vocab_size": cfg.vocab_size}),
    "changes the configuration": lambda cfg: (cfg.pop("n_layers"), Model(cfg))[1],
    "last 3 tokens": model(forward=lambda self, idx: Model.forward(self, idx[:, -3:])),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.dummy_gpt_model(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
