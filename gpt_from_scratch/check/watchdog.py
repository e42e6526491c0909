"""Run code that may never end, and come back in any case."""

import contextvars
import ctypes
import dis
import io
import linecache
import sys
import threading
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
    ``forward`` would appear a hundred times.

    Args:
        work: What to do. It must catch its own exceptions, except ``Stopped``.
        limit: Seconds that it may take.
        progress: Gives another number whenever the work has come further. It then gets
            the same time once more, up to five times: on a busy machine, right code
            is slow as well.

    Returns:
        ``None`` if the work came to an end, else the learner's line it was at, or
        ``""`` if that is not known.
    """
    ended = threading.Event()

    def run() -> None:
        try:
            work()
        except Stopped:
            pass
        finally:
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
            for _ in range(6):
                before = progress()
                if ended.wait(limit) or progress() == before:
                    break
            if not ended.is_set():
                line = _line_of_thread(thread)
        finally:
            # Again and again: the code may catch everything. If it sleeps or waits
            # in C, it cannot be stopped; then it is left alone, and ends with Python.
            for _ in range(20):
                if ended.is_set():
                    break
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped)
                )
                ended.wait(0.01)
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
