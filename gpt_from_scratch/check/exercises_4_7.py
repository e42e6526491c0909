"""Checks of the exercises of notebook 4.7."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.compare import NOT_ASKED
from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.generate_text_simple import Voter
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.number_exercise import NumberExercise
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.weights import numbers

__all__ = ["cached_attention", "draw_next", "generate_until"]

# Drawing. Which tokens are drawn differs between kinds of computers, and between right
# versions. So a probe lets many be drawn, and tells what holds for all right versions:
# which tokens come at all, and how often, to the nearest 5 %. The logits are such that
# the true shares, the wrong versions' too, lie far from where that changes.

DRAWS = 10_000


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    return logits / temperature


def _cut(logits: Tensor, top_k: int) -> Tensor:
    lowest_kept = logits.topk(top_k).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < lowest_kept, float("-inf"))


def _drawn(logits: Tensor) -> Any:  # noqa: ANN401
    return torch.multinomial(torch.softmax(logits, dim=-1), num_samples=1)


def _drawing(
    *,
    cut: Callable[[Tensor, int], Tensor] = _cut,
    scaled: Callable[[Tensor, float], Tensor] = _scaled,
    drawn: Callable[[Tensor], Any] = _drawn,
) -> Callable[[Tensor, float, int], Any]:
    """Make a version of the function from its steps; each has the right one before."""

    def draw_next(logits: Tensor, temperature: float, top_k: int) -> Any:  # noqa: ANN401
        return drawn(scaled(cut(logits, top_k), temperature))

    return draw_next


DRAW_NEXT = Component("draw_next", _drawing(), is_exercise=True)


def draw_next(learner: object) -> Report:
    """Check the drawing of a token by temperature and top-k (exercise of 4.7).

    Args:
        learner: Your function, called as ``draw_next(logits, temperature, top_k)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(DRAW_NEXT, learner)


def _odds(*shares: float) -> Tensor:
    """Give logits of these probabilities, which need not make 1."""
    return torch.tensor(shares).log()


def _draw(make: Make, logits: Tensor, temperature: float, top_k: int) -> Tensor:
    """Draw one token for each of many texts; ``logits`` is one text's row."""
    return make.call(logits.repeat(DRAWS, 1), temperature, top_k)


def _shares(drawn: Tensor) -> object:
    """Say how often each token was drawn, to the nearest 5 %."""
    if drawn.numel() == 0 or drawn.is_floating_point():
        return "no token ids"
    values: list[int] = drawn.flatten().tolist()
    if len(set(values)) == 1:
        return "always the same token"
    return {
        f"token {value}": f"about {5 * round(20 * values.count(value) / len(values))} %"
        for value in sorted(set(values))
    }


def _tokens(drawn: Tensor) -> str:
    """Say which tokens were drawn at all."""
    values = sorted(set(drawn.flatten().tolist()))
    if len(values) == 1:
        return "always the same token"
    return "tokens " + ", ".join(map(str, values))


@DRAW_NEXT.probe("one token to choose from")
def _one_token_to_choose_from(make: Make) -> object:
    """With top_k=1 nothing is left to chance."""
    logits = torch.tensor(
        [[0.1, 2.0, -1.0, 0.5], [3.0, 1.0, 2.0, -2.0], [-5.0, -3.0, -4.0, -1.0]]
    )
    return make.call(logits, 1.0, 1)


@DRAW_NEXT.probe("type of the result")
def _type_of_the_result(make: Make) -> object:
    drawn = make.call(numbers(3, 6, seed=1), 1.0, 3)
    return f"{drawn.dtype}, shape {tuple(drawn.shape)}"


@DRAW_NEXT.probe("temperature 1, two tokens of 90 % and 10 %")
def _temperature_1(make: Make) -> object:
    return _shares(_draw(make, _odds(0.9, 0.1), 1.0, 2))


@DRAW_NEXT.probe("temperature 2, two tokens of 90 % and 10 %")
def _temperature_2(make: Make) -> object:
    """The root of 9 is 3, so three of four draws."""
    return _shares(_draw(make, _odds(0.9, 0.1), 2.0, 2))


@DRAW_NEXT.probe("temperature 0.5, two tokens of 30 % and 70 %")
def _temperature_one_half(make: Make) -> object:
    """The square of 7/3 is about 5.4, so 84 of 100 draws."""
    return _shares(_draw(make, _odds(0.3, 0.7), 0.5, 2))


