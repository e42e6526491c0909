"""Check your own component; if it is wrong, learn which mistake it makes.

``check.layer_norm(LayerNorm)`` puts your class and the course's through the same
probes. If they differ, your class is compared with wrong versions, whose mistakes are
known.
"""

from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.layer_norm import LAYER_NORM
from gpt_from_scratch.check.report import Report

__all__ = ["COMPONENTS", "Report", "layer_norm"]

COMPONENTS = (LAYER_NORM,)


def layer_norm(learner: object) -> Report:
    """Check a layer normalization (4.2).

    Args:
        learner: Your class, called as ``LayerNorm(emb_dim)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(LAYER_NORM, learner)
