"""Check your own component; if it is wrong, learn which mistake it makes.

``check.layer_norm(LayerNorm)`` puts your class and the course's through the same
probes. If they differ, your class is compared with wrong versions, whose mistakes are
known.
"""

# Each file of exercises says in its __all__ which functions it adds here.
# ruff: noqa: F403

from gpt_from_scratch.check import (
    exercises_4_1,
    exercises_4_2,
    exercises_4_3,
    exercises_4_4,
    exercises_4_5,
    exercises_4_6,
    exercises_4_7,
)
from gpt_from_scratch.check.dummy_gpt_model import DUMMY_GPT_MODEL
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.example_deep_neural_network import (
    EXAMPLE_DEEP_NEURAL_NETWORK,
)
from gpt_from_scratch.check.exercises_4_1 import *
from gpt_from_scratch.check.exercises_4_2 import *
from gpt_from_scratch.check.exercises_4_3 import *
from gpt_from_scratch.check.exercises_4_4 import *
from gpt_from_scratch.check.exercises_4_5 import *
from gpt_from_scratch.check.exercises_4_6 import *
from gpt_from_scratch.check.exercises_4_7 import *
from gpt_from_scratch.check.feed_forward import FEED_FORWARD
from gpt_from_scratch.check.gelu import GELU_COMPONENT
from gpt_from_scratch.check.generate_text_simple_mistakes import (
    GENERATE_TEXT_SIMPLE,
)
from gpt_from_scratch.check.gpt_model_mistakes import GPT_MODEL
from gpt_from_scratch.check.layer_norm import LAYER_NORM
from gpt_from_scratch.check.report import Report

__all__ = [
    "COMPONENTS",
    "EXERCISES",
    "NUMBER_EXERCISES",
    "Report",
    "dummy_gpt_model",
    "example_deep_neural_network",
    "feed_forward",
    "gelu",
    "generate_text_simple",
    "gpt_model",
    "layer_norm",
]

COMPONENTS = (
    DUMMY_GPT_MODEL,
    LAYER_NORM,
    GELU_COMPONENT,
    FEED_FORWARD,
    EXAMPLE_DEEP_NEURAL_NETWORK,
    GPT_MODEL,
    GENERATE_TEXT_SIMPLE,
)

_FILES = (
    exercises_4_1,
    exercises_4_2,
    exercises_4_3,
    exercises_4_4,
    exercises_4_5,
    exercises_4_6,
    exercises_4_7,
)
EXERCISES = tuple(exercise for file in _FILES for exercise in file.EXERCISES)
NUMBER_EXERCISES = tuple(
    exercise for file in _FILES for exercise in file.NUMBER_EXERCISES
)
__all__ += exercises_4_1.__all__
__all__ += exercises_4_2.__all__
__all__ += exercises_4_3.__all__
__all__ += exercises_4_4.__all__
__all__ += exercises_4_5.__all__
__all__ += exercises_4_6.__all__
__all__ += exercises_4_7.__all__


def dummy_gpt_model(learner: object) -> Report:
    """Check the outline of a GPT model (4.1).

    Args:
        learner: Your class, called as ``DummyGPTModel(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(DUMMY_GPT_MODEL, learner)


def layer_norm(learner: object) -> Report:
    """Check a layer normalization (4.2).

    Args:
        learner: Your class, called as ``LayerNorm(emb_dim)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(LAYER_NORM, learner)


def gelu(learner: object) -> Report:
    """Check a GELU (4.3).

    Args:
        learner: Your class, called as ``GELU()``.

    Returns:
        What was found; see ``Report``.
    """
    return check(GELU_COMPONENT, learner)


def feed_forward(learner: object) -> Report:
    """Check a feed-forward network (4.3).

    Args:
        learner: Your class, called as ``FeedForward(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(FEED_FORWARD, learner)


def example_deep_neural_network(learner: object) -> Report:
    """Check a network with shortcuts (4.4).

    Args:
        learner: Your class, called as
            ``ExampleDeepNeuralNetwork(layer_sizes, use_shortcut)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(EXAMPLE_DEEP_NEURAL_NETWORK, learner)


def gpt_model(learner: object) -> Report:
    """Check a GPT model (4.6).

    Args:
        learner: Your class, called as ``GPTModel(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(GPT_MODEL, learner)


def generate_text_simple(learner: object) -> Report:
    """Check a function that generates text (4.7).

    Args:
        learner: Your function, called as
            ``generate_text_simple(model, idx, max_new_tokens, context_size)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(GENERATE_TEXT_SIMPLE, learner)