@DRAW_NEXT.probe("which of six tokens come, top_k=3")
def _which_of_six_tokens_come(make: Make) -> object:
    logits = _odds(0.15, 0.3, 0.05, 0.15, 0.25, 0.1) + 1.0
    drawn = _draw(make, logits + 0.05 * torch.arange(6), 1.0, 3)
    return _tokens(drawn)


@DRAW_NEXT.probe("logits below 0, top_k=2")
def _logits_below_0(make: Make) -> object:
    """The kept ones are not above those that were cut off and got a 0."""
    drawn = _draw(make, torch.tensor([-3.0, -9.0, -4.0, -10.0]), 1.0, 2)
    return _tokens(drawn)


@DRAW_NEXT.probe("temperature 2 and top_k=2")
def _temperature_2_and_top_k_2(make: Make) -> object:
    drawn = _draw(make, _odds(0.02, 0.04, 0.06, 0.9, 0.05, 0.1), 2.0, 2)
    two = drawn[(drawn == 3) | (drawn == 5)]
    return {"drawn": _tokens(drawn), "of tokens 3 and 5": _shares(two)}


@DRAW_NEXT.probe("two kinds of texts")
def _two_kinds_of_texts(make: Make) -> object:
    """Each has its own most likely tokens."""
    first, second = _odds(0.4, 0.6, 0.01, 0.02), _odds(2e-4, 1e-4, 8e-3, 2e-3)
    logits = torch.stack((first, second)).repeat(DRAWS, 1)  # one after the other
    drawn = make.call(logits, 1.0, 2)
    if drawn.shape[0] != 2 * DRAWS:
        return f"{drawn.shape[0]} rows"
    return {"first kind": _tokens(drawn[::2]), "second kind": _tokens(drawn[1::2])}


@DRAW_NEXT.probe("a second call")
def _a_second_call(make: Make) -> object:
    """Among a thousand tokens, another one comes."""
    logits = torch.zeros(20, 1000)
    first, second = (make.call(logits.clone(), 1.0, 1000).clone() for _ in range(2))
    same = first.shape == second.shape and bool((first == second).all())
    return "the same tokens" if same else "other tokens"


@DRAW_NEXT.probe("your logits")
def _your_logits(make: Make) -> object:
    logits = numbers(3, 6, seed=2)
    before = logits.clone()
    make.call(logits, 2.0, 3)
    return "left alone" if torch.equal(logits, before) else "changed"


def _wrong_drawing(
    name: str,
    wrong: Callable[[Tensor, float, int], Any],
    *,
    what: str,
    why: str,
    look_at: str,
) -> None:
    DRAW_NEXT.mistake(name, what=what, why=why, look_at=look_at)(wrong)


_wrong_drawing(
    "the likeliest token in a draw's place",
    _drawing(drawn=lambda z: z.argmax(dim=-1, keepdim=True)),
    what="argmax takes the highest logit every time",
    why="Then temperature and top-k change nothing, and the text is always the same.",
    look_at="the line that chooses.",
)
_wrong_drawing(
    "a multiplication by the temperature",
    _drawing(scaled=lambda z, temperature: z * temperature),
    what="the logits are multiplied where they are to be divided",
    why="A high temperature makes the likeliest token likelier, not less so.",
    look_at="the sign between logits and temperature.",
)
_wrong_drawing(
    "a temperature without effect",
    _drawing(scaled=lambda z, temperature: z),
    what="it is not used, or it is added to the logits, or divides probabilities",
    why="What changes all probabilities by one factor leaves their ratios as they "
    "were, and multinomial looks at ratios only.",
    look_at="where the temperature stands: before softmax, or after?",
)
_wrong_drawing(
    "a softmax of a softmax",
    _drawing(scaled=lambda z, temperature: torch.softmax(z, dim=-1) / temperature),
    what="softmax is taken before the temperature, and once more after it",
    why="The probabilities lie between 0 and 1, so a second softmax makes them nearly "
    "equal, and what was cut off comes back.",
    look_at="how often softmax stands in your code.",
)
_wrong_drawing(
    "a draw without softmax",
    _drawing(drawn=lambda z: torch.multinomial(z, num_samples=1)),
    what="multinomial gets logits",
    why="It wants probabilities: no number below 0, and none that is infinite.",
    look_at="what multinomial is given.",
)
_wrong_drawing(
    "a softmax over the texts",
    _drawing(drawn=lambda z: torch.multinomial(torch.softmax(z, dim=0), 1)),
    what="the probabilities make 1 over the batch, not over the vocabulary",
    why="A token gets its chance from what the other texts have at its place. And "
    "where all texts have cut it off, it is nan.",
    look_at="the dim of softmax.",
)
_wrong_drawing(
    "a top_k without effect",
    _drawing(cut=lambda z, top_k: z),
    what="all tokens can be drawn",
    why="In a vocabulary of 50,257 tokens, the many unlikely ones add up.",
    look_at="what becomes of the logits that are cut off.",
)


