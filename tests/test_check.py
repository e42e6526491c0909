"""The checks of a learner's component: the machinery, and every bank of mistakes."""

from __future__ import annotations

import random
import re
import threading
import time
import warnings

import pytest
import torch
from torch import nn

import gpt_from_scratch
from gpt_from_scratch import check
from gpt_from_scratch.check import engine
from gpt_from_scratch.check.compare import Failure, difference, frozen
from gpt_from_scratch.check.engine import agree, confusion, observe, recorded
from gpt_from_scratch.check.engine import check as run_check
from gpt_from_scratch.check.layer_norm import LAYER_NORM
from gpt_from_scratch.check.number_exercise import check_numbers
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.watchdog import watched

ALL = (*check.COMPONENTS, *check.EXERCISES)
MISTAKES = [
    pytest.param(component, mistake, id=f"{component.name}: {mistake.name}")
    for component in ALL
    for mistake in component.mistakes
]
each_component = pytest.mark.parametrize(
    "component", ALL, ids=lambda component: component.name
)


def unwrapped(report):
    """Give the report's text in one line."""
    return re.sub(r"\s+", " ", report.text)


class PlainNorm(nn.Module):
    """A right layer normalization, for the tests to spoil."""

    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        x = x - x.mean(dim=-1, keepdim=True)
        x = x / (x.pow(2).mean(dim=-1, keepdim=True) + self.eps).sqrt()
        return self.scale * x + self.shift


# Every component


@each_component
def test_reference_answers_every_probe(component):
    for probe, (answer, _) in zip(
        component.probes, observe(component, component.reference), strict=True
    ):
        values = answer.values() if isinstance(answer, dict) else [answer]
        assert not any(isinstance(value, Failure) for value in values), probe.name


@each_component
def test_reference_passes(component):
    report = run_check(component, component.reference)
    assert report.passed
    assert report.mistake is None
    count, name = len(component.probes), component.name
    model = "the solution" if component.is_exercise else f"gpt_from_scratch.{name}"
    assert report.lines[0] == f"{name}: all {count} probes agree with {model}."
    if not component.is_exercise:
        assert getattr(gpt_from_scratch, name) is component.reference


@each_component
def test_confusion_matrix_is_a_diagonal(component):
    """Each wrong version is told from every other one and from the right one."""
    assert confusion(component) == {
        mistake.name: [mistake.name] for mistake in component.mistakes
    }


@pytest.mark.parametrize(("component", "mistake"), MISTAKES[::6])
def test_mistake_is_named(component, mistake):
    report = run_check(component, mistake.wrong)
    assert not report.passed
    assert report.mistake == mistake.name
    count = len(component.probes)
    text = unwrapped(report)
    assert f"This looks like {mistake.name}: {mistake.what}." in text
    assert f"[agrees on {count} of {count} probes]" in text
    assert f"Why it matters: {mistake.why}" in text
    assert f"Look at: {mistake.look_at}" in text
    assert max(map(len, report.text.splitlines())) <= 88
    assert not re.search(
        r"0x[0-9a-f]{4}|[/\\]\w+[/\\]|Traceback|test_check", report.text
    )


@each_component
def test_texts_of_mistakes(component):
    """The names fit into their sentence, and what follows is a sentence."""
    names = [mistake.name for mistake in component.mistakes]
    assert len(set(names)) == len(names)
    probes = [probe.name for probe in component.probes]
    assert len(set(probes)) == len(probes)
    for mistake in component.mistakes:
        assert not mistake.name.endswith("."), mistake.name
        assert not mistake.what.endswith("."), mistake.name
        assert mistake.why.endswith((".", ".)")), mistake.name
        assert mistake.why[0].isupper() or mistake.why[0].isdigit(), mistake.name
        assert mistake.look_at.endswith((".", "?")), mistake.name


@each_component
def test_no_difference_is_as_small_as_rounding(component):
    """With ten times the tolerance, every wrong version still differs somewhere."""
    confusion(component)  # all have answered
    right = list(recorded(component, component.reference))
    for mistake in component.mistakes:
        assert any(
            difference(yours, expected, 10 * probe.rtol, 10 * probe.atol)
            for probe, (yours, _), (expected, _) in zip(
                component.probes,
                recorded(component, mistake.wrong),
                right,
                strict=True,
            )
        ), mistake.name


