"""Measure speed and memory of the module against other ways to do the same.

    python tests/benchmark.py                      # on a GPU if there is one
    python tests/benchmark.py --device cpu --dtype bfloat16

Contestants, all with GPT-2's smallest model, tied, and the same random weights, read
from a file in Hugging Face's layout:

- module: ``GPTModel`` and ``generate``;
- textbook: the same model with scores, mask and softmax spelled out and a mask stored
  in every block, scoring every position, and without a cache: ``generate_text_simple``;
- Hugging Face: ``GPT2LMHeadModel`` and its ``generate``, if transformers is installed
  (without, there is no file, and the weights are drawn);
- floor: what the machine could do at best, from its memory bandwidth and matrix rate,
  both measured here: every token that is generated needs every weight once, and a
  prompt all its multiplications.

Times on a machine that does other things too are noisy. So the contestants take
turns, and what counts is a ratio: the median of the ratios of one turn.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gpt_from_scratch import (
    GPT_CONFIG_124M,
    GPTConfig,
    GPTModel,
    KVCache,
    MultiHeadAttention,
    flops_per_token,
    generate,
    generate_text_simple,
    kv_cache_bytes_per_token,
    load_pretrained,
    parameter_counts,
)

try:
    import transformers
except ImportError:
    transformers = None

CFG: GPTConfig = {**GPT_CONFIG_124M, "qkv_bias": True}
PREFILL_TOKENS = 1024
PROMPT = [15496, 11, 314, 716]  # "Hello, I am"
NEW_TOKENS = (64, 256)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TextbookAttention(MultiHeadAttention):
    """All scores at once, a stored mask, softmax: as chapter 3 explains it."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        shape = (self.context_length, self.context_length)
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor, cache: None = None, layer: int = 0) -> Tensor:
        num_tokens = x.shape[1]
        queries = self._split_heads(self.W_query(x))
        keys = self._split_heads(self.W_key(x))
        values = self._split_heads(self.W_value(x))
        attn_scores = queries @ keys.transpose(2, 3)  # (B, num_heads, T, T)
        future = self.mask[:num_tokens, :num_tokens]
        attn_scores = attn_scores.masked_fill(future, -torch.inf)
        attn_weights = torch.softmax(attn_scores / self.head_dim**0.5, dim=-1)
        context = self.dropout(attn_weights) @ values
        return self.out_proj(context.transpose(1, 2).flatten(2))


# What each contestant does. Each takes its model and the ids, and gives new ids or,
# for a prefill, the best token after the last.


def build_module(folder: str | None, device: str, dtype: torch.dtype) -> GPTModel:
    if folder is not None:
        return load_pretrained(folder, device=device, dtype=dtype)
    torch.manual_seed(123)
    model = GPTModel(CFG)
    model.tie_weights()
    return model.to(device, dtype).eval()


def build_textbook(folder: str | None, device: str, dtype: torch.dtype) -> GPTModel:
    model = build_module(folder, device, dtype)
    for block in model.trf_blocks:
        attention = TextbookAttention(
            CFG["emb_dim"],
            CFG["emb_dim"],
            CFG["context_length"],
            CFG["drop_rate"],
            CFG["n_heads"],
            CFG["qkv_bias"],
        ).to(device)
        attention.load_state_dict(block.att.state_dict(), strict=False, assign=True)
        block.att = attention
    return model.eval()


def build_hugging_face(
    folder: str | None, device: str, dtype: torch.dtype
) -> torch.nn.Module:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)
    return model.to(device).eval()


def prefill_module(model: GPTModel, ids: Tensor) -> Tensor:
    weight = model.tok_emb.weight
    cache = KVCache(CFG, len(ids), device=weight.device, dtype=weight.dtype)
    return model(ids, cache=cache, last_only=True)[:, -1].argmax(dim=-1)


def prefill_textbook(model: GPTModel, ids: Tensor) -> Tensor:
    return model(ids)[:, -1].argmax(dim=-1)


