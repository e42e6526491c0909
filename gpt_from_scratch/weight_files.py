"""Find and open files of weights, for load_pretrained."""

import difflib
import importlib
import json
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from torch import Tensor

from gpt_from_scratch.llm_architecture import GPT2_CONFIGS

_FILE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".pkl")
_INSTALL = (
    f'in the course\'s folder: {sys.executable} -m pip install -e ".[pretrained]"'
)


def find_weight_files(name_or_path: str | Path) -> list[Path]:
    """Find the files that hold the weights: one, or all of its parts."""
    path = Path(name_or_path).expanduser()
    index = path / f"{_FILE}.index.json"
    if (path / _FILE).is_file():
        return [path / _FILE]
    if index.is_file():
        return _find_parts(index)
    if name_or_path in GPT2_CONFIGS:
        return [_download(str(name_or_path))]
    if path.is_dir():
        files = sorted(path.iterdir())
        others = [file.name for file in files if file.suffix == ".safetensors"]
        pickles = [file for file in files if file.suffix in _PICKLES]
        if pickles and not others:
            return find_weight_files(pickles[0])  # says what is wrong with it
        hint = f"give the path of {some(others)}" if others else "download it there"
        raise FileNotFoundError(f"{path.absolute()} holds no {_FILE}; {hint}")
    if not path.is_file():
        names = [*GPT2_CONFIGS]
        close = difflib.get_close_matches(path.name.lower(), names, n=1, cutoff=0.75)
        raise FileNotFoundError(
            f"there is no file or folder {path.absolute()}, and {str(name_or_path)!r} "
            f"is none of the names {names}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    if path.suffix in _PICKLES:
        raise ValueError(
            f"{path} is a pickle: it can run any code when it is loaded. Take the "
            f"model.safetensors of the same model, or write one: transformers."
            f"GPT2LMHeadModel.from_pretrained(...).save_pretrained(...)"
        )
    return [path]


def _find_parts(index: Path) -> list[Path]:
    """Find the files that a model of several parts consists of."""
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"{index} names no files (weight_map); download it again")
    names = sorted({str(part) for part in parts.values()})
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{index.parent} lacks {some(missing)}; download all parts into it"
        )
    return [index.parent / name for name in names]


def _download(name: str) -> Path:
    """Fetch a model's weights, or find them in Hugging Face's cache."""
    hub = import_extra("huggingface_hub")
    try:
        return Path(hub.hf_hub_download(f"openai-community/{name}", _FILE))
    except Exception as error:  # of several libraries, with no common class
        raise ConnectionError(
            f"{name} is not in the cache and could not be downloaded "
            f"({type(error).__name__}: {error}). Check the network and the space on "
            f"the disk; or get {_FILE} of openai-community/{name} in another way, and "
            f"give its path"
        ) from error


class StoredTensor(NamedTuple):
    """A tensor in an open file; its values are read only when asked for."""

    file: Any  # as safetensors.safe_open gives it
    key: str  # the tensor's name in the file

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.file.get_slice(self.key).get_shape())

    @property
    def dtype(self) -> str:
        return self.file.get_slice(self.key).get_dtype()

    def read(self) -> Tensor:
        return self.file.get_tensor(self.key)

    def rows(self, start: int, stop: int) -> Tensor:
        stop = min(stop, self.shape[0])
        return self.file.get_slice(self.key)[start:stop]


def open_weight_files(paths: list[Path], stack: ExitStack) -> dict[str, StoredTensor]:
    """List all tensors by name, without the prefix that some files give it.

    The stack keeps the files open.
    """
    safetensors = import_extra("safetensors")
    stored: dict[str, StoredTensor] = {}
    for path in paths:
        try:
            # Not mapped into memory: a page that was read would count until the end,
            # and on Windows the file could not be deleted.
            opened = safetensors.safe_open(path, framework="pt", backend="pread")
        except TypeError as error:
            raise ImportError(
                f"safetensors {safetensors.__version__} is too old; {_INSTALL}"
            ) from error
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path} ({path.stat().st_size:,} bytes) is not a safetensors file, or "
                f"was cut short ({error}); download it again"
            ) from error
        file = stack.enter_context(opened)
        for key in file.keys():
            name = key.removeprefix("transformer.")
            if name in stored:
                raise ValueError(f"{path} holds a second {name}; which one is right?")
            stored[name] = StoredTensor(file, key)
    return stored


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that must hold a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; download it again")
    return content


def import_extra(name: str) -> ModuleType:
    """Import a package that only the extra ``pretrained`` brings."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"load_pretrained needs {name}, which is not installed; {_INSTALL}"
        ) from error


def some(names: Collection[str]) -> str:
    """Name the first three, and say how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(list(names)[:3]) + more