@each_component
def test_two_runs_agree_to_the_letter(component):
    for mistake in component.mistakes[:5]:
        assert str(run_check(component, mistake.wrong)) == str(
            run_check(component, mistake.wrong)
        )


@each_component
def test_what_is_no_component(component):
    for wrong in (None, 7, "text", nn.Linear(2, 2), [nn.Linear]):
        report = run_check(component, wrong)
        assert not report.passed
        assert report.mistake is None
        assert re.search("without brackets", unwrapped(report))
    for wrong in (int, str, dict, print, lambda: None, nn.Module, type, object):
        report = run_check(component, wrong)
        assert not report.passed
        assert report.mistake is None


# Numbers that are predicted

each_asked = pytest.mark.parametrize(
    ("exercise", "name"),
    [
        pytest.param(exercise, name, id=f"{exercise.name}: {name}")
        for exercise in check.NUMBER_EXERCISES
        for name in exercise.asked
    ],
)


def right_numbers(exercise):
    return {name: asked.count() for name, asked in exercise.asked.items()}


@pytest.mark.parametrize(
    "exercise", check.NUMBER_EXERCISES, ids=lambda exercise: exercise.name
)
def test_right_numbers_pass(exercise):
    state = torch.get_rng_state()
    report = check_numbers(exercise, **right_numbers(exercise))
    assert report.passed
    assert report.mistake is None
    assert re.search(r"all \d+ numbers agree|the number agrees", report.lines[0])
    assert torch.equal(torch.get_rng_state(), state)
    floats = {k: float(v) for k, v in right_numbers(exercise).items()}
    assert check_numbers(exercise, **floats).passed
    for blank in (None, ...):
        stub = check_numbers(exercise, **dict.fromkeys(exercise.asked, blank))
        assert stub.text == f"{exercise.name}: not attempted yet."
        assert (stub.passed, stub.attempted, stub.mistake) == (False, False, None)


@each_asked
def test_slips_are_named(exercise, name):
    """Each is told from the others and the right one, and tells not the right one."""
    asked = exercise.asked[name]
    right = asked.count()
    numbers = [right, *(slip.number for slip in asked.slips)]
    assert len(set(numbers)) == len(numbers)
    assert len({slip.name for slip in asked.slips}) == len(asked.slips)
    for slip in asked.slips:
        given = {**right_numbers(exercise), name: slip.number}
        report = check_numbers(exercise, **given)
        assert not report.passed
        assert report.mistake == slip.name
        alone = check_numbers(exercise, **{name: slip.number})
        text = unwrapped(alone)
        assert f"differs. This looks like {slip.name}: {slip.what}." in text
        assert not slip.what.endswith(".")
        assert f"{right:,}" not in text
        assert max(map(len, report.text.splitlines())) <= 88


@each_asked
def test_what_is_no_right_number(exercise, name):
    right = right_numbers(exercise)
    for value in (right[name] + 1, 0, -1.5, float("nan"), float("inf")):
        report = check_numbers(exercise, **{**right, name: value})
        assert not report.passed
        assert report.mistake is None
        assert f"{name} (" in report.text
    for value in ("7", [right[name]], True, nn.Identity, torch.ones(2), 1j):
        report = check_numbers(exercise, **{**right, name: value})
        assert not report.passed
        assert "this is no number" in unwrapped(report)
    report = check_numbers(exercise, **{**right, name: None})
    if len(right) > 1:
        assert "not attempted yet" in unwrapped(report)
        assert report.attempted
    assert not report.passed


# The report


def test_report_of_a_right_class():
    report = check.layer_norm(PlainNorm)
    assert report.passed
    assert report.mistake is None
    assert str(report) == repr(report) == report.text
    assert "Your names" not in report.text


def test_sample_message():
    class LayerNorm(PlainNorm):
        def forward(self, x):
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.var(dim=-1, keepdim=True) + self.eps).sqrt()
            return self.scale * x + self.shift

    report = check.layer_norm(LayerNorm)
    assert report.mistake == "an unbiased variance"
    lines = report.text.splitlines()
    assert lines[1] == (
        '  Probe "variance equal to eps", at [0, 0]: yours 0.65465, expected 0.70711'
    )
    assert "x.var(...) divides by n - 1" in report.text