def prefill_hugging_face(model: torch.nn.Module, ids: Tensor) -> Tensor:
    return model(ids, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(dim=-1)


def generate_hugging_face(model: torch.nn.Module, ids: Tensor, new: int) -> Tensor:
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new,
        do_sample=False,
    )


def generate_textbook(model: GPTModel, ids: Tensor, new: int) -> Tensor:
    return generate_text_simple(model, ids, new, context_size=CFG["context_length"])


CONTESTANTS: dict[str, tuple[Callable, Callable, Callable]] = {
    "module": (build_module, prefill_module, generate),
    "textbook": (build_textbook, prefill_textbook, generate_textbook),
}
if transformers is not None:
    CONTESTANTS["Hugging Face"] = (
        build_hugging_face,
        prefill_hugging_face,
        generate_hugging_face,
    )


def make_jobs(name: str, device: str) -> dict[str, Callable]:
    """Give what a contestant has to do, by name of the job."""
    _, prefill, continue_text = CONTESTANTS[name]
    generator = torch.Generator().manual_seed(123)
    text = torch.randint(CFG["vocab_size"], (1, PREFILL_TOKENS), generator=generator)
    text, prompt = text.to(device), torch.tensor([PROMPT], device=device)
    jobs = {f"prefill of {PREFILL_TOKENS} tokens": lambda model: prefill(model, text)}
    for new in NEW_TOKENS:
        jobs[f"generation of {new} tokens"] = lambda model, new=new: continue_text(
            model, prompt, new
        )
    return jobs


# Time


def seconds(job: Callable, *args: object, device: str) -> tuple[float, object]:
    """Run a job once; tell how long it took, and its result."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = job(*args)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


class Floor:
    """The least time for each job, from this machine's two measured rates."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.dtype = dtype
        size = 8192 if device == "cuda" else 2048
        self.square = torch.rand(size, size, device=device).to(dtype)
        # As large as the weights, so that no cache of the processor holds it.
        self.large = torch.rand(124_000_000, device=device).to(dtype)
        self.device = device

    def measure(self, jobs: list[str]) -> dict[str, float]:
        """Measure both rates, and work out the floor of each job in seconds."""
        took = [
            seconds(torch.matmul, self.square, self.square, device=self.device)[0]
            for _ in range(3)
        ]
        self.flops_per_s = 2 * len(self.square) ** 3 / min(took)
        took = [seconds(torch.sum, self.large, device=self.device)[0] for _ in range(3)]
        self.bytes_per_s = self.large.nbytes / min(took)
        prefill, *generations = jobs
        floors = {prefill: _prefill_flops(PREFILL_TOKENS) / self.flops_per_s}
        for job, new in zip(generations, NEW_TOKENS, strict=True):
            floors[job] = _generation_bytes(new, self.dtype) / self.bytes_per_s
        return floors


def _prefill_flops(num_tokens: int) -> float:
    """Every token's blocks, and the output layer for the last token."""
    head = 2 * CFG["emb_dim"] * CFG["vocab_size"]
    first, last = flops_per_token(CFG, 1), flops_per_token(CFG, num_tokens)
    return num_tokens * ((first + last) / 2 - head) + head


def _generation_bytes(new: int, dtype: torch.dtype) -> float:
    """For each new token, all weights that multiply, and half the final cache."""
    counts = parameter_counts(CFG)
    read = sum(counts.values()) - counts["token embedding"]
    read -= counts["position embedding"]
    cached = (len(PROMPT) + new / 2) * kv_cache_bytes_per_token(CFG, dtype)
    return new * (read * dtype.itemsize + cached)


# Memory


