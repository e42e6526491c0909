"""Weights from files: Hugging Face's GPT-2 models of random weights, saved here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpt_from_scratch import (
    GPT_CONFIG_124M,
    GPTModel,
    generate_text_simple,
    load_pretrained,
)

NEEDED = 'the weights\' files need Hugging Face: pip install -e ".[dev,pretrained]"'
transformers = pytest.importorskip("transformers", reason=NEEDED)
huggingface_hub = pytest.importorskip("huggingface_hub", reason=NEEDED)
safetensors_torch = pytest.importorskip("safetensors.torch", reason=NEEDED)
load_file, save_file = safetensors_torch.load_file, safetensors_torch.save_file

FILE = "model.safetensors"
TINY = {"vocab_size": 53, "n_positions": 7, "n_embd": 12, "n_head": 3, "n_layer": 2}
WIDE = {"vocab_size": 53, "n_positions": 24, "n_embd": 64, "n_head": 1, "n_layer": 2}
HEADS = ["GPT2LMHeadModel", "GPT2Model"]


@pytest.fixture
def build(randomize):
    """Build a Hugging Face model with telling float64 weights."""

    def build_one(kind="GPT2LMHeadModel", **settings):
        ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
        config = transformers.GPT2Config(**{**TINY, **ends, **settings})
        return randomize(getattr(transformers, kind)(config)).eval()

    return build_one


@pytest.fixture
def save(build, tmp_path):
    """Build and save one, and return it with its folder."""

    def save_one(kind="GPT2LMHeadModel", *, dtype=torch.float64, **settings):
        theirs = build(kind, **settings).to(dtype)
        theirs.save_pretrained(tmp_path / "model")
        return theirs, tmp_path / "model"

    return save_one


@pytest.fixture
def folder(save):
    """Give a folder with a tiny model, to be spoilt."""
    return save()[1]


def their_logits(theirs, ids):
    if isinstance(theirs, transformers.GPT2Model):
        return theirs(ids).last_hidden_state @ theirs.wte.weight.T
    return theirs(ids).logits


def assert_same_logits(ours, theirs, *, rtol=1e-10):
    generator = torch.Generator().manual_seed(123)
    ids = torch.randint(53, (3, 7), generator=generator)
    with torch.no_grad():
        expected = their_logits(theirs, ids)
        torch.testing.assert_close(
            ours(ids), expected, rtol=rtol, atol=rtol * expected.abs().max().item()
        )


def change(folder, tensors):
    """Replace, add or (None) remove tensors of a saved model; return the file."""
    path = folder / FILE
    content = {**load_file(path), **tensors}
    save_file({k: v for k, v in content.items() if v is not None}, path)
    return path


def configure(folder, **settings):
    """Change settings of a saved config.json; None removes one."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text("utf-8")), **settings}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content), encoding="utf-8")


# What comes out.


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("whole_folder", [True, False])
def test_same_logits(save, kind, whole_folder):
    """With the prefix (GPT2LMHeadModel) and without (GPT2Model); folder and file."""
    theirs, folder = save(kind)
    keys = load_file(folder / FILE).keys()
    assert any(key.startswith("transformer.") for key in keys) == (kind == HEADS[0])
    ours = load_pretrained(folder if whole_folder else str(folder / FILE))
    assert_same_logits(ours, theirs)
    assert ours.is_tied
    assert not ours.training


@pytest.mark.parametrize(("emb_dim", "n_heads"), [(64, 1), (128, 2), (192, 3)])
def test_heads_without_a_configuration(save, emb_dim, n_heads):
    """64 features a head, where nobody says otherwise."""
    theirs, folder = save(n_embd=emb_dim, n_head=n_heads)
    (folder / "config.json").unlink()
    ours = load_pretrained(folder)
    assert ours.trf_blocks[0].att.num_heads == n_heads
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize("path", ["folder", "file"])
def test_configuration_goes_before_the_64_features(save, path):
    """Two heads of 32, whether the folder or the file in it is given."""
    theirs, folder = save(n_embd=64, n_head=2)
    assert_same_logits(
        load_pretrained(folder if path == "folder" else folder / FILE), theirs
    )


