"""GPT-2's tokenizer, without a network."""

import hashlib
import os
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from gpt_from_scratch import load_tokenizer, text_to_token_ids, token_ids_to_text
from gpt_from_scratch import tokenizer as tokenizer_module

DATA = files("gpt_from_scratch") / "data" / "gpt2.tiktoken"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


# What is loaded


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Every effort moves you", [6109, 3626, 6100, 345]),
        ("Every day holds a", [6109, 1110, 6622, 257]),
        ("Hello, I am", [15496, 11, 314, 716]),
        (
            "Hello, do you like tea? <|endoftext|> In the sunlit",
            [15496, 11, 466, 345, 588, 8887, 30, 220, 50256, 554, 262, 4252, 18250],
        ),
        ("Akwirw ier", [33901, 86, 343, 86, 220, 959]),
        ("<|endoftext|>", [50256]),
        ("", []),
    ],
)
def test_known_ids(tokenizer, text, ids):
    """The first two are the texts of section 4.1, the longer ones from chapter 2."""
    found = text_to_token_ids(text, tokenizer)
    assert found.tolist() == [ids]
    assert found.dtype == torch.int64
    assert token_ids_to_text(found, tokenizer) == text


def test_vocabulary(tokenizer):
    assert tokenizer.name == "gpt2"
    assert tokenizer.n_vocab == 50257
    assert tokenizer.eot_token == 50256
    tokens = [tokenizer.decode_single_token_bytes(i) for i in range(50257)]
    assert len(set(tokens)) == 50257
    assert {bytes([byte]) for byte in range(256)} <= set(tokens)


def test_parameters_are_tiktokens_own(tokenizer, monkeypatch):
    """Read from what tiktoken would build, with its downloads left out."""
    hashes = []

    def no_download(url, expected_hash):
        hashes.append(expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", no_download)
    monkeypatch.setattr(
        openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **kwargs: {}
    )
    openai_public.r50k_base()
    assert hashlib.sha256(DATA.read_bytes()).hexdigest() == hashes[0]
    expected = openai_public.gpt2()
    assert tokenizer.name == expected["name"]
    assert tokenizer.n_vocab == expected["explicit_n_vocab"]
    assert tokenizer._special_tokens == expected["special_tokens"]
    assert tokenizer._pat_str == expected["pat_str"] == openai_public.r50k_pat_str


def test_loaded_once(tokenizer):
    assert load_tokenizer() is tokenizer


# Forth and back


@given(st.text(max_size=60))
def test_round_trip(tokenizer, text):
    ids = text_to_token_ids(text, tokenizer)
    assert ids.shape[0] == 1
    assert token_ids_to_text(ids, tokenizer) == text
    assert token_ids_to_text(ids[0], tokenizer) == text
    assert token_ids_to_text(ids.int(), tokenizer) == text


@given(st.lists(st.sampled_from(["a", " ", "<|endoftext|>", "'s", "\n", "é"])))
def test_end_of_text_is_one_token_wherever_it_is(tokenizer, parts):
    ids = text_to_token_ids("".join(parts), tokenizer)
    assert ids.eq(50256).sum() == parts.count("<|endoftext|>")


def test_half_a_character_becomes_a_replacement(tokenizer):
    ids = text_to_token_ids("\N{OWL}", tokenizer)
    assert ids.shape[1] > 1
    assert token_ids_to_text(ids[:, :1], tokenizer) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("text", [None, 5, b"text", ["text"], torch.tensor([1])])
def test_text_is_a_string(tokenizer, text):
    kind = type(text).__name__
    with pytest.raises(TypeError, match=f"^text must be a string, got {kind}$"):
        text_to_token_ids(text, tokenizer)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, 2], TypeError, "^token_ids must be a tensor, got list$"),
        ("text", TypeError, "^token_ids must be a tensor, got str$"),
        (
            torch.ones(2),
            TypeError,
            r"^token_ids must be torch\.int64 or torch\.int32, got torch\.float32$",
        ),
        (
            torch.tensor([True]),
            TypeError,
            r"must be torch\.int64 or torch\.int32, got torch\.bool$",
        ),
        (
            torch.ones(2, 3).long(),
            ValueError,
            r"must hold one text, shape \(T,\) or \(1, T\), got \(2, 3\); decode a "
            r"batch row by row$",
        ),
        (torch.ones(2, 1).long(), ValueError, r"hold one text.* got \(2, 1\);"),
        (torch.ones(1, 1, 2).long(), ValueError, r"hold one text.* got \(1, 1, 2\);"),
        (torch.tensor(5), ValueError, r"hold one text.* got \(\);"),
        (
            torch.tensor([50256, 50257]),
            ValueError,
            "^token id 50257 is not in the tokenizer's vocabulary: ids go from 0 to "
            "50256$",
        ),
        (torch.tensor([[-1]]), ValueError, "^token id -1 is not in the tokenizer's"),
    ],
)
def test_ids_that_cannot_be_decoded(tokenizer, ids, error, message):
    with pytest.raises(error, match=message):
        token_ids_to_text(ids, tokenizer)


