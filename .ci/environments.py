"""Compare every notebook's outputs, to the letter, on machines of many kinds.

    .venv/bin/python .ci/environments.py        # those of every CI run
    .venv/bin/python .ci/environments.py --all  # all, before a release
    .venv/bin/python .ci/environments.py avx2 "another locale"

An environment is played by what changes a program's results or its surroundings:
the processor's instructions, the number of threads, the libraries' own choices, the
language, the network, the dropout masks, the packages' versions. In each, nbval runs
all notebooks, strictly.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

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
        in_force()
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
    lambda q, k, v, attn_mask=None, dropout_p=0.0, *more, **options: dropout_p > 0,
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
        in_force()
        try:
            shell.run_cell("%%capture\\n" + info.raw_cell)
        finally:
            again = False


shell.events.register("pre_run_cell", run_before)
"""

# A machine without a network, as far as Python can tell: only the loopback answers.
NO_NETWORK = """\
import socket
import sys

LOOPBACK = (None, "", "localhost", "127.0.0.1", "::1")


def refuse(event, args):
    host = None
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    if host not in LOOPBACK:
        raise OSError("there is no network here")


sys.addaudithook(refuse)
try:
    socket.create_connection(("192.0.2.1", 9), timeout=1)  # an address for examples
except OSError as error:
    if "no network here" in str(error):
        in_force()
"""

# Each of these says that it is in force, or the table could not be believed.
IN_FORCE = """\
def in_force():
    open({marker!r}, "w").close()


"""


class NotPossibleError(Exception):
    """An environment cannot be had on this machine; the message says why."""


@dataclass
class Environment:
    """The variables, the command around Python, and Python itself."""

    settings: dict[str, str] = field(default_factory=dict)
    wrapper: list[str] = field(default_factory=list)
    python: str = sys.executable
    marker: Path | None = None  # is there afterwards, if a kernel's code was in force


Prepare = Callable[[Path], Environment]


def variables(**values: str) -> Prepare:
    """Give an environment that consists of variables alone."""
    return lambda _: Environment(values)


def at_start(code: str) -> Prepare:
    """Let every kernel run this code when it starts."""

    def prepare(folder: Path) -> Environment:
        startup = folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        marker = folder / "in force"
        whole = IN_FORCE.format(marker=str(marker)) + code
        (startup / "at_start.py").write_text(whole, encoding="utf-8")
        return Environment({"IPYTHONDIR": str(folder)}, marker=marker)

    return prepare


def no_network(folder: Path) -> Environment:
    """A namespace with no network but the loopback, which kernels talk over."""
    up = 'ip link set lo up && exec "$@"'
    isolate = ["unshare", "--map-root-user", "--net", "sh", "-c", up, "--"]
    done = quietly(*isolate, "true")
    if done is None or done.returncode:
        raise NotPossibleError("unshare and ip cannot take the network away here")
    return Environment(empty_home(folder), isolate)


def empty_home(folder: Path) -> dict[str, str]:
    """Return the variables that make a folder the home."""
    return {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def other_locale(folder: Path) -> Environment:
    """Turkish, whose small I has no dot; made here, as few machines have it."""
    made = folder / "tr_TR.UTF-8"
    done = quietly("localedef", "-i", "tr_TR", "-f", "UTF-8", str(made))
    if done is None or not made.is_dir():
        raise NotPossibleError("localedef makes no tr_TR: it needs Debian's `locales`")
    return Environment(
        {
            "LOCPATH": str(folder),
            "LC_ALL": "tr_TR.UTF-8",
            "LANG": "tr_TR.UTF-8",
            "TZ": "Asia/Kathmandu",
            "PYTHONHASHSEED": "77",
        }
    )


def quietly(*command: str) -> subprocess.CompletedProcess[bytes] | None:
    """Run a program that may be missing."""
    if shutil.which(command[0]) is None:
        return None
    return subprocess.run(command, capture_output=True)


def far_away(folder: Path) -> Environment:
    """An old processor in another country, without a network; in containers too."""
    environment = at_start(NO_NETWORK)(folder)
    environment.settings |= OLD_PROCESSOR | empty_home(folder)
    environment.settings |= other_locale(folder).settings
    return environment


def versions(lowest: bool) -> Prepare:
    """A new virtual environment with the lowest or the newest versions allowed.

    PyTorch stays the one at hand: another takes gigabytes here. The workflow in
    ``.github`` tries its lowest and its newest version too.
    """

    def prepare(folder: Path) -> Environment:
        wanted = [f"torch=={version('torch').partition('+')[0]}"]
        for line in requires("gpt_from_scratch") or []:
            needed = Requirement(line)
            if needed.name != "torch" and not needed.marker:
                (least,) = (one for one in needed.specifier if one.operator == ">=")
                wanted.append(f"{needed.name}=={least.version}" if lowest else line)
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        install = [python, "-m", "pip", "install", "-q", *wanted, "-e", str(ROOT)]
        done = subprocess.run([*install, *TOOLS], capture_output=True, text=True)
        if done.returncode:
            raise NotPossibleError(done.stderr.strip())
        return Environment(python=python)

    return prepare


TOOLS = ("jupyterlab", "nbval", "pytest", "pytest-xdist", "hypothesis")
OLD_PROCESSOR = {
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "OMP_NUM_THREADS": "1",
}
ENVIRONMENTS: dict[str, Prepare] = {
    "as it is": variables(),
    "no vector instructions": variables(ATEN_CPU_CAPABILITY="default"),
    "avx2": variables(ATEN_CPU_CAPABILITY="avx2"),
    "1 thread": variables(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"),
    "2 threads": variables(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"),
    "4 threads": variables(OMP_NUM_THREADS="4", MKL_NUM_THREADS="4"),
    "an old processor": variables(**OLD_PROCESSOR),
    "another locale": other_locale,
    "no locale": variables(LC_ALL="C", PYTHONUTF8="0", TZ="UTC"),
    "no network, empty home": no_network,
    "other dropout masks": at_start(OTHER_MASKS),
    "each cell twice": at_start(EACH_CELL_TWICE),
    "far away": far_away,
    "lowest versions": versions(lowest=True),
    "newest versions": versions(lowest=False),
}
# Together these change most of what the others change one by one.
IN_EVERY_RUN = ("far away", "other dropout masks")


def run(prepare: Prepare, notebooks: list[str]) -> tuple[str, float, str]:
    """Run the notebooks in one environment; give verdict, seconds and nbval's words."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            environment = prepare(Path(folder))
        except NotPossibleError as error:
            return "not possible", 0.0, f"{error}\n"
        start = time.perf_counter()
        done = subprocess.run(
            [
                *environment.wrapper,
                environment.python,
                "-m",
                "pytest",
                *OPTIONS,
                *notebooks,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment.settings,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        seconds = time.perf_counter() - start
        if environment.marker and not environment.marker.exists():
            return "NOT IN FORCE", seconds, done.stdout
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
        if verdict != "equal":
            failed += 1
            print(words, flush=True)
    print(f"\n{len(names) - failed} of {len(names)} environments: equal")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
