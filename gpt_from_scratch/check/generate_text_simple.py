"""What the check knows of ``generate_text_simple`` (4.7); see also its mistakes."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.compare import difference, frozen
from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Make, NoTensorError, TheirsError
from gpt_from_scratch.check.weights import numbers, randomize
from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.llm_architecture import validate_token_ids
from gpt_from_scratch.text_generation import generate_text_simple

GENERATE_TEXT_SIMPLE = Component("generate_text_simple", generate_text_simple)

Score = Callable[[Tensor], Tensor]


class Voter(nn.Module):
    """In place of a model: its last position counts on, the others vote for nonsense.

    Position 0 gives the last but one token of the vocabulary the highest score, those
    in the middle the last one. All scores are below 0.

    Args:
        score: Gives the last position's scores ``(B, vocab_size)``, for ids ``(B, T)``.
            If not given, the token with the next higher id gets the highest.
        vocab_size: How many tokens there are.
        most_calls: How often it may be called.
    """

    def __init__(
        self,
        score: Score | None = None,
        vocab_size: int = 53,
        most_calls: int = 1000,
    ) -> None:
        super().__init__()
        self.basis = nn.Parameter(numbers(vocab_size, low=-4.0, high=-3.0))
        self.score = score or self.count_on
        self.most_calls = most_calls
        self.shown: list[list[int]] = []  # each text, at each call
        self.modes: set[bool] = set()
        self.records: list[bool] = []

    def count_on(self, ids: Tensor) -> Tensor:
        scores = self.basis.repeat(len(ids), 1)  # (B, vocab_size)
        return scores.scatter_add(
            1, (ids[:, -1:] + 1) % scores.shape[1], torch.full((len(ids), 1), 2.0)
        )

    def forward(self, in_idx: Tensor) -> Tensor:
        validate_token_ids(in_idx)
        B, T = in_idx.shape
        if len(self.records) == self.most_calls:
            raise RuntimeError(f"the model is called more than {self.most_calls} times")
        self.shown += in_idx.tolist()
        self.modes.add(self.training)
        logits = self.basis.repeat(B, T, 1)  # (B, T, vocab_size)
        logits[:, 0, -2] += 2.5
        logits[:, 1:, -1] += 3.0
        logits[:, -1] = self.score(in_idx)
        self.records.append(logits.requires_grad)
        return logits


def always(scores: Tensor) -> Score:
    """Let the last position have these scores ``(1, vocab_size)`` for any text."""
    return lambda ids: scores.repeat(len(ids), 1)


def alike(one: object, other: object) -> bool:
    """Tell whether two observations are the same."""
    return difference(frozen(one), frozen(other), 0.0, 0.0) is None


def steady(ask: Callable[[], object]) -> object:
    """Ask twice, with other random numbers the second time.

    Args:
        ask: Gives an observation.

    Returns:
        The observation, or words if it is not always the same: whatever is drawn,
        there is one outcome for it.
    """

    def answer(seed: int) -> object:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        with torch.enable_grad():  # and so again after it, whatever the code sets
            return frozen(ask())

    first, second = answer(1), answer(2)
    if alike(first, second):
        return first
    is_drawn = alike(first, answer(1))
    return "drawn at random" if is_drawn else "another one at each call"


def continued(
    make: Make,
    prompt: list[list[int]],
    max_new_tokens: int,
    context_size: int,
    model: nn.Module | None = None,
) -> object:
    """Let the learner's function continue texts; give the token ids."""
    model = (model or Voter()).eval()
    return steady(
        lambda: make.call(model, torch.tensor(prompt), max_new_tokens, context_size)
    )