def _zeros(z: Tensor, top_k: int) -> Tensor:
    return z.masked_fill(z < z.topk(top_k).values[:, -1:], 0.0)


_wrong_drawing(
    "zeros in the place of minus infinity",
    _drawing(cut=_zeros),
    what="the logits that are cut off become 0",
    why="A logit of 0 is no small one: softmax gives it a probability, and a larger "
    "one than to logits below 0.",
    look_at="the number that the cut logits get.",
)
_wrong_drawing(
    "the lowest logits in the highest ones' place",
    _drawing(
        cut=lambda z, k: z.masked_fill(
            z > z.topk(k, largest=False).values[:, -1:], float("-inf")
        )
    ),
    what="the top_k least likely tokens are kept",
    why="The text gets what the model thinks least likely.",
    look_at="the comparison, or the argument largest.",
)
_wrong_drawing(
    "one token too few to choose from",
    _drawing(
        cut=lambda z, k: z.masked_fill(z <= z.topk(k).values[:, -1:], float("-inf"))
    ),
    what="the last of the top_k is cut off too",
    why="With top_k=1 nothing is left to draw from.",
    look_at="the comparison: is the lowest of the top_k kept?",
)
_wrong_drawing(
    "one token too many to choose from",
    _drawing(cut=lambda z, k: _cut(z, min(k + 1, z.shape[-1]))),
    what="top_k + 1 tokens can be drawn",
    why="With top_k=1, the likeliest token should always come.",
    look_at="the index of the lowest logit that is kept.",
)
_wrong_drawing(
    "the first text's bound for all texts",
    _drawing(
        cut=lambda z, k: z.masked_fill(z < z.topk(k).values[0, -1], float("-inf"))
    ),
    what="the lowest logit that is kept is looked up in the first row alone",
    why="Another text's logits can all be lower: then nothing is left of it.",
    look_at="the shape of the bound; (B, 1) has one for each text.",
)
_wrong_drawing(
    "a bound over all texts",
    _drawing(
        cut=lambda z, k: z.masked_fill(
            z < z.flatten().topk(k).values[-1], float("-inf")
        )
    ),
    what="the top_k highest logits of the whole batch are looked for",
    why="Each text is to keep top_k tokens of its own.",
    look_at="topk, and the shape of what it is given.",
)


def _place(logits: Tensor, temperature: float, top_k: int) -> Tensor:
    best = logits.topk(top_k).values
    result: Tensor = _drawn(best / temperature)
    return result


_wrong_drawing(
    "a place in the shortlist in the token id's place",
    _place,
    what="what multinomial gives is a place among the top_k, from 0 to top_k - 1",
    why="Every text would be made of the first few tokens of the vocabulary. topk "
    "gives the ids besides the values: gather picks the one at this place.",
    look_at="the second result of topk.",
)
_wrong_drawing(
    "a missing dimension",
    _drawing(drawn=lambda z: _drawn(z)[:, 0]),
    what="the result has the shape (B,), and should have (B, 1)",
    why="It cannot join texts of shape (B, T): torch.cat needs two dimensions.",
    look_at="what is done to the result of multinomial.",
)
_wrong_drawing(
    "one draw for all texts",
    _drawing(drawn=lambda z: _drawn(z[:1]).repeat(len(z), 1)),
    what="the first text's draw goes to every text",
    why="Each text is to have its own token, by its own logits.",
    look_at="the shape that multinomial is given.",
)


def _seeded(logits: Tensor, temperature: float, top_k: int) -> Any:  # noqa: ANN401
    torch.default_generator.manual_seed(123)
    return _drawing()(logits, temperature, top_k)