def test_sizes_and_settings(save):
    """Each size is read off its own tensor; the rest is what GPT-2 has."""
    ours = load_pretrained(save(n_layer=3, activation_function="gelu_pytorch_tanh")[1])
    assert ours.tok_emb.weight.shape == (53, 12)
    assert ours.pos_emb.weight.shape == (7, 12)
    assert len(ours.trf_blocks) == 3
    assert ours.trf_blocks[0].att.context_length == 7
    assert ours.trf_blocks[0].att.W_key.bias is not None
    assert ours.drop_emb.p == 0.1
    cfg = {"vocab_size": 53, "context_length": 7, "emb_dim": 12, "n_heads": 3}
    cfg |= {"n_layers": 3, "drop_rate": 0.1, "qkv_bias": True}
    assert list(ours.state_dict()) == list(GPTModel(cfg).state_dict())


def test_untied(save):
    """A matrix of its own for the output is taken."""
    theirs, folder = save(tie_word_embeddings=False)
    ours = load_pretrained(folder)
    assert not ours.is_tied
    assert_same_logits(ours, theirs)


def test_untied_whatever_the_configuration_says(save):
    """The tensors are right: what differs is not tied."""
    theirs, folder = save(tie_word_embeddings=False)
    configure(folder, tie_word_embeddings=True)
    ours = load_pretrained(folder)
    assert not ours.is_tied
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_equal_head_is_tied(save, dtype):
    """Some files hold the token embedding twice; it is compared piece by piece."""
    theirs, folder = save(vocab_size=20000)
    change(folder, {"lm_head.weight": theirs.lm_head.weight.detach().clone()})
    ours = load_pretrained(folder, dtype=dtype)
    assert ours.is_tied
    assert torch.equal(ours.tok_emb.weight, theirs.lm_head.weight.to(dtype))


def test_head_differs_in_its_last_number(save):
    """Nearly equal is a matrix of its own."""
    theirs, folder = save(vocab_size=20000)
    head = theirs.lm_head.weight.detach().clone()
    head[-1, -1] += 1
    ours = load_pretrained(change(folder, {"lm_head.weight": head}))
    assert not ours.is_tied
    assert torch.equal(ours.out_head.weight, head)


def test_masks_are_ignored(save):
    """OpenAI's files hold each block's mask, and older ones a masked value."""
    theirs, folder = save("GPT2Model")
    masks = {
        "h.0.attn.bias": torch.ones(1, 1, 7, 7).tril(),
        "h.1.attn.bias": torch.ones(1, 1, 7, 7, dtype=torch.bool).tril(),
        "h.1.attn.masked_bias": torch.tensor(-1e4),
    }
    assert_same_logits(load_pretrained(change(folder, masks)), theirs)


def test_several_parts(save, tmp_path):
    theirs, _ = save()
    folder = tmp_path / "parts"
    theirs.save_pretrained(folder, max_shard_size="10KB")
    assert not (folder / FILE).exists()
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert_same_logits(load_pretrained(folder), theirs)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "dtype", [None, torch.float32, torch.float64, torch.bfloat16, torch.float16]
)
def test_dtypes(save, stored, dtype):
    """What is stored stays to the bit, or is converted as PyTorch does."""
    theirs, folder = save(dtype=stored)
    ours = load_pretrained(folder, dtype=dtype)
    assert {p.dtype for p in ours.parameters()} == {dtype or stored}
    assert ours(torch.tensor([[1, 2, 3]])).dtype == (dtype or stored)
    scale = theirs.transformer.h[1].ln_2.weight
    assert torch.equal(ours.trf_blocks[1].norm2.scale, scale.to(dtype))
    weight = theirs.transformer.h[1].mlp.c_fc.weight.T
    assert torch.equal(ours.trf_blocks[1].ff.layers[0].weight, weight.to(dtype))


