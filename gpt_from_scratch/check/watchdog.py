"""Run code that may never end, and come back in any case."""

import contextvars
import ctypes
import dis
import io
import linecache
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType, TracebackType

import torch

# Frames in these folders are not the learner's: torch, the standard library, ours.
_FOREIGN = (
    str(Path(torch.__file__).resolve().parent),
    str(Path(threading.__file__).resolve().parent),
    str(Path(__file__).resolve().parent.parent),
    "<frozen",
)


class Stopped(BaseException):
    """Ends code that took too long; not an Exception, so that few catch it."""


def watched(
    work: Callable[[], None],
    limit: float,
    progress: Callable[[], int] = lambda: 0,
) -> str | None:
    """Do some work in a thread of its own, and leave it if it takes too long.

    The thread has PyTorch's defaults (gradients on, no default device), whatever the
    caller has set. What the work prints or warns of is not shown: a print in
    ``forward`` would appear a hundred times. PyTorch computes with one processor
    thread meanwhile: for tensors as small as those of the checks, several would wait
    for each other.

    Args:
        work: What to do. It must catch its own exceptions, except ``Stopped``.
        limit: Seconds of the processor's time that it may take. On a busy machine the
            work may wait for its turn: up to four times as long by the clock. (Windows
            and macOS do not tell a thread's own time; there the clock counts.)
        progress: Gives another number whenever the work has come further. It then gets
            the same time once more, up to five times: right code can be slow as well.

    Returns:
        ``None`` if the work came to an end, else the learner's line it was at, or
        ``""`` if that is not known.
    """
    num_threads = torch.get_num_threads()
    ended = threading.Event()
    ending = threading.Lock()  # once ended is set, nothing more is raised in the thread
    started = threading.Event()
    clock: int | None = None

    def time_used() -> float:
        try:
            return time.monotonic() if clock is None else time.clock_gettime(clock)
        except OSError:  # the thread has just ended
            return 0.0

    def had_its_time() -> bool:
        before = time_used()
        left = limit
        for _ in range(4):
            if left < limit / 20 or ended.wait(left):
                break
            left = limit - (time_used() - before)
        return not ended.is_set()

    def run() -> None:
        nonlocal clock
        if hasattr(time, "pthread_getcpuclockid"):
            clock = time.pthread_getcpuclockid(threading.get_ident())
        started.set()
        try:
            try:
                torch.set_num_threads(1)
                work()
            finally:
                with ending:
                    ended.set()
        except Stopped:
            ended.set()

    context = contextvars.copy_context()  # so that Jupyter knows whose thread it is
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    line = None
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            thread.start()
            started.wait()
            for _ in range(6):
                before = progress()
                if not had_its_time() or progress() == before:
                    break
            if not ended.is_set():
                line = _line_of_thread(thread)
        finally:
            # Again and again: the code may catch everything. If it sleeps or waits
            # in C, it cannot be stopped; then it is left alone, and ends with Python.
            for _ in range(20):
                if ended.is_set():
                    break
                if ending.acquire(timeout=0.01):
                    if not ended.is_set():
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped)
                        )
                    ending.release()
                ended.wait(0.01)
            torch.set_num_threads(num_threads)
    return line


def learners_line(trace: TracebackType | None) -> str:
    """Name the innermost line of the learner's own code in a traceback.

    Args:
        trace: The traceback of an exception.

    Returns:
        Such as "line 7: x = x - mean", without file or path, or ``""`` if no line of
        it is the learner's.
    """
    return _last_own([(f, number) for f, number in traceback.walk_tb(trace)])


def raised_by_hand(error: BaseException) -> bool:
    """Tell whether a ``raise`` in the learner's own code raised an exception.

    PyTorch raises ``NotImplementedError`` too: for a module without ``forward``, or an
    operation that a type has not.

    Args:
        error: What was raised.

    Returns:
        Whether the last frame is the learner's, and stands at a ``raise``.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if not trace or trace.tb_frame.f_code.co_filename.startswith(_FOREIGN):
        return False
    instruction = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return dis.opname[instruction] == "RAISE_VARARGS"


def _line_of_thread(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return _last_own(list(traceback.walk_stack(frame))[::-1]) if frame else ""


def _last_own(frames: list[tuple[FrameType, int]]) -> str:
    own = [
        (frame, number)
        for frame, number in frames
        if not frame.f_code.co_filename.startswith(_FOREIGN)
    ]
    if not own:
        return ""
    frame, number = own[-1]
    linecache.checkcache(frame.f_code.co_filename)
    text = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    return f"line {number}: {text}" if text else f"line {number}"