def test_jupyter_display():
    for target, word in [(PlainNorm, "passed"), (nn.Identity, "differs")]:
        report = check.layer_norm(target)
        bundle = report._repr_mimebundle_(include=None, exclude=None)
        assert bundle["text/plain"] == report.text
        assert f">{word}</span>" in bundle["text/html"]
        assert "color: #FFFFFF" in bundle["text/html"]


def test_html_is_escaped():
    bundle = Report(False, None, ("a < b",))._repr_mimebundle_()
    assert "a &lt; b" in bundle["text/html"]


def test_unknown_mistake():
    class LayerNorm(PlainNorm):
        def forward(self, x):
            return super().forward(x).round(decimals=1)

    report = check.layer_norm(LayerNorm)
    assert not report.passed
    assert report.mistake is None
    assert "none of the mistakes that the check knows" in report.text
    assert "at [0, 0]: yours 0.7, expected 0.70711" in report.text


# Code that fails


def spoiled(forward, base=PlainNorm):
    return type("LayerNorm", (base,), {"forward": forward})


def test_exception_in_forward():
    def forward(self, x):
        return x + undefined_name  # noqa: F821

    report = check.layer_norm(spoiled(forward))
    assert report.mistake is None
    text = unwrapped(report)
    assert "raised NameError: name 'undefined_name' is not defined" in text
    assert re.search(r"In your code, line \d+: return x \+ undefined_name", text)


def test_exception_in_init():
    class LayerNorm(PlainNorm):
        def __init__(self, emb_dim):
            raise KeyError("emb_dim")

    report = check.layer_norm(LayerNorm)
    assert "raised KeyError: 'emb_dim'" in report.text
    assert 'raise KeyError("emb_dim")' in report.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exceptions_that_end_a_program(error):
    def forward(self, x):
        raise error

    assert f"raised {error.__name__}" in check.layer_norm(spoiled(forward)).text


def test_exception_without_a_message_of_its_own():
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    def forward(self, x):
        raise OddError

    assert "raised OddError" in check.layer_norm(spoiled(forward)).text


def test_paths_and_addresses_are_left_out():
    def forward(self, x):
        message = f"{object()} in /home/someone/secret/file.txt"
        raise ValueError(message)

    text = unwrapped(check.layer_norm(spoiled(forward)))
    assert "<object object> in file.txt" in text
    assert "someone" not in text


def test_endless_recursion():
    def forward(self, x):
        return self.forward(x)

    assert "raised RecursionError" in check.layer_norm(spoiled(forward)).text


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: None, "returned None, not a tensor"),
        (lambda x: (x, x), "returned a tuple, not a tensor"),
        (lambda x: x.detach().numpy(), "returned a ndarray, not a tensor"),
        (lambda x: x * float("nan"), "yours nan, expected 0.70711"),
        (lambda x: x[..., :1], "yours shape (1, 1), expected shape (1, 4)"),
        (lambda x: x.sum(), "yours shape (), expected shape (1, 4)"),
        (lambda x: x > 0, "yours 1, expected 0.70711"),
        (lambda x: x.to(torch.complex64), "yours"),
        (lambda x: x.to_sparse(), "yours"),
        (lambda x: 3.0, "returned a float, not a tensor"),
    ],
)
def test_results_that_do_not_fit(result, words):
    report = check.layer_norm(spoiled(lambda self, x: result(x)))
    assert not report.passed
    assert words in unwrapped(report)


def test_class_that_is_no_module():
    class LayerNorm:
        def __init__(self, emb_dim):
            self.norm = PlainNorm(emb_dim)

        def __call__(self, x):
            return self.norm(x)

    report = check.layer_norm(LayerNorm)
    assert not report.passed
    assert report.mistake is None
    assert "parameters" in report.text


def test_class_without_forward():
    class LayerNorm(nn.Module):
        def __init__(self, emb_dim):
            super().__init__()

    assert "forward" in check.layer_norm(LayerNorm).text


