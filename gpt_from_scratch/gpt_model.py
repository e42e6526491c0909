"""Section 4.6: the GPT model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.layer_normalization import LayerNorm
from gpt_from_scratch.llm_architecture import (
    GPTConfig,
    validate_config,
    validate_token_ids,
)
from gpt_from_scratch.transformer_block import TransformerBlock

if TYPE_CHECKING:
    from gpt_from_scratch.kv_cache import KVCache


class GPTModel(nn.Module):
    """Score, after each token of a text, every token that could come next.

    Source: section 4.6; Radford et al. (2019), "Language Models are Unsupervised
    Multitask Learners".

    Args:
        cfg: The model's configuration; a copy of it is kept as ``cfg``.

    For generating text, ``forward`` takes two more arguments, by name: ``cache``, a
    ``KVCache`` (4.7) of the tokens before the input, to which the input is added; and
    ``last_only=True``, to score what follows the last token alone.

    Shape:
        Input: token ids ``(B, T)``, with ``T`` from 1 to ``context_length``, the
        tokens in the cache included.
        Output: logits ``(B, T, vocab_size)``; with ``last_only``,
        ``(B, 1, vocab_size)``.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``); in
            ``forward``, if the ids' shape, number or values do not fit the model or
            the cache.
        TypeError: In ``forward``, if the ids are not a tensor of integers.
        RuntimeError: In ``forward``, if a cache is given while gradients are recorded.
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        validate_config(cfg)
        self.cfg: GPTConfig = {**cfg}
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(
            *[TransformerBlock(cfg) for _ in range(cfg["n_layers"])]
        )
        self.final_norm = LayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)
        self._tie_after_loading = False
        self.register_load_state_dict_pre_hook(_before_loading)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]

    def forward(
        self,
        in_idx: Tensor,
        *,
        cache: "KVCache | None" = None,
        last_only: bool = False,
    ) -> Tensor:
        context_length = self.pos_emb.num_embeddings
        validate_token_ids(
            in_idx,
            vocab_size=self.tok_emb.num_embeddings,
            context_length=context_length,
        )
        start = 0 if cache is None else cache.num_tokens
        end = start + in_idx.shape[1]
        if end > context_length:
            raise ValueError(
                f"{start} tokens in the cache and {in_idx.shape[1]} more are more than "
                f"context_length={context_length}"
            )
        positions = torch.arange(start, end, device=in_idx.device)  # (T,)
        x = self.tok_emb(in_idx) + self.pos_emb(positions)  # (B, T, emb_dim)
        x = self.drop_emb(x)
        if cache is None:
            x = self.trf_blocks(x)
        else:
            if len(cache.keys) != len(self.trf_blocks):
                raise ValueError(
                    f"the cache has {len(cache.keys)} layers, the model "
                    f"{len(self.trf_blocks)}; was it made for another model?"
                )
            for layer, block in enumerate(self.trf_blocks):
                x = block(x, cache, layer)
            cache.num_tokens = end
        if last_only:
            x = x[:, -1:]  # (B, 1, emb_dim)
        x = self.final_norm(x)
        return self.out_head(x)  # (B, T, vocab_size)

    @property
    def is_tied(self) -> bool:
        """Whether the token embedding and the output layer share one matrix."""
        return self.out_head.weight is self.tok_emb.weight

    def tie_weights(self) -> None:
        """Let the output layer use the token embedding's matrix, as GPT-2 does.

        The output layer's own matrix is dropped. The two stay tied when the model is
        moved, copied or saved. Loading a state dict keeps a tied model tied, and ties
        a model if the state dict comes from a tied one; ``out_head.weight`` may be
        missing there, but must not differ from ``tok_emb.weight`` (``ValueError``).

        Tie or load before you make the optimizer: one that was made earlier still
        holds the matrix that was dropped.
        """
        self.out_head.weight = self.tok_emb.weight

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "GPTModel":
        # What .to(), .half() and the like go through. A move that PyTorch cannot do
        # in place (to or from the meta device) would give each module its own matrix.
        tied = self.is_tied
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if tied:
            self.tie_weights()
        return self


def _before_loading(
    model: GPTModel, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Find out whether the model is to be tied once the weights are loaded."""
    embedding = state_dict.get(f"{prefix}tok_emb.weight")
    head = state_dict.get(f"{prefix}out_head.weight")
    model._tie_after_loading = model.is_tied
    if embedding is None:
        return
    if head is None:
        if model.is_tied:
            state_dict[f"{prefix}out_head.weight"] = embedding
    elif not (_has_values(embedding) and _has_values(head)):
        return
    elif embedding.is_set_to(head):
        fits = embedding.shape == model.tok_emb.weight.shape
        model._tie_after_loading = model.is_tied or fits
    elif model.is_tied and not torch.equal(embedding, head):
        raise ValueError(
            "the model is tied, but the state dict holds different matrices as "
            "tok_emb.weight and out_head.weight; load it into a model that is not tied"
        )


def _has_values(value: object) -> bool:
    """Tell a tensor whose values can be compared from a sharded, fake or meta one."""
    return type(value) in (Tensor, nn.Parameter) and not value.is_meta  # type: ignore[attr-defined]


def _after_loading(model: GPTModel, _: object) -> None:
    """Tie what loading with ``assign=True`` has parted."""
    if model._tie_after_loading:
        model.tie_weights()