_wrong_drawing(
    "a seed inside the function",
    _seeded,
    what="each call draws the same random numbers",
    why="At each step of a text the same chance falls. A seed belongs before the loop.",
    look_at="manual_seed.",
)


def _spoils(logits: Tensor, temperature: float, top_k: int) -> Any:  # noqa: ANN401
    logits[logits < logits.topk(top_k).values[:, -1:]] = float("-inf")
    return _drawn(logits / temperature)


_wrong_drawing(
    "logits that are changed",
    _spoils,
    what="your function writes into the caller's own tensor",
    why="Whoever draws from the same logits a second time finds others.",
    look_at="assignments to parts of logits, operators such as /=, and methods that "
    "end in an underscore.",
)

# The end of a text.


def _until(
    *,
    fill: Callable[[Tensor, Tensor, int], Tensor] = lambda new, over, eos: torch.where(
        over, eos, new
    ),
    ended: Callable[[Tensor, Tensor, int], Tensor] = lambda new, over, eos: (
        over | (new == eos)
    ),
    stops: Callable[[Tensor], bool] = lambda over: bool(over.all()),
    starts: Callable[[Tensor, int], Tensor] = lambda idx, eos: torch.zeros(
        len(idx), 1, dtype=torch.bool
    ),
    crop: Callable[[Tensor, int], Tensor] = lambda idx, size: idx[:, -size:],
    is_end_kept: bool = True,
    is_late: bool = False,
    steps: Callable[[int], int] = lambda count: count,
) -> Callable[..., Any]:
    """Make a version of the function from its steps; each has the right one before."""

    def generate_until(
        model: Any,  # noqa: ANN401
        idx: Tensor,
        max_new_tokens: int,
        context_size: int,
        eos_id: int,
    ) -> Tensor:
        over = starts(idx, eos_id)
        for _ in range(steps(max_new_tokens)):
            is_last = is_late and stops(over)
            with torch.no_grad():
                last = model(crop(idx, context_size))[:, -1, :]
            new = fill(last.argmax(dim=-1, keepdim=True), over, eos_id)  # (B, 1)
            over = ended(new, over, eos_id)
            if stops(over) and not is_end_kept:
                break
            idx = torch.cat((idx, new), dim=1)
            if is_last or (stops(over) and not is_late):
                break
        return idx

    return generate_until


GENERATE_UNTIL = Component("generate_until", _until(), is_exercise=True)


def generate_until(learner: object) -> Report:
    """Check the generating of texts that end (exercise of 4.7).

    Args:
        learner: Your function, called as
            ``generate_until(model, idx, max_new_tokens, context_size, eos_id)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(GENERATE_UNTIL, learner)


def _until_end(make: Make, prompt: list[list[int]], eos: int, count: int = 8) -> Tensor:
    """Continue texts by a model that counts on, from each text's last id."""
    return make.call(Voter(most_calls=30).eval(), torch.tensor(prompt), count, 16, eos)


@GENERATE_UNTIL.probe("a text after 13, 17, 15 that ends at 18")
def _a_text_that_ends(make: Make) -> object:
    return _until_end(make, [[13, 17, 15]], 18)


@GENERATE_UNTIL.probe("a text that does not end")
def _a_text_that_does_not_end(make: Make) -> object:
    return _until_end(make, [[13, 17, 15]], 40)


@GENERATE_UNTIL.probe("two texts, the second ends earlier")
def _two_texts_the_second_ends_earlier(make: Make) -> object:
    return _until_end(make, [[13, 15], [11, 18]], 20)


@GENERATE_UNTIL.probe("two texts, the first ends earlier")
def _two_texts_the_first_ends_earlier(make: Make) -> object:
    return _until_end(make, [[11, 18], [13, 15]], 20)


@GENERATE_UNTIL.probe("one of three texts does not end")
def _one_of_three_texts_does_not_end(make: Make) -> object:
    return _until_end(make, [[11, 18], [13, 30], [14, 17]], 20)


@GENERATE_UNTIL.probe("texts that end at the same step")
def _texts_that_end_at_the_same_step(make: Make) -> object:
    return _until_end(make, [[11, 18], [13, 18]], 20)


