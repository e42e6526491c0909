"""The mistakes that the check knows of ``generate_text_simple`` (4.7)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpt_from_scratch.check.generate_text_simple import GENERATE_TEXT_SIMPLE

_Function = Callable[[Any, Tensor, int, int], Any]


def _crop(idx: Tensor, count: int, size: int) -> Tensor:
    return idx[:, -size:]


def _last(logits: Tensor) -> Tensor:
    return logits[:, -1, :]


def _choose(last: Tensor) -> Any:  # noqa: ANN401
    return last.argmax(dim=-1, keepdim=True)


def _join(idx: Tensor, new: Tensor) -> Tensor:
    return torch.cat((idx, new), dim=1)


def _version(
    *,
    crop: Callable[[Tensor, int, int], Tensor] = _crop,
    last: Callable[[Tensor], Tensor] = _last,
    choose: Callable[[Tensor], Any] = _choose,
    join: Callable[[Tensor, Tensor], Tensor] = _join,
    steps: Callable[[Tensor, int], int] = lambda idx, count: count,
    ends: Callable[[Tensor, int, Any], bool] = lambda idx, size, new: False,
    result: Callable[[Tensor, Tensor], Any] = lambda prompt, idx: idx,
    is_recorded: bool = False,
) -> _Function:
    """Make a version of the function from its steps; each has the right one before."""

    def generate(model: Any, prompt: Tensor, count: int, size: int) -> Any:  # noqa: ANN401
        idx = prompt
        for _ in range(steps(prompt, count)):
            with torch.set_grad_enabled(is_recorded):
                logits = model(crop(idx, count, size))
            new = choose(last(logits))
            idx = join(idx, new)
            if ends(idx, size, new):
                break
        return result(prompt, idx)

    return generate


def _mistake(
    name: str, wrong: _Function, *, what: str, why: str, look_at: str
) -> _Function:
    add = GENERATE_TEXT_SIMPLE.mistake(name, what=what, why=why, look_at=look_at)
    return add(wrong)


# Which scores.

_ONLY_LAST = (
    "Row t of the logits scores what comes after token t. Only the last row tells "
    "something new; the others score tokens that are already there."
)
_mistake(
    "a token chosen by the logits of position 0",
    _version(last=lambda logits: logits[:, 0, :]),
    what="the first row is taken, not the last",
    why=_ONLY_LAST,
    look_at="the index that picks a position from the logits.",
)
_mistake(
    "a token chosen by the logits of the last but one position",
    _version(last=lambda logits: logits[:, -2, :]),
    what="row -2 is taken, and the last row is row -1",
    why=_ONLY_LAST,
    look_at="the index that picks a position from the logits.",
)
_mistake(
    "a choice for each position",
    _version(last=lambda logits: logits, choose=lambda last: last.argmax(dim=-1)),
    what="no position is picked from the logits, so each one's choice joins the text",
    why="The text doubles with every step, and most of it are choices for tokens that "
    "are already there.",
    look_at="what happens to the logits before argmax.",
)
_mistake(
    "a mean over the positions",
    _version(last=lambda logits: logits.mean(dim=1)),
    what="the logits of all positions are averaged (or added up)",
    why=_ONLY_LAST,
    look_at="how (B, T, vocab_size) becomes (B, vocab_size).",
)
_mistake(
    "the highest score of any position",
    _version(last=lambda logits: logits.amax(dim=1)),
    what="for each token the highest of its scores counts, whatever the position",
    why=_ONLY_LAST,
    look_at="how (B, T, vocab_size) becomes (B, vocab_size).",
)
_mistake(
    "the last text's logits in place of the last position's",
    _version(last=lambda logits: logits[-1]),
    what="the index -1 stands where the texts of the batch are",
    why="The logits have the shape (B, T, vocab_size). The first index picks a text; "
    "the position is the second.",
    look_at="the index that picks a position from the logits.",
)
_mistake(
    "the last token's scores in place of the last position's",
    _version(last=lambda logits: logits[:, :, -1]),
    what="the index -1 stands where the vocabulary is",
    why="The logits have the shape (B, T, vocab_size). The highest of one column is "
    "the place of a position, not a token id.",
    look_at="the index that picks a position from the logits.",
)
_mistake(
    "the first text's token for all texts",
    _version(
        last=lambda logits: logits[:1, -1, :].expand(len(logits), -1),
    ),
    what="only the logits of the first text are looked at",
    why="With several prompts, the others get a continuation that belongs to another "
    "text. With one prompt it goes unseen.",
    look_at="the index that picks from the logits: where are the texts of the batch?",
)

# How the token is chosen.

_mistake(
    "a softmax over the batch",
    _version(last=lambda logits: torch.softmax(logits[:, -1, :], dim=0)),
    what="softmax compares the texts with each other, not the tokens",
    why="Probabilities of one token over several texts do not say which token is "
    "likely. With one text, each token gets probability 1.",
    look_at="dim, in softmax.",
)
_mistake(
    "a softmax over the positions",
    _version(last=lambda logits: torch.softmax(logits, dim=1)[:, -1, :]),
    what="softmax compares the positions with each other, not the tokens",
    why="It says at which position a token scores highest, not which token does.",
    look_at="dim, in softmax, and the shape of what goes in.",
)
_mistake(
    "an argmax over the batch",
    _version(choose=lambda last: last.argmax(dim=0, keepdim=True)),
    what="dim=0 compares the texts with each other, not the tokens",
    why="The result are numbers of texts, one for each token of the vocabulary.",
    look_at="dim, in argmax.",
)
_mistake(
    "a missing keepdim",
    _version(choose=lambda last: last.argmax(dim=-1)),
    what="the new ids have the shape (B,), and the text has (B, T)",
    why="Tensors that are to be joined need equally many dimensions, so PyTorch "
    "reports an error.",
    look_at="the shape of what argmax returns.",
)
_mistake(
    "a single row of new ids",
    _version(choose=lambda last: last.argmax(dim=-1).unsqueeze(0)),
    what="they have one row, whether there is one prompt or several, as unsqueeze(0) "
    "makes it, or argmax without dim",
    why="With one prompt it goes unseen. Several prompts need a row each, so PyTorch "
    "reports an error.",
    look_at="the shape of the new ids; (B, 1) is needed.",
)
_mistake(
    "a token taken by item()",
    _version(choose=lambda last: torch.tensor([[last.argmax(dim=-1).item()]])),
    what="item() makes one number of the choice",
    why="With one prompt it goes unseen. Several prompts have several choices, and "
    "item() reports an error.",
    look_at="what is done with the result of argmax.",
)
_mistake(
    "a token that is drawn by chance",
    _version(
        choose=lambda last: torch.multinomial(torch.softmax(last, dim=-1), 1),
    ),
    what="the same call does not always choose the same token",
    why="Greedy decoding takes the token with the highest score. Whoever wants chance "
    "(4.7 does, further below) makes it a setting.",
    look_at="how the token is chosen from the scores.",
)
_mistake(
    "argmin",
    _version(choose=lambda last: last.argmin(dim=-1, keepdim=True)),
    what="the token with the lowest score is chosen",
    why="It is the one that the model holds for the least likely of all.",
    look_at="how the token is chosen from the scores.",
)
_mistake(
    "the second best token",
    _version(choose=lambda last: last.topk(2).indices[:, 1:]),
    what="the token with the second highest score is chosen",
    why="Python counts from 0, so index 1 is the second.",
    look_at="which of the sorted tokens is taken.",
)
_mistake(
    "the score in place of the token",
    _version(choose=lambda last: last.max(dim=-1, keepdim=True).values),
    what="the highest score itself joins the text, not its place",
    why="The token's id is the place of the highest score in its row. The score is a "
    "number with decimals, and no token.",
    look_at="what max returns, and which part of it is used.",
)
_mistake(
    "the largest score without its sign",
    _version(choose=lambda last: last.abs().argmax(dim=-1, keepdim=True)),
    what="a score of -9 counts for more than one of 2 (after abs, or squared)",
    why="Logits may be negative, and a very negative one means: very unlikely.",
    look_at="what is done to the scores before argmax.",
)
_mistake(
    "a sigmoid in softmax's place",
    _version(choose=lambda last: torch.sigmoid(last).argmax(dim=-1, keepdim=True)),
    what="sigmoid makes 1.0 of every score above some 17",
    why="In 32 bits it then cannot tell the highest scores apart, and argmax takes the "
    "first of them.",
    look_at="what is done to the scores before argmax.",
)
_mistake(
    "a softmax by hand that overflows",
    _version(
        choose=lambda last: (last.exp() / last.exp().sum(dim=-1, keepdim=True)).argmax(
            dim=-1, keepdim=True
        ),
    ),
    what="exp is taken of the scores as they are",
    why="In 32 bits exp(89) is infinite, and infinite / infinite is nan. Below -104, "
    "exp is 0, and 0 / 0 is nan too. torch.softmax subtracts the highest first.",
    look_at="exp; argmax needs no softmax at all.",
)

# What the model is shown.

_mistake(
    "a text that is not cropped",
    _version(crop=lambda idx, count, size: idx),
    what="the model is shown the whole text, however long",
    why="The position embedding has context_length rows, and no row for a token "
    "beyond. As soon as the text is longer, the model fails.",
    look_at="what goes into the model; context_size must matter.",
)
_mistake(
    "a crop that keeps the first tokens",
    _version(crop=lambda idx, count, size: idx[:, :size]),
    what="the model is shown the beginning of the text, not its end",
    why="As soon as the text is longer than context_size, the model always reads the "
    "same tokens, and always chooses the same one.",
    look_at="the slice of idx: on which side of the colon is context_size?",
)
_mistake(
    "a crop of one token too few",
    _version(crop=lambda idx, count, size: idx[:, -(size - 1) :]),
    what="the model is shown context_size - 1 tokens (or all, if that is 0)",
    why="It could make use of one more. The course's GPT-2 loses one token of 1,024: "
    "too little to notice.",
    look_at="the slice of idx.",
)
_mistake(
    "a crop of one token too many",
    _version(crop=lambda idx, count, size: idx[:, -(size + 1) :]),
    what="the model is shown context_size + 1 tokens",
    why="The position embedding has no row for the last of them, so the model fails "
    "as soon as the text is long enough.",
    look_at="the slice of idx.",
)
_mistake(
    "a slice without a minus",
    _version(crop=lambda idx, count, size: idx[:, size:]),
    what="the first context_size tokens are left out, in place of the last being kept",
    why="A short prompt leaves nothing for the model to read.",
    look_at="the slice of idx.",
)
_mistake(
    "a crop of the batch",
    _version(crop=lambda idx, count, size: idx[-size:]),
    what="the slice cuts texts off, not tokens",
    why="The shape of idx is (B, T). The first index is for the texts.",
    look_at="the slice of idx: for which of the two dimensions is it?",
)
_mistake(
    "a crop to max_new_tokens",
    _version(crop=lambda idx, count, size: idx[:, -count:]),
    what="the model is shown as many tokens as are to be added",
    why="How much it may read is said by context_size. With few new tokens, it "
    "forgets most of the prompt.",
    look_at="the slice of idx.",
)
_mistake(
    "a crop to 1024 tokens",
    _version(crop=lambda idx, count, size: idx[:, -1024:]),
    what="this is GPT-2's context length, and context_size is not used",
    why="A model with a smaller context fails, and one with a larger does not use it.",
    look_at="the number in the slice of idx.",
)
_mistake(
    "the new token alone shown to the model",
    _version(
        crop=lambda idx, count, size: idx[:, -1:],
    ),
    what="the model is shown the last token and none before",
    why="This model remembers nothing between two calls. It needs the whole text each "
    "time, as long as nothing stores keys and values (4.7, further below).",
    look_at="the slice of idx.",
)


def _only_new_token(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    seen = idx[:, -size:]
    for _ in range(count):
        with torch.no_grad():
            seen = _choose(_last(model(seen)))
        idx = _join(idx, seen)
    return idx


_mistake(
    "the prompt shown once, then each new token alone",
    _only_new_token,
    what="from the second step on, the model is shown one token",
    why="This model remembers nothing between two calls. It needs the whole text each "
    "time, as long as nothing stores keys and values (4.7, further below).",
    look_at="what goes into the model in the second step.",
)


def _always_the_prompt(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    prompt = idx[:, -size:]
    for _ in range(count):
        with torch.no_grad():
            idx = _join(idx, _choose(_last(model(prompt))))
    return idx


_mistake(
    "a model that is always shown the prompt",
    _always_the_prompt,
    what="what it reads does not grow with the text",
    why="It gets the same input at each step, so it chooses the same token each time.",
    look_at="what goes into the model in the second step.",
)


def _cropped_once(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    window = idx[:, -size:]
    for _ in range(count):
        with torch.no_grad():
            new = _choose(_last(model(window)))
        window, idx = _join(window, new), _join(idx, new)
    return idx


_mistake(
    "a crop before the loop",
    _cropped_once,
    what="the text is cropped once and then grows beyond context_size",
    why="The position embedding has context_length rows, and no row for a token "
    "beyond. As soon as the text is longer, the model fails.",
    look_at="where the slice of idx stands: before the loop, or inside?",
)


def _prompt_cropped_once(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    result: Tensor = _version(crop=lambda i, c, s: i)(
        model, idx[:, -size:], count, size
    )
    return result


_mistake(
    "a prompt that is cropped before the loop, and for good",
    _prompt_cropped_once,
    what="the text itself is cropped once, and then grows beyond context_size",
    why="The beginning of a long prompt is missing in the result, and the model is "
    "shown more than it can read.",
    look_at="the slice of idx: where it stands, and what name its result gets.",
)


def _text_cropped(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    for _ in range(count):
        idx = idx[:, -size:]
        with torch.no_grad():
            idx = _join(idx, _choose(_last(model(idx))))
    return idx


_mistake(
    "a crop of the text itself",
    _text_cropped,
    what="what the model no longer sees is lost for the result too",
    why="The caller wants the whole text back. Only what the model reads has to be "
    "short.",
    look_at="the name that the cropped text gets.",
)

# What becomes of the text.

_mistake(
    "the new tokens without the prompt",
    _version(result=lambda prompt, idx: idx[:, prompt.shape[1] :]),
    what="the result starts after the prompt",
    why="It has max_new_tokens columns, and T + max_new_tokens are wanted. Whoever "
    "wants the new ones alone can slice them off.",
    look_at="what is returned.",
)
_mistake(
    "the last new token alone",
    _version(result=lambda prompt, idx: idx[:, -1:]),
    what="the result has one column",
    why="It should have T + max_new_tokens: the prompt, and all that was added.",
    look_at="what is returned.",
)
_mistake(
    "a return inside the loop",
    _version(ends=lambda idx, size, new: True),
    what="after the first token, nothing more is added",
    why="A return ends a function at once, whatever the loop has still to do.",
    look_at="how far the line with return is indented.",
)
_mistake(
    "a missing return",
    _version(result=lambda prompt, idx: None),
    what="the function returns None",
    why="What the function has made is lost when it ends, if it is not returned.",
    look_at="the function's last line.",
)
_mistake(
    "one token too many",
    _version(steps=lambda idx, count: count + 1),
    what="the loop runs once more than asked for",
    why="The result has T + max_new_tokens + 1 columns, and no new token becomes one.",
    look_at="how often the loop runs.",
)
_mistake(
    "one token too few",
    _version(steps=lambda idx, count: count - 1),
    what="the loop runs once less than asked for",
    why="For n tokens the loop needs n steps: range(1, n) has n - 1, range(n) has n.",
    look_at="how often the loop runs.",
)
_mistake(
    "one new token at the least",
    _version(steps=lambda idx, count: max(count, 1)),
    what="with max_new_tokens=0, a token is added nevertheless",
    why="Zero is a number of tokens like any other; the text should come back as it "
    "was.",
    look_at="when the loop asks whether it is at its end: before a step, or after?",
)
_mistake(
    "max_new_tokens taken for the length of the result",
    _version(steps=lambda idx, count: count - idx.shape[1]),
    what="the prompt is counted as well",
    why="So many tokens are to be added to the prompt, however long it is.",
    look_at="how often the loop runs.",
)
_mistake(
    "an end at context_size",
    _version(
        steps=lambda idx, count: count,
        ends=lambda idx, size, new: idx.shape[1] >= size,
    ),
    what="no more tokens are added once the text is as long as the model's window",
    why="Cropping is there so that the text can go on: the model reads the last "
    "context_size tokens.",
    look_at="the condition that ends the loop.",
)
_mistake(
    "an end at the end-of-text token",
    _version(ends=lambda idx, size, new: bool((new == 50256).all())),
    what="token 50256 ends the loop",
    why="It is a good idea, and generate has it (4.7, further below). This function "
    "adds as many tokens as it is asked for, so that its shape is known beforehand.",
    look_at="the condition that ends the loop.",
)


def _exchanged(model: Any, idx: Tensor, size: int, count: int) -> Tensor:  # noqa: ANN401
    result: Tensor = _version()(model, idx, count, size)
    return result


_mistake(
    "max_new_tokens and context_size exchanged",
    _exchanged,
    what="the third argument is taken for context_size, the fourth for max_new_tokens",
    why="Callers give them in the order max_new_tokens, context_size. Both are "
    "numbers, so nothing warns of it.",
    look_at="the order of the arguments.",
)
_mistake(
    "new tokens joined as new texts",
    _version(join=lambda idx, new: torch.cat((idx, new), dim=0)),
    what="dim=0 puts the new token under the texts, not at their end",
    why="The shape of idx is (B, T): rows are texts. A row of one token does not fit "
    "under rows of several, so PyTorch reports an error.",
    look_at="dim, in torch.cat.",
)
_mistake(
    "a new token before the text",
    _version(join=lambda idx, new: torch.cat((new, idx), dim=1)),
    what="the text grows at its beginning",
    why="The new token follows after the last one: the model scored what comes next.",
    look_at="the order in torch.cat.",
)
_mistake(
    "a new token in the last one's place",
    _version(join=lambda idx, new: torch.cat((idx[:, :-1], new), dim=1)),
    what="the last token is replaced, and the text does not grow",
    why="The token that the model has just read is lost.",
    look_at="how the new token joins the text.",
)
_mistake(
    "each new token twice",
    _version(join=lambda idx, new: torch.cat((idx, new, new), dim=1)),
    what="it is joined to the text two times a step",
    why="The text grows by two tokens a step, and the second was never chosen.",
    look_at="how often torch.cat is called in a step.",
)
_mistake(
    "a result that is not joined",
    _version(join=lambda idx, new: idx),
    what="the text comes back as it was",
    why="A call of torch.cat changes none of its inputs. It returns a new tensor, "
    "which is lost if it gets no name.",
    look_at="torch.cat, and what becomes of its result.",
)


def _window_slides(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    for _ in range(count):
        with torch.no_grad():
            new = _choose(_last(model(idx[:, -size:])))
        idx[:, :-1] = idx[:, 1:].clone()
        idx[:, -1:] = new
    return idx


_mistake(
    "a text that is pushed to the left",
    _window_slides,
    what="each new token overwrites the last place of your own tensor",
    why="The first token is lost at each step, and the caller's prompt is changed.",
    look_at="assignments to parts of idx.",
)


def _grown_in_place(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    idx.data = _version()(model, idx, count, size)
    return idx


_mistake(
    "a prompt that is changed",
    _grown_in_place,
    what="the caller's own tensor holds the longer text afterwards",
    why="Whoever continues the same prompt a second time gets another result.",
    look_at="assignments to idx.data or to parts of idx.",
)

# What goes on besides.

_mistake(
    "a missing no_grad",
    _version(is_recorded=True),
    what="PyTorch keeps, at each step, what backward() would need",
    why="Nobody calls backward() here. With GPT-2 small, more than a MB is kept for "
    "each token.",
    look_at="what surrounds the call of the model.",
)


def _gradients_off(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    torch.set_grad_enabled(False)
    result: Tensor = _version()(model, idx, count, size)
    return result


_mistake(
    "gradients that are switched off for good",
    _gradients_off,
    what="set_grad_enabled(False) still holds after the function",
    why="Whoever trains afterwards finds no gradients. A with block ends by itself.",
    look_at="set_grad_enabled.",
)


def _left_in_eval(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    model.eval()
    result: Tensor = _version()(model, idx, count, size)
    return result


_mistake(
    "a model that is left in evaluation mode",
    _left_in_eval,
    what="eval() is called and the mode never put back",
    why="If a text is generated in the midst of training, dropout stays off from then "
    "on. The course leaves the mode to the caller.",
    look_at="eval() in your function.",
)


def _put_into_training(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    model.train()
    result: Tensor = _version()(model, idx, count, size)
    return result


_mistake(
    "a model that is put into training mode",
    _put_into_training,
    what="train() is called",
    why="Dropout then makes part of the scores noise. The course leaves the mode to "
    "the caller.",
    look_at="train() in your function.",
)


def _put_into_training_afterwards(
    model: Any,  # noqa: ANN401
    idx: Tensor,
    count: int,
    size: int,
) -> Tensor:
    result = _left_in_eval(model, idx, count, size)
    model.train()
    return result


_mistake(
    "a model that is in training mode afterwards",
    _put_into_training_afterwards,
    what="train() follows after the loop, whatever the mode was before",
    why="A model that was in evaluation mode has dropout on from then on.",
    look_at="train() in your function.",
)


def _asked_once_more(model: Any, idx: Tensor, count: int, size: int) -> Tensor:  # noqa: ANN401
    with torch.no_grad():
        logits = model(_crop(idx, count, size))
        for _ in range(count):
            idx = _join(idx, _choose(_last(logits)))
            logits = model(_crop(idx, count, size))
    return idx


_mistake(
    "one call of the model too many",
    _asked_once_more,
    what="after the last token, the model is asked for one more, which nobody needs",
    why="A call is all the work there is. One new token costs twice what it should.",
    look_at="how often the model is called for one new token.",
)

__all__ = ["GENERATE_TEXT_SIMPLE"]