# Code that is not written yet


@pytest.mark.parametrize("where", ["__init__", "forward"])
@pytest.mark.parametrize("error", [NotImplementedError, NotImplementedError("here")])
def test_not_attempted(where, error):
    def stub(self, *args):
        raise error

    report = check.layer_norm(spoiled(stub) if where == "forward" else stub_class(stub))
    assert report.text == "LayerNorm: not attempted yet."
    state = report.passed, report.attempted, report.mistake
    assert state == (False, False, None)
    assert ">to do</span>" in report._repr_mimebundle_()["text/html"]


def stub_class(init):
    return type("LayerNorm", (PlainNorm,), {"__init__": init})


def test_not_attempted_in_a_part():
    """A later probe reaches what is not written yet: there is no other finding."""

    def forward(self, x):
        if x.ndim == 3:
            raise NotImplementedError
        return x

    report = check.layer_norm(spoiled(forward))
    assert report.text == "LayerNorm: not attempted yet."


def test_pytorch_has_not_implemented_something():
    """PyTorch raises the same error for other reasons, which are findings."""

    def forward(self, x):
        return torch.ones(3, device="meta").cpu()

    report = check.layer_norm(spoiled(forward))
    assert report.attempted
    assert "raised NotImplementedError" in report.text


@pytest.mark.parametrize("name", check.__all__)
def test_public_names_are_documented(name):
    assert name in ("COMPONENTS", "EXERCISES", "NUMBER_EXERCISES") or (
        getattr(check, name).__doc__
    )


# Code that does not come to an end


@pytest.fixture
def half_a_second(monkeypatch):
    """Give the learner's code a third of its time, so that the tests take less."""
    monkeypatch.setattr(engine, "SECONDS", 0.5)


@pytest.mark.usefixtures("half_a_second")
@pytest.mark.parametrize("where", ["forward", "__init__"])
def test_endless_loop(where):
    def loop(self, *args):
        while True:
            pass

    report = check.layer_norm(type("LayerNorm", (PlainNorm,), {where: loop}))
    assert not report.passed
    assert report.mistake is None
    text = unwrapped(report)
    assert "took longer than 0.5 seconds" in text
    assert re.search(r"It was at line \d+: (while True:|pass)", text)


@pytest.mark.usefixtures("half_a_second")
def test_endless_loop_that_catches_everything():
    def forward(self, x):
        while True:
            try:
                x = x + 1
            except BaseException:
                pass

    assert "took longer" in check.layer_norm(spoiled(forward)).text


@pytest.mark.usefixtures("half_a_second")
def test_sleep():
    """It cannot be interrupted, and is left alone."""
    waking = threading.Event()

    def forward(self, x):
        time.sleep(4)
        waking.set()
        return x

    report = check.layer_norm(spoiled(forward))
    assert "time.sleep(4)" in report.text
    assert not waking.is_set()


@pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="no clock of a thread's own"
)
def test_waiting_for_the_processor():
    """On a busy machine code waits for its turn; only its own time counts."""

    def compute():
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            pass

    assert watched(lambda: time.sleep(0.5), 0.2) is None
    assert "time.thread_time() < end" in watched(compute, 0.2)


@pytest.mark.usefixtures("half_a_second")
def test_slow_machine():
    """Code that comes further gets more time: a busy machine is no mistake."""

    def forward(self, x):
        time.sleep(0.03)
        return PlainNorm.forward(self, x)

    start = time.monotonic()
    report = check.layer_norm(spoiled(forward))
    assert time.monotonic() - start > 0.5
    assert report.passed, report


def test_slow_but_right():
    """A loop over the features is slower, and right."""

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        rows = []
        for row in flat:
            mean = sum(row) / len(row)
            variance = sum((value - mean) ** 2 for value in row) / len(row)
            rows.append((row - mean) / (variance + self.eps) ** 0.5)
        return self.scale * torch.stack(rows).reshape(x.shape) + self.shift

    assert check.layer_norm(spoiled(forward)).passed


# Nothing is left changed