@GENERATE_UNTIL.probe("the end token in the prompt")
def _the_end_token_in_the_prompt(make: Make) -> object:
    """It ends nothing there: the prompt is to be continued."""
    return {
        "at its beginning": _until_end(make, [[18, 30]], 18),
        "as its last token": _until_end(make, [[30, 18]], 18),
        "in one of two texts": _until_end(make, [[18, 12], [10, 15]], 18),
    }


@GENERATE_UNTIL.probe("the end token 0")
def _the_end_token_0(make: Make) -> object:
    return _until_end(make, [[13, 50], [20, 51]], 0)


@GENERATE_UNTIL.probe("no new token, and one")
def _no_new_token_and_one(make: Make) -> object:
    return {f"{n} new": _until_end(make, [[13, 15]], 16, count=n) for n in (0, 1)}


@GENERATE_UNTIL.probe("calls of the model")
def _calls_of_the_model(make: Make) -> object:
    voter = Voter(most_calls=30).eval()
    make.call(voter, torch.tensor([[13, 15]]), 8, 16, 18)
    return f"{len(voter.records)} calls for 3 new tokens"


@GENERATE_UNTIL.probe("what the model is shown")
def _what_the_model_is_shown(make: Make) -> object:
    voter = Voter(most_calls=30).eval()
    make.call(voter, torch.tensor([[13, 11]]), 5, 4, 40)
    return {
        f"call {n}": " ".join(map(str, ids)) for n, ids in enumerate(voter.shown, 1)
    }


@GENERATE_UNTIL.probe("your prompt")
def _your_prompt(make: Make) -> object:
    prompt = torch.tensor([[11, 18], [13, 15]])
    before = prompt.clone()
    make.call(Voter(most_calls=30).eval(), prompt, 8, 16, 20)
    return "left alone" if torch.equal(prompt, before) else "changed"


def _wrong_end(
    name: str, wrong: Callable[..., Any], *, what: str, why: str, look_at: str
) -> None:
    GENERATE_UNTIL.mistake(name, what=what, why=why, look_at=look_at)(wrong)


_wrong_end(
    "a text that never ends",
    _until(
        fill=lambda new, over, eos: new,
        stops=lambda over: False,
    ),
    what="the end token is a token like any other",
    why="Whatever follows after it belongs to no text.",
    look_at="what your loop does with eos_id.",
)
_wrong_end(
    "a loop that never stops early",
    _until(stops=lambda over: False),
    what="texts that have ended are filled up to max_new_tokens",
    why="The model computes many tokens that nobody needs.",
    look_at="when the loop is left.",
)
_wrong_end(
    "an end as soon as one text has ended",
    _until(stops=lambda over: bool(over.any())),
    what="the loop is left although other texts go on",
    why="They are cut off in the middle.",
    look_at="any and all.",
)
_wrong_end(
    "an end that only the first text decides",
    _until(stops=lambda over: bool(over[0].all())),
    what="the other texts are not asked whether they have ended",
    why="They are cut off, or filled up although all have ended.",
    look_at="what the condition that leaves the loop looks at.",
)
_wrong_end(
    "an end that is forgotten",
    _until(fill=lambda new, over, eos: new, ended=lambda new, over, eos: new == eos),
    what="the loop stops only if all texts choose the end token at the same step",
    why="Texts end at different steps: of each must be known that it has ended.",
    look_at="what you know of the step before.",
)
_wrong_end(
    "an ended text that goes on",
    _until(fill=lambda new, over, eos: new),
    what="after its end token, a text gets further tokens, as long as another goes on",
    why="What the model writes after the end belongs to no text; fill it with eos_id.",
    look_at="what joins a text that has ended.",
)
_wrong_end(
    "an ended text that is filled with zeros",
    _until(fill=lambda new, over, eos: torch.where(over, 0, new)),
    what="0 is appended to it, not the end token",
    why="0 is a token too: in GPT-2's vocabulary, an exclamation mark.",
    look_at="what joins a text that has ended.",
)
_wrong_end(
    "a text without its end token",
    _until(is_end_kept=False),
    what="the loop is left before the last end token joins the text",
    why="A text that has ended cannot be told from one that was cut off.",
    look_at="which comes first: torch.cat, or leaving the loop?",
)
_wrong_end(
    "one token after the end",
    _until(is_late=True),
    what="the loop goes once more round when all texts have ended",
    why="One call of the model too many, and one token.",
    look_at="where in the loop the condition stands.",
)
_wrong_end(
    "an end token looked for in the prompt",
    _until(starts=lambda idx, eos: (idx == eos).any(dim=1, keepdim=True)),
    what="a text whose prompt holds the end token counts as ended",
    why="Texts were trained one after another with this token between them: a prompt "
    "may well begin with it.",
    look_at="what you compare with eos_id: the text, or the new tokens?",
)
_wrong_end(
    "an end token at the prompt's end that counts",
    _until(starts=lambda idx, eos: idx[:, -1:] == eos),
    what="a text whose last token is the end token counts as ended from the start",
    why="Such a prompt asks for a new text. Only what is generated can end one.",
    look_at="what you compare with eos_id before the first step.",
)
_wrong_end(
    "a text that is not cropped",
    _until(crop=lambda idx, size: idx),
    what="the model is shown more than context_size tokens",
    why="It has no position embedding for them.",
    look_at="what goes into the model.",
)
_wrong_end(
    "a crop that keeps the first tokens",
    _until(crop=lambda idx, size: idx[:, :size]),
    what="the model is shown the beginning of the text, not its end",
    why="Once the text is longer than context_size, the model always reads the same.",
    look_at="the slice of idx.",
)
_wrong_end(
    "one token too few",
    _until(steps=lambda count: count - 1),
    what="a text that does not end gets max_new_tokens - 1 new tokens",
    why="For n tokens the loop needs n steps.",
    look_at="how often the loop runs.",
)