def shown(
    make: Make, prompt: list[list[int]], max_new_tokens: int, context_size: int
) -> object:
    """Say what the model got to read, text by text; one after the other is right too.

    The ids of the first text are 10 to 19, those of the second 20 to 29, and so on.
    """

    def ask() -> object:
        voter = Voter().eval()
        try:
            make.call(voter, torch.tensor(prompt), max_new_tokens, context_size)
        except TheirsError as error:
            if not isinstance(error.__cause__, NoTensorError):
                raise
        seen: dict[str, str] = {}
        for text in range(1, 6):
            calls = [ids for ids in voter.shown if ids[0] // 10 == text]
            for number, ids in enumerate(calls, start=1):
                name = (
                    f"call {number}" if len(prompt) == 1 else f"text {text}, {number}"
                )
                seen[name] = " ".join(map(str, ids))
        return seen

    return steady(ask)


# Probes: first those whose result can be told without computing.


@GENERATE_TEXT_SIMPLE.probe("three tokens after 13, 17, 15")
def _three_tokens_after_13_17_15(make: Make) -> object:
    return continued(make, [[13, 17, 15]], 3, context_size=8)


@GENERATE_TEXT_SIMPLE.probe("what the model is shown")
def _what_the_model_is_shown(make: Make) -> object:
    """At most four tokens: the last ones."""
    return shown(make, [[13, 11]], 5, context_size=4)


@GENERATE_TEXT_SIMPLE.probe("what it is shown of a long prompt")
def _what_it_is_shown_of_a_long_prompt(make: Make) -> object:
    return shown(make, [[15, 11, 17, 13, 16, 12]], 3, context_size=4)


@GENERATE_TEXT_SIMPLE.probe("a prompt longer than context_size")
def _a_prompt_longer_than_context_size(make: Make) -> object:
    return continued(make, [[15, 11, 17, 13, 16, 12]], 4, context_size=4)


@GENERATE_TEXT_SIMPLE.probe("prompts of other lengths")
def _prompts_of_other_lengths(make: Make) -> object:
    prompt = [15, 11, 17, 13, 16, 12]
    return {
        f"{length} of {size} tokens": continued(make, [prompt[:length]], 4, size)
        for length, size in [(1, 1), (1, 6), (3, 1), (5, 6), (6, 6), (6, 2), (2, 64)]
    }


@GENERATE_TEXT_SIMPLE.probe("no new token, and one")
def _no_new_token_and_one(make: Make) -> object:
    return {
        f"{count} new": continued(make, [[13, 17, 15]], count, context_size=2)
        for count in (0, 1)
    }


@GENERATE_TEXT_SIMPLE.probe("three prompts at once")
def _three_prompts_at_once(make: Make) -> object:
    prompts = [[15, 11, 17, 13], [22, 20, 21, 24], [31, 36, 33, 30]]
    return {
        "ids": continued(make, prompts, 3, context_size=5),
        "one token each": continued(make, [row[:1] for row in prompts], 2, 3),
        "shown 2 tokens": continued(make, prompts, 2, context_size=2),
        "as many as tokens": continued(make, [row[:3] for row in prompts], 3, 3),
    }


@GENERATE_TEXT_SIMPLE.probe("what the model is shown of three prompts")
def _what_the_model_is_shown_of_three_prompts(make: Make) -> object:
    prompts = [[15, 11, 17], [22, 20, 21], [31, 36, 33]]
    return shown(make, prompts, 4, context_size=5)


@GENERATE_TEXT_SIMPLE.probe("type of the result")
def _type_of_the_result(make: Make) -> object:
    prompt = torch.tensor([[13, 17, 15]])
    return str(make.call(Voter().eval(), prompt, 3, 8).dtype)


@GENERATE_TEXT_SIMPLE.probe("gradients")
def _gradients(make: Make) -> object:
    """A record for backward() would be kept for nothing."""
    voter = Voter().eval()
    with torch.enable_grad():
        make.call(voter, torch.tensor([[13, 17, 15]]), 3, 8)
    count = f"{sum(voter.records)} of {len(voter.records)}"
    return f"recorded at {count} calls" if any(voter.records) else "not recorded"


@GENERATE_TEXT_SIMPLE.probe("the model's mode")
def _the_models_mode(make: Make) -> object:
    """Which mode a model in training mode is asked in, is left to the function."""
    prompt = torch.tensor([[13, 17, 15]])
    names = {True: "training", False: "evaluation"}
    seen: dict[str, object] = {}
    voter = Voter().eval()
    make.call(voter, prompt.clone(), 3, 8)
    seen["evaluation mode, during"] = names[True in voter.modes]
    seen["evaluation mode, after"] = names[voter.training]
    voter.train()
    make.call(voter, prompt.clone(), 3, 8)
    seen["training mode, after"] = names[voter.training]
    return seen


@GENERATE_TEXT_SIMPLE.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    def kept(is_so: bool) -> str:
        return "left alone" if is_so else "changed"

    around = torch.tensor([[10, 13, 17, 15, 19, 18], [20, 23, 27, 25, 29, 28]])
    prompt, before = around[:, 1:4], around.clone()
    voter = Voter().eval()
    basis = voter.basis.detach().clone()
    state, python_state = torch.get_rng_state(), random.getstate()
    seen: dict[str, object] = {}
    for is_on in (True, False):
        with torch.set_grad_enabled(is_on):
            make.call(voter, prompt, 4, 5)
            name = f"gradients {'on' if is_on else 'off'} before"
            seen[name] = f"{'on' if torch.is_grad_enabled() else 'off'} after"
    is_same = prompt.shape == (2, 3) and torch.equal(prompt, before[:, 1:4])
    draws = not torch.equal(state, torch.get_rng_state())
    draws = draws or python_state != random.getstate()
    return {
        **seen,
        "your prompt": kept(is_same),
        "the tensor it was cut from": kept(torch.equal(around, before)),
        "the weights": kept(torch.equal(voter.basis, basis)),
        "what is trained": kept(voter.basis.requires_grad),
        "random numbers": "drawn" if draws else "none drawn",
    }


@GENERATE_TEXT_SIMPLE.probe("scores of all kinds")
def _scores_of_all_kinds(make: Make) -> object:
    """Which of the tokens 0 to 5 is chosen."""
    inf = float("inf")
    rows = {
        "below 0": [-1.0, -3.0, -0.5, -2.0, -9.0, -0.7],
        "above 0 and below": [-9.0, 1.0, -3.0, 0.0, 2.0, -1.0],
        "from 9 to 14": [9.0, 10.0, 13.0, 12.0, 14.0, 11.0],
        "from 20 to 40": [20.0, 30.0, 25.0, 40.0, 39.0, 35.0],
        "thousands": [1000.0, 3000.0, 2000.0, 2500.0, 0.0, 2999.0],
        "thousands below 0": [-1000.0, -3000.0, -2000.0, -999.0, -4000.0, -9999.0],
        "one impossible": [-4.0, -2.0, -3.0, -inf, -2.5, -2.3],
        "the first": [0.5, 0.1, 0.2, 0.3, 0.4, 0.0],
        "the last": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        "close ones": [0.5, 0.501, 0.499, 0.5, 0.4995, 0.5005],
        "close to 0": [0.0, 1e-4, 2e-4, -1e-4, -2e-4, 0.0],
    }
    seen: dict[str, object] = {}
    for name, row in rows.items():
        voter = Voter(always(torch.tensor([row])), len(row))
        seen[name] = continued(make, [[2, 3], [1, 5]], 6, context_size=4, model=voter)
    return seen


@GENERATE_TEXT_SIMPLE.probe("two equal highest scores")
def _two_equal_highest_scores(make: Make) -> object:
    """Either will do, but always the same."""
    scores = torch.tensor([[0.5, 2.0, 1.0, 2.0, 1.9]])
    voter = Voter(always(scores), 5)
    new = continued(make, [[2, 4, 0]], 6, context_size=4, model=voter)
    if not isinstance(new, Tensor):
        return new
    is_one = new[0, 3:] == new[0, 3]
    is_one &= (new[0, 3:] == 1) | (new[0, 3:] == 3)
    return "one of the two" if len(is_one) == 6 and is_one.all() else "others"


@GENERATE_TEXT_SIMPLE.probe("tokens that end a text elsewhere")
def _tokens_that_end_a_text_elsewhere(make: Make) -> object:
    """The function goes on, as it was asked to."""
    seen: dict[str, object] = {}
    for token in (50256, 0):
        scores = torch.linspace(-1, 0, 50257)[None]
        scores[0, token] = 9.0
        voter = Voter(always(scores), 50257)
        seen[f"token {token}"] = continued(make, [[7, 50256, 0]], 3, 2, voter)
    return seen


@GENERATE_TEXT_SIMPLE.probe("a long text")
def _a_long_text(make: Make) -> object:
    """Longer than GPT-2's 1,024 tokens, and than what the model is to be shown."""

    def ask() -> object:
        voter = Voter(most_calls=10).eval()
        text = (torch.arange(1040) % 53)[None]
        return {
            "last ids": make.call(voter, text, 2, 1030)[:, 1035:],
            "tokens shown": " ".join(str(len(ids)) for ids in voter.shown),
        }

    return steady(ask)


@GENERATE_TEXT_SIMPLE.probe("many new tokens")
def _many_new_tokens(make: Make) -> object:
    return continued(make, [[13, 17], [30, 5]], 110, context_size=7)


@GENERATE_TEXT_SIMPLE.probe("a small GPTModel")
def _a_small_gptmodel(make: Make) -> object:
    """Whose next token depends on all those that it is shown, and their order."""
    model = GPTModel(
        {
            "vocab_size": 53,
            "context_length": 7,
            "emb_dim": 12,
            "n_heads": 3,
            "n_layers": 2,
            "drop_rate": 0.5,
            "qkv_bias": False,
        }
    )
    randomize(model)
    prompts = [[15, 11, 17, 13], [22, 20, 21, 24], [31, 36, 33, 30]]
    return {
        "shown 7 tokens": continued(make, prompts, 8, 7, model),
        "shown 3 tokens": continued(make, prompts, 8, 3, model),
    }