def test_global_state():
    def forward(self, x):
        torch.manual_seed(7)
        random.seed(7)
        torch.rand(3)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return x

    torch.manual_seed(1)
    random.seed(1)
    state, python_state = torch.get_rng_state(), random.getstate()
    for target in (PlainNorm, nn.Identity, spoiled(forward)):
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                check.layer_norm(target)
                assert torch.is_grad_enabled() == (mode is torch.enable_grad)
        assert torch.equal(torch.get_rng_state(), state)
        assert random.getstate() == python_state
        assert torch.get_default_dtype() == torch.float32


def test_number_of_threads_is_restored():
    """One while checking, in the learner's code too; then as before."""
    seen = []

    def forward(self, x):
        seen.append(torch.get_num_threads())
        return x

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        check.layer_norm(spoiled(forward))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_callers_settings_do_not_matter():
    expected = str(check.layer_norm(nn.Identity))
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            assert str(check.layer_norm(nn.Identity)) == expected
            assert check.layer_norm(PlainNorm).passed
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert check.layer_norm(PlainNorm).passed


def test_class_and_its_objects_stay_as_they_are():
    class LayerNorm(PlainNorm):
        shared = torch.ones(3)

    before = dict(vars(LayerNorm))
    existing = LayerNorm(4)
    check.layer_norm(LayerNorm)
    assert dict(vars(LayerNorm)) == before
    assert torch.equal(LayerNorm.shared, torch.ones(3))
    assert torch.equal(existing.scale, torch.ones(4))
    assert existing.training


def test_module_that_the_learner_still_has():
    """A class that takes up one existing module does not have it changed."""
    inner = nn.LayerNorm(4)

    class LayerNorm(nn.Module):
        def __init__(self, emb_dim):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    check.layer_norm(LayerNorm)
    assert torch.equal(inner.weight, torch.ones(4))
    assert inner.weight.grad is None


def test_nothing_is_printed(capsys, recwarn):
    def forward(self, x):
        print("features", x.shape)  # noqa: T201
        warnings.warn("odd", stacklevel=1)
        return PlainNorm.forward(self, x)

    assert check.layer_norm(spoiled(forward)).passed
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list


# Weights by other names


def test_other_names_in_another_order():
    class LayerNorm(nn.Module):
        def __init__(self, emb_dim):
            super().__init__()
            self.q = nn.Parameter(torch.zeros(emb_dim))
            self.p = nn.Parameter(torch.ones(emb_dim))

        def forward(self, x):
            x = x - x.mean(-1, keepdim=True)
            x = x / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
            return self.p * x + self.q

    report = check.layer_norm(LayerNorm)
    assert report.passed
    text = unwrapped(report)
    assert "Your names: p, q. The course's: scale, shift." in text


# Comparing


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (1.0, 1.0 + 1e-9, None),
        (float("nan"), float("nan"), None),
        (float("nan"), 1.0, ("", "nan", "1")),
        (True, True, None),
        (True, 1.0, ("", "True", "1.0")),
        ("a", "b", ("", "a", "b")),
        ({"a": 1.0}, {"a": 2.0}, ("a", "1", "2")),
        ({}, {"a": "x"}, ("a", "missing", "x")),
        ({"a": "x"}, {}, ("a", "x", "nothing of the kind")),
        (torch.tensor([1.0, 3e-9]), torch.tensor([1.0, 5.0]), ("at [1]", "0", "5")),
        (2.690631, 2.690158, ("", "2.6906", "2.6902")),
        (1.0000001, 1.0, ("", "1.0000001", "1")),
        (-0.0, 1.0, ("", "0", "1")),
        (float("inf"), 1.0, ("", "inf", "1")),
        (Failure("returned None"), torch.ones(2), None),
    ],
)
def test_difference(yours, expected, words):
    found = difference(frozen(yours), frozen(expected), 1e-8, 1e-8)
    if isinstance(yours, Failure):
        assert found.yours == "returned None"
        assert found.expected == "a tensor of shape (2,)"
    elif words is None:
        assert found is None
    else:
        assert (found.where, found.yours, found.expected) == words


def test_agrees_with_itself_only():
    component = LAYER_NORM
    seen = list(observe(component, PlainNorm))
    assert agree(component, observe(component, component.reference), seen)
    assert not agree(component, observe(component, nn.Identity), seen)