# A cache for one attention layer.


class _CachedAttention(nn.Module):
    """One head that gets one token at a time, and keeps keys and values."""

    def __init__(self, emb_dim: int) -> None:
        super().__init__()
        self.W_query = nn.Linear(emb_dim, emb_dim, bias=False)
        self.W_key = nn.Linear(emb_dim, emb_dim, bias=False)
        self.W_value = nn.Linear(emb_dim, emb_dim, bias=False)
        self.keys: Any = None
        self.values: Any = None

    def key(self, x: Tensor) -> Tensor:
        result: Tensor = self.W_key(x)
        return result

    def value(self, x: Tensor) -> Tensor:
        result: Tensor = self.W_value(x)
        return result

    def join(self, kept: Tensor, new: Tensor) -> Tensor:
        return torch.cat((kept, new), dim=1)

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key(x), self.value(x)
        if self.keys is not None:
            keys, values = self.join(self.keys, keys), self.join(self.values, values)
        self.keys, self.values = keys, values
        return keys, values

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5  # (B, 1, T)

    def weigh(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.W_query(x)
        keys, values = self.keep(x)
        return self.weigh(self.score(queries, keys)) @ values  # (B, 1, emb_dim)


CACHED_ATTENTION = Component("CachedAttention", _CachedAttention, is_exercise=True)


def cached_attention(learner: object) -> Report:
    """Check an attention layer with a key-value cache (exercise of 4.7).

    Args:
        learner: Your class, called as ``CachedAttention(emb_dim)``; its objects with
            one token of each text at a time, ``(B, 1, emb_dim)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(CACHED_ATTENTION, learner)


def _read(built: Built, text: Tensor) -> dict[str, object]:
    """Give the outputs for a text ``(B, T, emb_dim)``, token by token."""
    outputs: dict[str, object] = {}
    for place in range(text.shape[1]):
        with torch.no_grad():
            outputs[f"token {place}"] = built(text[:, place : place + 1].clone())
    return outputs


@CACHED_ATTENTION.probe("the first token")
def _the_first_token(make: Make) -> object:
    """It has only itself to attend to, so its value comes out."""
    return _read(make(4), torch.tensor([[[1.0, 2.0, -1.0, 0.5]]]))


@CACHED_ATTENTION.probe("a text of four tokens")
def _a_text_of_four_tokens(make: Make) -> object:
    return _read(make(4), numbers(1, 4, 4, seed=1))


@CACHED_ATTENTION.probe("three texts at once")
def _three_texts_at_once(make: Make) -> object:
    return _read(make(6), numbers(3, 5, 6, seed=2))


@CACHED_ATTENTION.probe("as many texts as features")
def _as_many_texts_as_features(make: Make) -> object:
    return _read(make(3), numbers(3, 3, 3, seed=3))


@CACHED_ATTENTION.probe("a long text")
def _a_long_text(make: Make) -> object:
    return _read(make(2), numbers(1, 20, 2, seed=4))


@CACHED_ATTENTION.probe("large scores")
def _large_scores(make: Make) -> object:
    """Which differ by so much that the size of the scale shows."""
    return _read(make(16), 2 * numbers(1, 4, 16, seed=5))


@CACHED_ATTENTION.probe("two layers")
def _two_layers(make: Make) -> object:
    """Each has a cache of its own."""
    first, second = make(4), make(4)
    text = numbers(1, 4, 4, seed=6)
    return {
        "first": _read(first, text[:, :2]),
        "second": _read(second, text[:, 2:]),
        "first again": _read(first, text[:, 3:]),
    }


@CACHED_ATTENTION.probe("tokens through each linear layer, for the fifth token")
def _tokens_through_each_linear_layer(make: Make) -> object:
    built = make(4)
    text = numbers(1, 5, 4, seed=7)
    _read(built, text[:, :4])
    layers = [
        slot.found.name.rpartition(".")[0]
        for slot in built.slots.values()
        if slot.index is None
    ]
    if len(set(layers)) != 3:
        return NOT_ASKED
    counts = dict.fromkeys(layers, 0)

    def note(name: str) -> Callable[..., None]:
        def add(module: object, inputs: tuple[Tensor, ...], output: object) -> None:
            counts[name] += inputs[0].numel() // 4

        return add

    hooks = [
        built.module.get_submodule(name).register_forward_hook(note(name))
        for name in layers
    ]
    _read(built, text[:, 4:])
    for hook in hooks:
        hook.remove()
    if not any(counts.values()):
        return NOT_ASKED  # the weights are used without their layers
    return "only the new one" if max(counts.values()) == 1 else "earlier ones too"


@CACHED_ATTENTION.probe("parameters")
def _parameters(make: Make) -> object:
    return make(4).parameters()


@CACHED_ATTENTION.probe("your input")
def _your_input(make: Make) -> object:
    built = make(4)
    x = numbers(2, 1, 4, seed=8)
    before = x.clone()
    with torch.no_grad():
        built(x)
        built(x)
    return "left alone" if torch.equal(x, before) else "changed"


def _wrong_cache(
    name: str, *, what: str, why: str, look_at: str, **steps: object
) -> None:
    wrong = type("_Wrong", (_CachedAttention,), steps)
    CACHED_ATTENTION.mistake(name, what=what, why=why, look_at=look_at)(wrong)


def _keep(
    choose: Callable[..., tuple[Any, Any]],
) -> Callable[[_CachedAttention, Tensor], tuple[Tensor, Tensor]]:
    """Make a way to keep: takes old and new keys, old and new values; gives both."""

    def keep(self: _CachedAttention, x: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key(x), self.value(x)
        if self.keys is not None:
            keys, values = choose(self.keys, keys, self.values, values)
        self.keys, self.values = keys, values
        return keys, values

    return keep


def _both(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat((one, other), dim=1)


LOSES = "The new token then attends to fewer tokens than it would without a cache."

_wrong_cache(
    "nothing that is kept",
    what="each token attends to itself alone",
    why=LOSES,
    look_at="whether self.keys and self.values get what was joined.",
    keep=lambda self, x: (self.key(x), self.value(x)),
)


def _forgets(self: _CachedAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    new = self.key(x), self.value(x)
    keys, values = new
    if self.keys is not None:
        keys, values = _both(self.keys, new[0]), _both(self.values, new[1])
    self.keys, self.values = new
    return keys, values


_wrong_cache(
    "a cache of one token",
    what="only the newest key and value are kept, not all that were joined",
    why=LOSES,
    look_at="what self.keys and self.values are set to: the new ones, or the joined?",
    keep=_forgets,
)


def _first_only(self: _CachedAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    keys, values = self.key(x), self.value(x)
    if self.keys is None:
        self.keys, self.values = keys, values
        return keys, values
    return _both(self.keys, keys), _both(self.values, values)


_wrong_cache(
    "a cache that is never added to",
    what="the first token's key and value are kept, and none after them",
    why=LOSES,
    look_at="whether self.keys and self.values are set at every call.",
    keep=_first_only,
)


def _without_itself(self: _CachedAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    before = self.keys, self.values
    after: tuple[Tensor, Tensor] = _CachedAttention.keep(self, x)
    return after if before[0] is None else before


_wrong_cache(
    "a new token that is left out",
    what="its query meets the keys of the earlier tokens, and not its own",
    why="In 4.5 each token attends to itself too.",
    look_at="which keys the query is multiplied with.",
    keep=_without_itself,
)


class _Recomputes(_CachedAttention):
    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.keys = x if self.keys is None else _both(self.keys, x)
        return self.key(self.keys), self.value(self.keys)


CACHED_ATTENTION.mistake(
    "inputs that are kept in the place of keys and values",
    what="all keys and values are computed anew from all inputs",
    why="The numbers are right, and no work is spared.",
    look_at="what goes into W_key and W_value.",
)(_Recomputes)

_wrong_cache(
    "keys joined as new texts",
    what="dim=0 is the batch",
    why="The keys have the shape (B, tokens, emb_dim), and the tokens grow in number.",
    look_at="dim, in torch.cat.",
    join=lambda self, kept, new: torch.cat((kept, new), dim=0),
)
_wrong_cache(
    "keys joined as new features",
    what="dim=-1 are the features",
    why="The keys have the shape (B, tokens, emb_dim), and the tokens grow in number.",
    look_at="dim, in torch.cat.",
    join=lambda self, kept, new: torch.cat((kept, new), dim=-1),
)
_wrong_cache(
    "keys and values in another order",
    what="new keys are joined behind the earlier ones, new values before them",
    why="The weights of one token go to another one's value.",
    look_at="the order in the two calls of torch.cat.",
    keep=_keep(
        lambda k, new_k, v, new_v: (_both(k, new_k), _both(new_v, v)),
    ),
)
_wrong_cache(
    "earlier values that are forgotten",
    what="the values are those of the new token alone",
    why="There are more weights than values, and PyTorch reports an error.",
    look_at="self.values.",
    keep=_keep(lambda k, new_k, v, new_v: (_both(k, new_k), new_v)),
)
_wrong_cache(
    "a causal mask for one query",
    what="is_causal=True, or tril, lets the first query attend to the first key alone",
    why="The query here is the newest token, and may attend to all that are kept.",
    look_at="the mask. Who could look ahead here?",
    score=lambda self, queries, keys: _CachedAttention.score(
        self, queries, keys
    ).masked_fill(torch.arange(keys.shape[1]) > 0, float("-inf")),
)
_wrong_cache(
    "a missing scale",
    what="the scores are not divided by the root of emb_dim",
    why="Large scores make softmax choose a single token (4.5).",
    look_at="the line with the scores.",
    score=lambda self, queries, keys: queries @ keys.transpose(1, 2),
)
_wrong_cache(
    "a scale without the root",
    what="the scores are divided by emb_dim",
    why="They become small, and all tokens get nearly the same weight.",
    look_at="the line with the scores.",
    score=lambda self, queries, keys: queries @ keys.transpose(1, 2) / keys.shape[-1],
)
_wrong_cache(
    "a missing softmax",
    what="the scores themselves weigh the values",
    why="Weights are to be above 0 and make 1.",
    look_at="what stands between scores and values.",
    weigh=lambda self, scores: scores,
)
_wrong_cache(
    "a sum of the values without weights",
    what="softmax is over the queries, of which there is one, or new keys and values "
    "are added to the earlier ones, not joined to them",
    why="Each token's value counts alike: the query has nothing to choose from.",
    look_at="the dim of softmax, and how new and earlier keys come together.",
    weigh=lambda self, scores: torch.softmax(scores, dim=1),
)
_wrong_cache(
    "keys from the query's layer",
    what="W_query makes the keys too",
    why="W_key is never used, and a token mostly finds itself.",
    look_at="which layer makes the keys.",
    key=lambda self, x: self.W_query(x),
)
_wrong_cache(
    "values from the key's layer",
    what="W_key makes the values too",
    why="What a token is found by, and what it tells, would be the same.",
    look_at="which layer makes the values.",
    value=lambda self, x: self.W_key(x),
)
_wrong_cache(
    "inputs in the values' place",
    what="W_value is not used",
    why="The layer could not choose what a token tells to others.",
    look_at="what is kept as values.",
    value=lambda self, x: x,
)


EXERCISES = (DRAW_NEXT, GENERATE_UNTIL, CACHED_ATTENTION)
NUMBER_EXERCISES: tuple[NumberExercise, ...] = ()