def test_parameters_are_ordinary(save):
    """Trainable, without gaps, each with memory of its own and nothing beside it."""
    ours = load_pretrained(save()[1])
    for parameter in ours.parameters():
        assert isinstance(parameter, torch.nn.Parameter)
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert parameter.is_contiguous() or parameter.t().is_contiguous()
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-2)
    ours.train()(torch.tensor([[1, 2, 3]])).square().sum().backward()
    optimizer.step()
    same = [
        name
        for name, old in before.items()
        if torch.equal(ours.get_parameter(name), old)
    ]
    assert same == []


def test_matrices_of_the_blocks_lie_as_in_the_file(save):
    """Inputs by outputs, which a single token is multiplied by faster on a CPU."""
    ours = load_pretrained(save()[1])
    matrices = [m for m in ours.trf_blocks.parameters() if m.ndim == 2]
    assert len(matrices) == 2 * 6
    assert all(matrix.t().is_contiguous() for matrix in matrices)
    assert ours.tok_emb.weight.is_contiguous()


def test_file_is_free_afterwards(save):
    """Overwritten and deleted: the model no longer cares."""
    theirs, folder = save()
    ours = load_pretrained(folder)
    path = folder / FILE
    path.write_bytes(b"\0" * path.stat().st_size)
    path.unlink()
    assert_same_logits(ours, theirs)


def test_random_numbers_are_left_alone(folder):
    """Loading draws none, so what comes after a seed stays as it is."""
    torch.manual_seed(123)
    state = torch.get_rng_state()
    load_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_greedy_tokens(save):
    """Twenty, within the context: theirs does not crop."""
    theirs, folder = save(n_positions=24)
    ids = torch.tensor([[1, 52, 3], [0, 4, 5], [9, 9, 9], [20, 30, 40]])
    with torch.no_grad():  # large embeddings, so that it does not repeat itself
        for layer in (theirs.transformer.wte, theirs.transformer.wpe):
            layer.weight.mul_(20)
    theirs.save_pretrained(folder)
    found = generate_text_simple(load_pretrained(folder), ids, 20, context_size=24)
    mask = torch.ones_like(ids)
    expected = theirs.generate(
        ids, attention_mask=mask, max_new_tokens=20, do_sample=False
    )
    assert torch.equal(found, expected)
    assert found[:, 3:].unique().numel() > 5


# GPT-2's smallest size.


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Save the 124M model with random weights; half a gigabyte, deleted afterwards."""
    folder = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config()
    with torch.device("meta"):
        theirs = transformers.GPT2LMHeadModel(config)
    theirs = theirs.to_empty(device="cpu").eval()
    theirs.tie_weights()
    generator = torch.Generator().manual_seed(123)
    for name, parameter in theirs.named_parameters():
        mean = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, mean, 0.05, generator=generator)
    theirs.save_pretrained(folder)
    yield theirs, folder
    shutil.rmtree(folder)


def test_124m(full):
    """The same logits, to 1e-4 of the largest, and the same greedy tokens."""
    theirs, folder = full
    ours = load_pretrained(folder)
    assert sum(p.numel() for p in ours.parameters()) == 124_439_808
    assert ours.trf_blocks[0].att.num_heads == GPT_CONFIG_124M["n_heads"]
    ids = torch.tensor([[15496, 11, 314, 716], [0, 50256, 1, 2]])
    with torch.no_grad():
        expected, found = theirs(ids).logits, ours(ids)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    new = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(generate_text_simple(ours, ids, 8, context_size=1024), new)


MEMORY = """
import sys, torch, safetensors
from pathlib import Path
from gpt_from_scratch import load_pretrained

def kilobytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))