def _resident(key: str) -> int:
    """Read one of this process's own sizes, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def peak_bytes(
    name: str, job: str, folder: str | None, device: str, dtype: torch.dtype
) -> int:
    """Tell the most memory that model and job take together. In a fresh process."""
    build = CONTESTANTS[name][0]
    if transformers is not None:
        transformers.logging.disable_progress_bar()
    with torch.no_grad():
        run = make_jobs(name, device)[job]
        if device == "cuda":
            model = build(folder, device, dtype)
            torch.cuda.reset_peak_memory_stats()
            run(model)
            return torch.cuda.max_memory_allocated()
        torch.rand(512, 512) @ torch.rand(512, 512)  # what the libraries keep
        before = _resident("VmRSS")
        model = build(folder, device, dtype)
        Path("/proc/self/clear_refs").write_text("5")  # what building took is past
        run(model)
        return _resident("VmHWM") - before


def _peak_in_fresh_process(*args: object) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_bytes, args)


# The table


def show(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        first, *rest = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))  # noqa: T201
    print()  # noqa: T201


def compare_times(
    folder: str | None, device: str, dtype: torch.dtype, repeats: int
) -> None:
    models = {
        name: parts[0](folder, device, dtype) for name, parts in CONTESTANTS.items()
    }
    jobs = {name: make_jobs(name, device) for name in CONTESTANTS}
    floor = Floor(device, dtype)
    rows = []
    with torch.no_grad():
        for name, (_, prefill, continue_text) in CONTESTANTS.items():
            ids = torch.tensor([PROMPT], device=device)  # the first run is slower
            prefill(models[name], ids)
            continue_text(models[name], ids, 4)
        for job in jobs["module"]:
            took: dict[str, list[float]] = {name: [] for name in models}
            floors, results = [], {}
            for turn in range(repeats):
                order = list(models)[turn % len(models) :]
                order += [name for name in models if name not in order]
                for name in order:
                    time_s, results[name] = seconds(
                        jobs[name][job], models[name], device=device
                    )
                    took[name].append(time_s)
                floors.append(floor.measure(list(jobs["module"]))[job])
            for name in models:
                against = []
                for other in (*(n for n in CONTESTANTS if n != "module"), "floor"):
                    theirs = floors if other == "floor" else took[other]
                    ratios = map(float.__truediv__, took[name], theirs)
                    against.append(f"{statistics.median(ratios):.2f}")
                median = f"{statistics.median(took[name]):.3f}"
                same = torch.equal(results[name], results["module"])
                rows.append([job, name, median, *against, "yes" if same else "no"])
            rows.append([job, "floor", f"{statistics.median(floors):.3f}"])
            rows[-1] += [""] * (len(rows[0]) - 3)
    others = [f"/ {name}" for name in CONTESTANTS if name != "module"]
    show(
        ["job", "contestant", "median s", *others, "/ floor", "same tokens"],
        rows,
    )


def compare_memory(folder: str | None, device: str, dtype: torch.dtype) -> None:
    if device == "cpu" and not Path("/proc/self/clear_refs").exists():
        print("peak memory: measured on Linux, or on a GPU, only")  # noqa: T201
        return
    rows = []
    for job in list(make_jobs("module", "cpu"))[:2]:  # the longest adds only time
        peaks = {
            name: _peak_in_fresh_process(name, job, folder, device, dtype)
            for name in CONTESTANTS
        }
        for name, peak in peaks.items():
            ratio = f"{peaks['module'] / peak:.2f}"
            rows.append([job, name, f"{peak / 2**20:.0f}", ratio])
    show(["job", "contestant", "peak MiB, weights included", "module / it"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--repeats", type=int, default=5, help="turns for each job")
    args = parser.parse_args()
    print(  # noqa: T201
        f"GPT-2 small, {args.device}, {args.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {args.repeats} turns\n"
    )
    with contextlib.ExitStack() as stack:
        folder = None
        if transformers is None:
            print('Hugging Face is left out: pip install -e ".[dev]"\n')  # noqa: T201
        else:
            transformers.logging.set_verbosity_error()
            transformers.logging.disable_progress_bar()
            torch.manual_seed(123)
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            config = transformers.GPT2Config(eos_token_id=None, pad_token_id=0)
            transformers.GPT2LMHeadModel(config).save_pretrained(folder)
        dtype = DTYPES[args.dtype]
        compare_times(folder, args.device, dtype, args.repeats)
        compare_memory(folder, args.device, dtype)


if __name__ == "__main__":
    main()
