"""Exercises of 4.6: right variants pass, mistakes not known get no name."""

import pytest
import torch
from torch import nn

import gpt_from_scratch
from gpt_from_scratch import GPT2_CONFIGS, GPT_CONFIG_124M, check

TABLE = {"medium": (24, 1024, 16), "large": (36, 1280, 20), "XL": (48, 1600, 25)}
KEYS = ("n_layers", "emb_dim", "n_heads")


def count_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def sizes(model_class, change=lambda cfg: cfg, count=count_of):
    result = {}
    for name, values in TABLE.items():
        cfg = change({**GPT_CONFIG_124M, **dict(zip(KEYS, values, strict=True))})
        with torch.device("meta"):
            result[name] = count(model_class(cfg))
    return result


def all_at_once(model_class):
    with torch.device("meta"):
        models = {
            name: model_class(GPT2_CONFIGS[f"gpt2-{name.lower()}"]) for name in TABLE
        }
    return {name: count_of(model) for name, model in models.items()}


def backwards(model_class):
    return dict(reversed(sizes(model_class).items()))


def by_name(model_class):
    """As notebook 4.6 counts: each parameter belongs to a component."""
    pieces = ("tok_emb", "pos_emb", ".att.", ".ff.", "norm", "out_head")

    def count(model):
        counts = dict.fromkeys(pieces, 0)
        for name, parameter in model.named_parameters():
            piece = next(piece for piece in pieces if piece in name)
            counts[piece] += parameter.numel()
        return sum(counts.values())

    return sizes(model_class, count=count)


def default_device_put_back(model_class):
    torch.set_default_device("meta")
    counts = {
        name: count_of(
            model_class(
                {**GPT_CONFIG_124M, **dict(zip(KEYS, values, strict=True))},
            )
        )
        for name, values in TABLE.items()
    }
    torch.set_default_device(None)
    return counts


RIGHT_SIZES = {
    "plain": sizes,
    "the course's configurations": all_at_once,
    "another order": backwards,
    "by name": by_name,
    "the default device, put back": default_device_put_back,
    "the course's function": lambda model_class: sizes(
        model_class, count=gpt_from_scratch.count_parameters
    ),
    "numel mapped over the parameters": lambda model_class: sizes(
        model_class, count=lambda model: sum(map(torch.numel, model.parameters()))
    ),
    "without dropout": lambda model_class: sizes(
        model_class, lambda cfg: {**cfg, "drop_rate": 0.0}
    ),
    "floats": lambda model_class: sizes(model_class, count=lambda m: 1.0 * count_of(m)),
}


@pytest.mark.parametrize("name", RIGHT_SIZES)
def test_right_counts_of_sizes_pass(name):
    report = check.count_sizes(RIGHT_SIZES[name])
    assert report.passed, report


UNKNOWN_SIZES = {
    "another vocabulary": lambda model_class: sizes(
        model_class, lambda cfg: {**cfg, "vocab_size": 50000}
    ),
    "a longer context": lambda model_class: sizes(
        model_class, lambda cfg: {**cfg, "context_length": 2048}
    ),
    "in millions": lambda model_class: sizes(
        model_class, count=lambda model: count_of(model) / 1e6
    ),
    "words": lambda model_class: sizes(
        model_class, count=lambda model: f"{count_of(model):,}"
    ),
    "a list": lambda model_class: list(sizes(model_class).values()),
    "other keys": lambda model_class: {
        f"gpt2-{name}": count for name, count in sizes(model_class).items()
    },
    "small as well": lambda model_class: {
        "small": 163_009_536,
        **sizes(model_class),
    },
    "without XL": lambda model_class: {
        name: count for name, count in sizes(model_class).items() if name != "XL"
    },
    "one parameter forgotten": lambda model_class: sizes(
        model_class, count=lambda model: count_of(model) - 1
    ),
    "on the CPU, and in bytes": lambda model_class: {
        name: 4 * count_of(model_class(GPT2_CONFIGS[f"gpt2-{name.lower()}"]))
        for name in TABLE
    },
    "nothing": lambda model_class: None,
}


@pytest.mark.parametrize("name", UNKNOWN_SIZES)
def test_unknown_mistakes_with_sizes_get_no_name(name):
    report = check.count_sizes(UNKNOWN_SIZES[name])
    assert not report.passed
    assert report.mistake is None, report