load_pretrained(sys.argv[2])  # a small one first, so that all code is loaded
before = kilobytes("VmRSS")
dtype = getattr(torch, sys.argv[3])
model = load_pretrained(sys.argv[1], dtype=dtype)
weights = sum(p.nbytes for p in model.parameters())
print((kilobytes("VmHWM") - before) * 1024 / weights)
"""  # it was 1.02 for float32 and 1.04 for bfloat16


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="/proc tells the memory's peak"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", ["missing", "equal"])
def test_peak_memory(full, folder, tmp_path, head, dtype):
    """The peak is at most 1.2 times the weights, converted or not."""
    path = full[1] / FILE
    if head == "equal":
        content = load_file(path)
        path = tmp_path / FILE
        wte = content["transformer.wte.weight"]
        save_file({**content, "lm_head.weight": wte.clone()}, path)
    command = [sys.executable, "-c", MEMORY, str(path), str(folder), dtype]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    if head == "equal":
        path.unlink()
    assert 0.9 < float(run.stdout) < 1.2


# Where it comes from.


@pytest.fixture
def hub(monkeypatch, save, tmp_path):
    """Answer downloads with a saved model; the list holds what was asked for."""
    theirs, folder = save(**WIDE)
    asked = []

    def download(repo_id, filename):
        asked.append((repo_id, filename))
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return theirs, folder, asked


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_names(hub, name):
    theirs, _, asked = hub
    ours = load_pretrained(name)
    assert asked == [(f"openai-community/{name}", FILE)]
    assert_same_logits(ours, theirs)


def test_folder_with_weights_goes_before_a_name(hub, build):
    *_, asked = hub
    theirs = build()
    theirs.save_pretrained("gpt2")
    assert_same_logits(load_pretrained("gpt2"), theirs)
    assert asked == []


def test_folder_without_weights_does_not_hide_a_name(hub):
    """The book's code makes a folder gpt2, for files of another kind."""
    theirs, _, asked = hub
    (Path("gpt2") / "124M").mkdir(parents=True)
    assert_same_logits(load_pretrained("gpt2"), theirs)
    assert len(asked) == 1
    with pytest.raises(FileNotFoundError, match=f"gpt2 holds no {FILE}"):
        load_pretrained(Path("gpt2"))  # a Path is never a name
    assert len(asked) == 1


def test_home_folder(folder, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder.parent))
    assert isinstance(load_pretrained("~/model"), GPTModel)


