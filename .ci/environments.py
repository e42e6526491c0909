"""Compare every notebook's outputs, to the letter, on machines of many kinds.

    .venv/bin/python .ci/environments.py        # those of every CI run
    .venv/bin/python .ci/environments.py --all  # all, before a release
    .venv/bin/python .ci/environments.py avx2 "another locale"

An environment is played by what changes a program's results or its surroundings:
the processor's instructions, the number of threads, the libraries' own choices, the
language, the network, the dropout masks. In each, nbval runs all notebooks, strictly.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = ("-q", "--tb=short", "-p", "no:cacheprovider")

# PyTorch draws other dropout masks on another system. So does every kernel that runs
# this at its start; all other random numbers stay the same.
OTHER_MASKS = """\
import functools

import torch
from torch.nn import functional as F


def with_other_masks(function, draws):
    @functools.wraps(function)
    def wrapped(*args, **options):
        if not draws(*args, **options):
            return function(*args, **options)
        before = torch.get_rng_state()
        function(*args, **options)
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        torch.rand(1009)  # somewhere else in the sequence
        result = function(*args, **options)
        torch.set_rng_state(after)
        return result

    return wrapped


F.dropout = with_other_masks(
    F.dropout,
    lambda input, p=0.5, training=True, inplace=False: training and p > 0,
)
F.scaled_dot_product_attention = with_other_masks(
    F.scaled_dot_product_attention,
    lambda q, k, v, attn_mask=None, dropout_p=0.0, **options: dropout_p > 0,
)
"""

# Learners run cells again. So does every kernel that runs this at its start: each cell
# once unseen, and then as nbval sees it. An error shows both times.
EACH_CELL_TWICE = """\
from IPython import get_ipython

shell = get_ipython()
again = False


def run_before(info):
    global again
    if not again and info.raw_cell.strip():
        again = True
        try:
            shell.run_cell("%%capture\\n" + info.raw_cell)
        finally:
            again = False


shell.events.register("pre_run_cell", run_before)
"""

Prepare = Callable[[Path], tuple[dict[str, str], list[str]]]


def variables(**values: str) -> Prepare:
    """Give an environment that consists of variables alone."""
    return lambda _: (values, [])


def at_start(code: str) -> Prepare:
    """Let every kernel run this code when it starts."""

    def prepare(folder: Path) -> tuple[dict[str, str], list[str]]:
        startup = folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "at_start.py").write_text(code, encoding="utf-8")
        return {"IPYTHONDIR": str(folder)}, []

    return prepare


def no_network(folder: Path) -> tuple[dict[str, str], list[str]]:
    """A namespace with no network but the loopback, which kernels talk over."""
    home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    shell = ["sh", "-c", 'ip link set lo up 2>/dev/null || true; exec "$@"', "--"]
    return home, ["unshare", "--map-root-user", "--net", *shell]


ENVIRONMENTS: dict[str, Prepare] = {
    "as it is": variables(),
    "no vector instructions": variables(ATEN_CPU_CAPABILITY="default"),
    "avx2": variables(ATEN_CPU_CAPABILITY="avx2"),
    "1 thread": variables(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"),
    "2 threads": variables(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"),
    "4 threads": variables(OMP_NUM_THREADS="4", MKL_NUM_THREADS="4"),
    "an old processor": variables(
        MKL_CBWR="COMPATIBLE",
        ONEDNN_MAX_CPU_ISA="SSE41",
        ATEN_CPU_CAPABILITY="default",
        OMP_NUM_THREADS="1",
    ),
    "another locale": variables(
        LC_ALL="tr_TR.UTF-8",
        LANG="tr_TR.UTF-8",
        TZ="Asia/Kathmandu",
        PYTHONHASHSEED="77",
    ),
    "no locale": variables(LC_ALL="C", PYTHONUTF8="0", TZ="UTC"),
    "no network, empty home": no_network,
    "other dropout masks": at_start(OTHER_MASKS),
    "each cell twice": at_start(EACH_CELL_TWICE),
}
# Together these change all that the others change one by one, but for the threads.
IN_EVERY_RUN = ("an old processor", "no network, empty home", "other dropout masks")


def run(prepare: Prepare, notebooks: list[str]) -> tuple[str, float, str]:
    """Run the notebooks in one environment; give verdict, seconds and nbval's words."""
    with tempfile.TemporaryDirectory() as folder:
        settings, wrapper = prepare(Path(folder))
        if wrapper and (
            shutil.which(wrapper[0]) is None
            or subprocess.run([*wrapper, "true"], capture_output=True).returncode
        ):
            return "not possible", 0.0, f"{wrapper[0]} cannot be used here\n"
        start = time.perf_counter()
        done = subprocess.run(
            [*wrapper, sys.executable, "-m", "pytest", *OPTIONS, *notebooks],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        seconds = time.perf_counter() - start
    return ("equal" if done.returncode == 0 else "DIFFERENT"), seconds, done.stdout


def main() -> int:
    """Run the environments that were asked for, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help=", ".join(ENVIRONMENTS)
    )
    parser.add_argument("--all", action="store_true", help="run all of them")
    args = parser.parse_args()
    names = list(ENVIRONMENTS) if args.all else args.names or list(IN_EVERY_RUN)
    for name in names:
        if name not in ENVIRONMENTS:
            parser.error(
                f"no environment {name!r}; there are: {', '.join(ENVIRONMENTS)}"
            )
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb"))
    width = max(map(len, names))
    failed = 0
    print(f"{len(notebooks)} notebooks, every output compared to the letter\n")
    for name in names:
        verdict, seconds, words = run(ENVIRONMENTS[name], notebooks)
        print(f"{name:{width}}  {verdict:12}  {seconds:4.0f} s", flush=True)
        failed += verdict == "DIFFERENT"
        if verdict != "equal":
            print(words, flush=True)
    print(f"\n{failed} of {len(names)} environments: different")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