def test_what_a_learner_changes_is_put_back():
    before = {name: dict(cfg) for name, cfg in GPT2_CONFIGS.items()}

    def change(model_class):
        GPT_CONFIG_124M.update(n_layers=1)
        GPT2_CONFIGS["gpt2-xl"]["emb_dim"] = 25
        raise RuntimeError("too late")

    assert not check.count_sizes(change).passed
    assert {name: dict(cfg) for name, cfg in GPT2_CONFIGS.items()} == before
    assert torch.get_default_device().type == "cpu"


@pytest.mark.parametrize("name", TABLE)
def test_stand_in_has_the_model_s_parameters(name):
    """What the learner's function counts there it would count with the real class."""
    with torch.device("meta"):
        model = gpt_from_scratch.GPTModel(GPT2_CONFIGS[f"gpt2-{name.lower()}"])
    seen = {}

    def look(model_class):
        seen[name] = count_of(model_class(model.cfg))
        return {}

    check.count_sizes(look)
    assert seen[name] - count_of(model) in (0, 1000)  # the last probe's has more


class Tied(gpt_from_scratch.GPTModel):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.tie()
        nn.init.normal_(self.tok_emb.weight, std=0.02)
        nn.init.normal_(self.pos_emb.weight, std=0.01)

    def tie(self):
        self.out_head.weight = self.tok_emb.weight


def tied(**steps):
    return type("TiedGPTModel", (Tied,), steps)


class TiedAfterwards(gpt_from_scratch.GPTModel):
    def __init__(self, cfg):
        super().__init__(cfg)
        nn.init.normal_(self.pos_emb.weight, mean=0.0, std=0.01)
        nn.init.normal_(self.tok_emb.weight, mean=0.0, std=0.02)
        self.tie_weights()


class Scaled(gpt_from_scratch.GPTModel):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.out_head.weight = self.tok_emb.weight
        with torch.no_grad():
            self.tok_emb.weight *= 0.02
            self.pos_emb.weight *= 0.01


class NewParameters(gpt_from_scratch.GPTModel):
    def __init__(self, cfg):
        super().__init__(cfg)
        draw = torch.randn(cfg["vocab_size"], cfg["emb_dim"])
        self.tok_emb.weight = nn.Parameter(0.02 * draw)
        self.out_head.weight = self.tok_emb.weight
        self.pos_emb.weight.data.normal_(0, 0.01)


def all_linear(self):
    """Draw the other matrices as GPT-2 does, too."""
    Tied.tie(self)
    for part in self.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02)


RIGHT_TIED = {
    "plain": Tied,
    "the other way round": tied(
        tie=lambda self: setattr(self.tok_emb, "weight", self.out_head.weight)
    ),
    "tie_weights, at the end": TiedAfterwards,
    "made smaller in place": Scaled,
    "a new parameter": NewParameters,
    "all of GPT-2's beginning": tied(tie=all_linear),
}


@pytest.mark.parametrize("name", RIGHT_TIED)
def test_right_tied_models_pass(name):
    report = check.tied_gpt_model(RIGHT_TIED[name])
    assert report.passed, report


UNKNOWN_TIED = {
    "not tied, and drawn by PyTorch": gpt_from_scratch.GPTModel,
    "ten times too large": tied(
        __init__=lambda self, cfg: (
            Tied.__init__(self, cfg),
            nn.init.normal_(self.tok_emb.weight, std=0.2),
        )[0]
    ),
    "no position embedding": tied(
        tie=lambda self: (
            Tied.tie(self),
            self.pos_emb.weight.requires_grad_(False),
        )[0]
    ),
    "features": tied(
        forward=lambda self, ids: self.tok_emb(ids) + self.pos_emb.weight[: len(ids[0])]
    ),
    "logits times two": tied(
        forward=lambda self, ids: 2 * gpt_from_scratch.GPTModel.forward(self, ids)
    ),
}


@pytest.mark.parametrize("name", UNKNOWN_TIED)
def test_unknown_mistakes_with_tying_get_no_name(name):
    report = check.tied_gpt_model(UNKNOWN_TIED[name])
    assert not report.passed
    assert report.mistake is None, report


def test_bytes_to_train():
    number = 406_212_608
    assert check.bytes_to_train(8 * number, 16 * number, 16 * number).passed
    report = check.bytes_to_train(8 * number, 12 * number, 16 * number)
    assert report.mistake == "three numbers for each parameter"
    assert check.bytes_to_train(1, 2, 3).mistake is None