def test_offline(save, tmp_path):
    """Without a network: what the cache holds is loaded, the rest is an error."""
    _, folder = save(**WIDE)
    cached = tmp_path / "home" / "hub" / "models--openai-community--gpt2"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    shutil.copytree(folder, cached / "snapshots" / ("a" * 40))
    code = """
from gpt_from_scratch import load_pretrained
print(load_pretrained("gpt2").tok_emb.weight.shape)
try:
    load_pretrained("gpt2-xl")
except ConnectionError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch.Size([53, 64])" in run.stdout
    assert "gpt2-xl is not in the cache and could not be downloaded" in run.stdout
    assert "give its path" in run.stdout


@pytest.mark.parametrize("error", [RuntimeError("cut"), OSError("disk full")])
def test_download_fails(hub, monkeypatch, error):
    def download(repo_id, filename):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    advice = "Check the network and the space on the disk"
    with pytest.raises(ConnectionError, match=f"gpt2 .*{error}.* {advice}"):
        load_pretrained("gpt2")


# What goes wrong.


@pytest.mark.parametrize("name", ["safetensors", "huggingface_hub"])
def test_extra_is_not_installed(hub, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=rf"{name}, which .* install .*\[pretrained\]"
    ):
        load_pretrained("gpt2")
    assert hub[2] == []  # nothing was fetched before


def test_only_a_name_needs_huggingface_hub(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert isinstance(load_pretrained(folder), GPTModel)


def test_extra_is_too_old(folder, monkeypatch):
    def safe_open(filename, framework):
        """Open a file, as before safetensors 0.8."""

    monkeypatch.setattr("safetensors.safe_open", safe_open)
    with pytest.raises(ImportError, match=r"too old; .* install .*\[pretrained\]"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gtp2", "'gpt2'"),
        ("GPT2-XL", "'gpt2-xl'"),
        ("gpt2-larg", "'gpt2-large'"),
        ("openai-community/gpt2-medium", "'gpt2-medium'"),
    ],
)
def test_misspelt_name(name, meant):
    with pytest.raises(FileNotFoundError, match=rf"did you mean {meant}\?"):
        load_pretrained(name)


def test_neither_name_nor_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_pretrained(tmp_path / "nowhere.safetensors")
    assert str(tmp_path / "nowhere.safetensors") in str(caught.value)
    assert "['gpt2', 'gpt2-medium', 'gpt2-large', 'gpt2-xl']" in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"holds no {FILE}; download it"):
        load_pretrained(tmp_path)
    (tmp_path / "mine.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"give the path of mine\.safetensors"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "gpt2.pth", "gpt2.pt"])
def test_pickle_is_refused(tmp_path, name):
    """And never opened."""
    path = tmp_path / name
    path.touch()
    for given in (path, tmp_path):
        with pytest.raises(ValueError, match=f"{name} is a pickle.*save_pretrained"):
            load_pretrained(given)


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_file_is_cut_short(folder, size):
    path = folder / FILE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model.safetensors \(.* bytes\) .*cut short"):
        load_pretrained(folder)


def test_file_is_something_else(tmp_path):
    """Such as what git stores when git-lfs is missing."""
    path = tmp_path / FILE
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"\(43 bytes\) is not a safetensors file"):
        load_pretrained(path)


def test_part_is_missing(build, tmp_path):
    build().save_pretrained(tmp_path, max_shard_size="10KB")
    part = sorted(tmp_path.glob("*.safetensors"))[1]
    part.unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {part.name}; download all"):
        load_pretrained(tmp_path)


def test_part_is_no_model(build, tmp_path):
    build().save_pretrained(tmp_path, max_shard_size="10KB")
    part = sorted(tmp_path.glob("*.safetensors"))[1]
    with pytest.raises(ValueError, match=r"lacks .*, \.\.\. \(\d+ in all\).* give the"):
        load_pretrained(part)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_index_names_nothing(tmp_path, content):
    (tmp_path / f"{FILE}.index.json").write_text(content)
    with pytest.raises(ValueError, match="names no files"):
        load_pretrained(tmp_path)


def test_missing_tensor(folder):
    change(folder, {"transformer.h.1.ln_2.bias": None})
    with pytest.raises(ValueError, match=r"it lacks h\.1\.ln_2\.bias\. "):
        load_pretrained(folder)


@pytest.mark.parametrize("name", ["wte.weight", "wpe.weight", "ln_f.weight"])
def test_missing_tensor_outside_the_blocks(folder, name):
    change(folder, {f"transformer.{name}": None})
    with pytest.raises(ValueError, match=f"it lacks {name}"):
        load_pretrained(folder)


def test_missing_block(save):
    """Blocks 0 and 2: block 1 is missing."""
    _, folder = save(n_layer=3)
    path = folder / FILE
    content = load_file(path)
    save_file({k: v for k, v in content.items() if ".h.1." not in k}, path)
    with pytest.raises(
        ValueError,
        match=r"lacks h\.1\.ln_1\.weight, .*, \.\.\. \(12 in all\) and holds h\.2\.",
    ):
        load_pretrained(folder)


def test_surplus_tensor(folder):
    change(folder, {"score.weight": torch.zeros(2, 12)})
    with pytest.raises(
        ValueError, match=r"it holds score\.weight, which GPT-2 has not"
    ):
        load_pretrained(folder)


def test_tensor_with_and_without_prefix(folder):
    change(folder, {"wte.weight": torch.zeros(53, 12)})
    with pytest.raises(ValueError, match=r"holds a second wte\.weight"):
        load_pretrained(folder)


def test_file_of_another_layout(tmp_path, small_config):
    """Such as this course's own."""
    model = GPTModel(small_config)
    save_file(model.state_dict(), tmp_path / FILE)
    with pytest.raises(
        ValueError, match=r"lacks .*wte\.weight.*holds .*\(\d+ in all\)"
    ):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("wpe.weight", (7, 11), "(7, 12)"),
        ("ln_f.weight", (11,), "(12,)"),
        ("h.1.ln_1.weight", (1,), "(12,)"),
        ("h.0.attn.c_attn.weight", (36, 12), "(12, 36)"),
        ("h.0.attn.c_attn.bias", (12,), "(36,)"),
        ("h.0.mlp.c_fc.weight", (48, 12), "(12, 48)"),
        ("h.0.mlp.c_proj.weight", (12, 48), "(48, 12)"),
        ("lm_head.weight", (54, 12), "(53, 12)"),
    ],
)
def test_wrong_shape(folder, name, shape, expected):
    key = name if name == "lm_head.weight" else f"transformer.{name}"
    change(folder, {key: torch.zeros(shape)})
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_pretrained(folder)
    assert f"{name} has shape {shape}, expected {expected}" in str(caught.value)


