"""GPT from scratch: the finished components of the course, one section a module.

The notebooks explain and build each component; this package holds it finished. The
names are the book's, so a state dict of its code fits. ``plots`` is imported apart,
``from gpt_from_scratch import plots``: it alone needs matplotlib.
"""

# Grouped by section, the order in which the course meets them, not by the alphabet.
# ruff: noqa: I001, RUF022

# 4.1 The outline of the model, and its configuration.
from gpt_from_scratch.llm_architecture import (
    GPT2_CONFIGS,
    GPT3_CONFIG,
    GPT_CONFIG_124M,
    DummyGPTModel,
    DummyLayerNorm,
    DummyTransformerBlock,
    GPTConfig,
    validate_config,
)
from gpt_from_scratch.tokenizer import (
    load_tokenizer,
    text_to_token_ids,
    token_ids_to_text,
)

# 4.2 Layer normalization.
from gpt_from_scratch.layer_normalization import LayerNorm

# 4.3 The feed-forward network.
from gpt_from_scratch.feed_forward import GELU, FeedForward

# 4.4 Shortcut connections.
from gpt_from_scratch.shortcut_connections import (
    ExampleDeepNeuralNetwork,
    gradient_magnitudes,
)

# 4.5 Attention (from chapter 3) and the transformer block.
from gpt_from_scratch.attention import MultiHeadAttention
from gpt_from_scratch.transformer_block import TransformerBlock

# 4.6 The whole model, and its size.
from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.model_size import (
    bytes_kept_for_backward,
    count_parameters,
    flops_per_token,
    kv_cache_bytes_per_token,
    parameter_counts,
    storage_bytes,
    total_parameters,
    training_bytes,
)

# 4.7 Generating text.
from gpt_from_scratch.text_generation import generate, generate_text_simple
from gpt_from_scratch.kv_cache import KVCache
from gpt_from_scratch.pretrained import load_pretrained

# For the notebooks: prints that are equal on every machine.
from gpt_from_scratch.display import rounded

__all__ = [
    # 4.1
    "GPTConfig",
    "GPT_CONFIG_124M",
    "GPT2_CONFIGS",
    "GPT3_CONFIG",
    "validate_config",
    "DummyGPTModel",
    "DummyTransformerBlock",
    "DummyLayerNorm",
    "load_tokenizer",
    "text_to_token_ids",
    "token_ids_to_text",
    # 4.2
    "LayerNorm",
    # 4.3
    "GELU",
    "FeedForward",
    # 4.4
    "ExampleDeepNeuralNetwork",
    "gradient_magnitudes",
    # 4.5
    "MultiHeadAttention",
    "TransformerBlock",
    # 4.6
    "GPTModel",
    "bytes_kept_for_backward",
    "count_parameters",
    "parameter_counts",
    "total_parameters",
    "storage_bytes",
    "kv_cache_bytes_per_token",
    "flops_per_token",
    "training_bytes",
    # 4.7
    "generate_text_simple",
    "generate",
    "KVCache",
    "load_pretrained",
    # Notebooks
    "rounded",
]
