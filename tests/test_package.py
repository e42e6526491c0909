"""The package's public names, and what importing it costs."""

import json
import subprocess
import sys
from types import ModuleType

import pytest

import gpt_from_scratch

NAMES = """
    GPTConfig GPT_CONFIG_124M GPT2_CONFIGS GPT3_CONFIG validate_config DummyGPTModel
    DummyTransformerBlock DummyLayerNorm LayerNorm GELU FeedForward
    ExampleDeepNeuralNetwork gradient_magnitudes MultiHeadAttention TransformerBlock
    GPTModel count_parameters parameter_counts total_parameters storage_bytes
    kv_cache_bytes_per_token flops_per_token training_bytes generate_text_simple
    load_tokenizer text_to_token_ids token_ids_to_text rounded
    load_pretrained bytes_kept_for_backward
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_name_is_public(name):
    assert hasattr(gpt_from_scratch, name)
    assert name in gpt_from_scratch.__all__


def test_all_is_complete():
    """Every name at the top level that is no module, and each once."""
    public = [
        name
        for name, value in vars(gpt_from_scratch).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert sorted(gpt_from_scratch.__all__) == sorted(public)


def test_star_import():
    namespace = {}
    exec("from gpt_from_scratch import *", namespace)
    assert set(gpt_from_scratch.__all__) <= set(namespace)


def test_public_classes_and_functions_are_documented():
    for name in gpt_from_scratch.__all__:
        value = getattr(gpt_from_scratch, name)
        assert not callable(value) or value.__doc__, name


def modules_after(statement):
    """Name the top-level modules that a fresh Python has after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


def test_import_loads_pytorch_and_nothing_else():
    """Not matplotlib, tiktoken or transformers: each costs time or may be missing."""
    ours = modules_after("import gpt_from_scratch")
    torchs = modules_after("import torch")
    more = ours - torchs - set(sys.stdlib_module_names)
    assert more == {"gpt_from_scratch"}
    assert not ours & {"matplotlib", "tiktoken", "transformers"}