@pytest.mark.parametrize("name", ["wte.weight", "wpe.weight"])
def test_embedding_is_no_matrix(folder, name):
    change(folder, {f"transformer.{name}": torch.zeros(53)})
    with pytest.raises(
        ValueError, match=rf"{name} must have two dimensions, got \(53,"
    ):
        load_pretrained(folder)


def test_number_of_heads_is_unknown(save):
    _, folder = save()
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"12 features are no multiple.*config\.json"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 50257),
        ("n_positions", 1024),
        ("n_embd", 768),
        ("n_layer", 12),
    ],
)
def test_configuration_of_another_model(folder, key, value):
    """Sizes that differ: nobody knows whether its number of heads is right."""
    configure(folder, **{key: value})
    with pytest.raises(ValueError, match=f"says {key}={value}, but the tensors"):
        load_pretrained(folder / FILE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "gpt_neo"),
        ("activation_function", "relu"),
        ("activation_function", "gelu"),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
    ],
)
def test_another_computation(folder, key, value):
    configure(folder, **{key: value})
    with pytest.raises(ValueError, match=f"says {key}={value!r}; GPTModel computes"):
        load_pretrained(folder)


def test_configuration_lacks_the_heads(folder):
    configure(folder, n_head=None)
    with pytest.raises(ValueError, match="lacks n_head"):
        load_pretrained(folder)


def test_number_of_heads_does_not_fit(folder):
    """The configuration is checked as any other."""
    configure(folder, n_head=5)
    with pytest.raises(ValueError, match=r"divisible .*, got 12 and 5"):
        load_pretrained(folder)


def test_untied_without_a_head(save):
    """The base model alone has no output layer to give."""
    _, folder = save("GPT2Model", tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"tie_word_embeddings=False.* no lm_head"):
        load_pretrained(folder)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff", b"[1]"])
def test_configuration_is_not_json(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json .* JSON.*download it again"):
        load_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn])
def test_dtype_cannot_be_used(folder, dtype):
    with pytest.raises(ValueError, match=f"dtype must be one of .*, got {dtype}"):
        load_pretrained(folder, dtype=dtype)


def test_dtype_is_a_string(folder):
    with pytest.raises(TypeError, match=r"such as torch\.bfloat16, got 'float16'"):
        load_pretrained(folder, dtype="float16")


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_device_cannot_be_used(folder, device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot .*device='cpu'"):
        load_pretrained(folder, device=device)


def test_quantized_weights(folder):
    change(folder, {"transformer.ln_f.bias": torch.zeros(12, dtype=torch.int8)})
    with pytest.raises(ValueError, match=r"numbers of type F64, I8; .*not quantized"):
        load_pretrained(folder)


def test_mixed_number_types(folder):
    """Which one is wanted must be said."""
    change(folder, {"transformer.ln_f.bias": torch.ones(12)})
    with pytest.raises(ValueError, match="mixes numbers of type F32, F64; choose one"):
        load_pretrained(folder)
    ours = load_pretrained(folder, dtype=torch.float32)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