# The data


@pytest.fixture
def load_altered(tmp_path, monkeypatch):
    """Load the tokenizer afresh, from a file with the given bytes."""

    def load(data):
        (tmp_path / "data").mkdir()
        if data is not None:
            (tmp_path / "data" / "gpt2.tiktoken").write_bytes(data)
        monkeypatch.setattr(tokenizer_module, "files", lambda package: tmp_path)
        return load_tokenizer.__wrapped__()

    return load


def test_the_same_data_load_afresh(tokenizer, load_altered):
    fresh = load_altered(DATA.read_bytes())
    assert fresh is not tokenizer
    assert fresh.encode("Hello, I am") == [15496, 11, 314, 716]


@pytest.mark.parametrize(
    ("alter", "cause"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), r"line ends .* \.gitattributes"),
        (lambda data: data[:-1], "altered or cut short"),
        (lambda data: data[: len(data) // 2], "altered or cut short"),
        (lambda data: data + b"\n", "altered or cut short"),
        (lambda data: b"", "altered or cut short"),
        (lambda data: data.replace(b"0", b"1", 1), "altered or cut short"),
    ],
)
def test_altered_data(load_altered, alter, cause):
    """The message says what happened and how to restore the file."""
    message = (
        rf"^gpt_from_scratch/data/gpt2\.tiktoken is not OpenAI's file: .*{cause}.*"
        r"git checkout -- gpt_from_scratch/data/gpt2\.tiktoken .*expected 306cd27f"
    )
    with pytest.raises(ValueError, match=message):
        load_altered(alter(DATA.read_bytes()))


def test_missing_data(load_altered):
    with pytest.raises(FileNotFoundError, match=r"gpt2\.tiktoken"):
        load_altered(None)


ISOLATED = """
import os, sys

def forbid(event, args):
    if event.startswith("socket."):
        raise AssertionError(f"network: {event} {args}")
    if event == "open":
        path, mode, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and path != os.devnull:
            raise AssertionError(f"file written: {path}")
    if event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"):
        raise AssertionError(f"{event} {args}")

from gpt_from_scratch import load_tokenizer
sys.addaudithook(forbid)
print(load_tokenizer().encode("Hello, I am"))
"""


def test_loads_without_a_network_and_writes_nothing(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    names = "HOME USERPROFILE TMPDIR TEMP TMP XDG_CACHE_HOME".split()
    environment = {**os.environ, **dict.fromkeys(names, str(home))}
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        environment.pop(name, None)
    run = subprocess.run(
        [sys.executable, "-B", "-c", ISOLATED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "[15496, 11, 314, 716]\n", run.stderr
    assert list(home.iterdir()) == []
