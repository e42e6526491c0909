"""Draw the course's pictures: ``python images/generate.py`` writes them all again.

A picture is a function that returns a figure, entered in ``PICTURES`` under its
file's name. All lengths are in points (1/72 inch), so that a letter of size 9 is 9
units high; ``y`` grows upwards, as the data does in the model. Whatever belongs to
one component wears its colour from ``gpt_from_scratch.plots.COLORS``.

``python images/generate.py --check`` writes nothing and names each file that is not
what this script draws.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Outline

from gpt_from_scratch.check import COMPONENTS
from gpt_from_scratch.plots import COLORS

Point = tuple[float, float]

WHITE = "#FFFFFF"
INK = "#1F1F1F"  # letters on white and on tints
HALO = "#FFDE7A"  # the highlighter's colour, behind what is lit
MUTED_FILL = "#F6F6F6"
MUTED_EDGE = "#858585"  # 3.4:1 against MUTED_FILL
MUTED_TEXT = "#636363"  # 5.6:1 against MUTED_FILL
LETTERS = 9.5
SMALL = 9.0
RADIUS = 8.0  # of the circle around a plus

NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


# The vocabulary: what pictures are made of.


@dataclass(frozen=True)
class Look:
    """How a part of a picture is drawn."""

    edge: str
    fill: str
    text: str = INK
    width: float = 1.4
    weight: str = "normal"
    line: str = "solid"
    halo: bool = False


@dataclass(frozen=True)
class Box:
    """Where a part stands, by its centre and size, and its four docking points."""

    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        """Middle of the upper edge."""
        return (self.x, self.y + self.height / 2)

    @property
    def bottom(self) -> Point:
        """Middle of the lower edge."""
        return (self.x, self.y - self.height / 2)

    @property
    def left(self) -> Point:
        """Middle of the left edge."""
        return (self.x - self.width / 2, self.y)

    @property
    def right(self) -> Point:
        """Middle of the right edge."""
        return (self.x + self.width / 2, self.y)


def tint(color: str, strength: float = 0.14) -> str:
    """Return the colour thinned with white to this strength, from 0 to 1."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


class Page:
    """A white sheet with rounded corners, and the few things drawn on it.

    Args:
        width: Width in points.
        height: Height in points.
        lit: Names of the parts in full colour, the others being muted; None for a
            picture in which nothing stands out.
        placeholders: Names of the parts with a dashed edge: not built yet, or
            not always needed.
    """

    def __init__(
        self,
        width: float,
        height: float,
        lit: Collection[str] | None = None,
        placeholders: Collection[str] = (),
    ) -> None:
        self.lit = lit
        self.placeholders = placeholders
        self.figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()
        sheet = Box("sheet", width / 2, height / 2, width, height)
        self._rectangle(sheet, Look(edge="none", fill=WHITE), rounding=10, zorder=-9)

    def look(self, names: Collection[str], component: str) -> Look:
        """Return how something of this component looks that joins the named parts."""
        color = COLORS[component]
        line = "solid" if set(names).isdisjoint(self.placeholders) else "dashed"
        if self.lit is None:
            return Look(edge=color, fill=tint(color), line=line)
        if all(name in self.lit for name in names):
            return Look(color, tint(color), width=2.4, weight="bold", halo=True)
        return Look(MUTED_EDGE, MUTED_FILL, MUTED_TEXT, width=1.0, line=line)

    def box(
        self,
        name: str,
        center: Point,
        size: Point,
        text: str,
        component: str = "other",
        note: str = "",
    ) -> Box:
        """Draw a layer or a step: a tinted box, with a smaller note under its text."""
        box = Box(name, *center, *size)
        look = self.look([name], component)
        self._rectangle(box, look, rounding=4, zorder=3)
        self._write(box, text, note, look)
        return box

    def data(
        self, name: str, center: Point, size: Point, text: str, note: str = ""
    ) -> Box:
        """Draw what flows between layers: a box with round ends, white if not muted."""
        box = Box(name, *center, *size)
        look = self.look([name], "other")
        if look.text == INK:
            look = replace(look, fill=WHITE)
        self._rectangle(box, look, rounding=box.height / 2, zorder=3)
        self._write(box, text, note, look)
        return box

    def panel(self, name: str, center: Point, size: Point, text: str = "") -> Box:
        """Draw a white area that holds other parts, its name in the upper left."""
        box = Box(name, *center, *size)
        look = self.look([name], "other")
        self._rectangle(box, replace(look, fill=WHITE), rounding=8, zorder=1)
        if text:
            corner = (box.left[0] + 10, box.top[1] - 15)
            self.label(corner, text, look.text, size=LETTERS, weight="bold")
        return box

    def plus(self, name: str, center: Point, component: str) -> Box:
        """Draw a sum: a plus in a circle."""
        look = self.look([name], component)
        if look.halo:
            self._circle(center, RADIUS + 4, Look("none", HALO), zorder=2)
        self._circle(center, RADIUS, look, zorder=3)
        (x, y), arm = center, RADIUS / 2
        for start, end in (((x - arm, y), (x + arm, y)), ((x, y - arm), (x, y + arm))):
            self._stroke([start, end], look.edge, max(look.width, 1.4), zorder=4)
        return Box(name, x, y, 2 * RADIUS, 2 * RADIUS)

    def arrow(
        self,
        points: Sequence[Point],
        names: Collection[str],
        component: str = "other",
    ) -> None:
        """Draw an arrow through the points; its tip is exactly the last of them."""
        look = self.look(names, component)
        (x, y), (tip_x, tip_y) = points[-2:]
        length = abs(tip_x - x) + abs(tip_y - y)  # the last stretch is upright or level
        head = (5 + look.width) / length
        step_x, step_y = (tip_x - x) * head, (tip_y - y) * head
        neck_x, neck_y = tip_x - step_x, tip_y - step_y
        shaft = [*points[:-1], (neck_x, neck_y)]
        if look.halo:
            self._stroke(shaft, HALO, look.width + 7, zorder=1.5)
        self._stroke(shaft, look.edge, look.width, zorder=2)
        left = (neck_x - step_y * 0.58, neck_y + step_x * 0.58)
        right = (neck_x + step_y * 0.58, neck_y - step_x * 0.58)
        corners = [(tip_x, tip_y), left, right]
        self.axes.add_patch(Polygon(corners, color=look.edge, lw=0, zorder=2.5))

    def connect(self, *boxes: Box) -> None:
        """Draw an upward arrow from each box to the next one."""
        for lower, upper in pairwise(boxes):
            self.arrow([lower.top, upper.bottom], [lower.name, upper.name])

    def dot(self, center: Point, names: Collection[str], component: str) -> None:
        """Draw the point at which a line leaves another one."""
        color = self.look(names, component).edge
        self._circle(center, 2.2, Look(color, color, width=0), zorder=2.5)

    def wedge(self, corners: Sequence[Point]) -> None:
        """Draw the area between a small part and the panel that enlarges it."""
        area = Polygon(corners, facecolor=MUTED_FILL, edgecolor="none", zorder=0)
        self.axes.add_patch(area)
        for start, end in (corners[:2], corners[2:]):
            self._stroke([start, end], MUTED_EDGE, 0.8, zorder=0.5)

    def label(
        self,
        left: Point,
        text: str,
        color: str = INK,
        *,
        size: float = SMALL,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """Write text that starts at a point, or ends there if aligned right."""
        self.axes.text(
            *left,
            text,
            color=color,
            size=size,
            weight=weight,
            ha=align,
            va="center",
            zorder=5,
        )

    def tag(self, center: Point, width: float, text: str, *, strong: bool) -> None:
        """Draw a sign: white letters on dark if strong, a plain frame if not."""
        box = Box("tag", *center, width, 17)
        look = Look(MUTED_EDGE, WHITE, MUTED_TEXT, width=1)
        if strong:
            look = Look(INK, INK, WHITE, width=1, weight="bold")
        self._rectangle(box, look, rounding=8.5, zorder=4)
        self._write(box, text, "", look)

    def _write(self, box: Box, text: str, note: str, look: Look) -> None:
        shift = 6 if note else 0
        for line, y, size, weight in (
            (text, box.y + shift, LETTERS, look.weight),
            (note, box.y - shift, SMALL, "normal"),
        ):
            if line:
                where = (box.x, y)
                self.label(
                    where, line, look.text, size=size, weight=weight, align="center"
                )

    def _rectangle(
        self, box: Box, look: Look, *, rounding: float, zorder: float
    ) -> None:
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        style = f"round,pad=0,rounding_size={rounding}"
        if look.halo:
            grown = f"round,pad=4,rounding_size={rounding + 4}"
            halo = FancyBboxPatch(corner, box.width, box.height, boxstyle=grown)
            halo.set(facecolor=HALO, edgecolor="none", zorder=zorder - 0.8)
            self.axes.add_patch(halo)
        patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=style)
        patch.set(facecolor=look.fill, edgecolor=look.edge, zorder=zorder)
        patch.set(linewidth=look.width, linestyle=look.line)
        self.axes.add_patch(patch)

    def _circle(
        self, center: Point, radius: float, look: Look, *, zorder: float
    ) -> None:
        circle = Circle(center, radius, facecolor=look.fill, edgecolor=look.edge)
        circle.set(linewidth=look.width, zorder=zorder)
        self.axes.add_patch(circle)

    def _stroke(
        self, points: Sequence[Point], color: str, width: float, *, zorder: float
    ) -> None:
        line = PathPatch(Outline(points), facecolor="none", edgecolor=color)
        line.set(linewidth=width, zorder=zorder, joinstyle="round", capstyle="butt")
        self.axes.add_patch(line)


def stack(bottom: float, heights: Sequence[float], gap: float) -> list[float]:
    """Return the middles of parts that stand on each other with equal gaps."""
    middles = []
    for height in heights:
        middles.append(bottom + height / 2)
        bottom += height + gap
    return middles


# 4.1: the stages of building an LLM, a grid of three columns and four rows.

COLUMNS = (100.0, 300.0, 500.0)
ROWS = (228.0, 166.0, 104.0, 42.0)
CELL = (150.0, 36.0)


def stages_of_building_an_llm() -> Figure:
    """Draw the three stages; the step that this course takes is lit."""
    page = Page(600, 304, lit={"LLM architecture"})
    titles = ("1  Build the LLM", "2  Pretrain it", "3  Fine-tune it")
    for x, title in zip(COLUMNS, titles, strict=True):
        page.panel(title, (x, 152), (174, 280), title)
    untrained = draw_stage(
        page,
        COLUMNS[0],
        ("Data preparation", "tokenization and sampling"),
        ("Attention mechanism", "tokens look at earlier ones"),
        ("LLM architecture", "a GPT model from scratch"),
        result=("Untrained model", "speaks nonsense"),
    )
    foundation = draw_stage(
        page,
        COLUMNS[1],
        ("Training loop", "predict the next token"),
        ("Model evaluation", "loss on unseen text"),
        ("Or ready-made weights", "loaded instead of trained"),
        result=("Foundation model", "or base model"),
    )
    draw_fine_tuning(page)
    draw_ways(page, untrained, COLUMNS[1], ROWS[0])
    draw_ways(page, foundation, COLUMNS[2], ROWS[0], ROWS[2])
    draw_signs(page)
    return page.figure


def draw_stage(
    page: Page, x: float, *steps: tuple[str, str], result: tuple[str, str]
) -> Box:
    """Draw a stage's steps downwards and, last, what they give."""
    boxes = [
        page.box(text, (x, y), CELL, text, note=note)
        for y, (text, note) in zip(ROWS[:3], steps, strict=True)
    ]
    boxes.append(page.data(result[0], (x, ROWS[3]), CELL, *result))
    for upper, lower in pairwise(boxes):
        page.arrow([upper.bottom, lower.top], [upper.name, lower.name])
    return boxes[-1]


def draw_fine_tuning(page: Page) -> None:
    """Draw two ways to fine-tune the foundation model, and what each gives."""
    x = COLUMNS[2]
    labels = ("Fine-tune on labelled text", "a class for each text")
    answers = ("Fine-tune on instructions", "with their answers")
    for row, (text, note), result in (
        (0, labels, ("Classifier", "spam or not")),
        (2, answers, ("Personal assistant", "a chat model")),
    ):
        upper = page.box(text, (x, ROWS[row]), CELL, text, note=note)
        lower = page.data(result[0], (x, ROWS[row + 1]), CELL, *result)
        page.arrow([upper.bottom, lower.top], [upper.name, lower.name])


def draw_ways(page: Page, model: Box, column: float, *rows: float) -> None:
    """Draw how a stage's model goes into the next stage, first into its top row."""
    edge = column - CELL[0] / 2
    lane = (model.right[0] + edge) / 2
    start = [model.right, (lane, model.y)]
    for y in rows:
        page.arrow([*start, (lane, y), (edge, y)], [model.name])
        start = []  # the others branch off
    for y in rows[1:]:
        page.dot((lane, y), [model.name], "other")


def draw_signs(page: Page) -> None:
    """Say what comes before this course, and what after it."""
    x = COLUMNS[0] + 45
    for row, text in ((0, "before"), (1, "before"), (2, "this course")):
        strong = text == "this course"
        page.tag((x, ROWS[row] + 24), 72 if strong else 46, text, strong=strong)
    page.tag((COLUMNS[1] + 56, 277), 40, "next", strong=False)
    page.tag((COLUMNS[2] + 56, 277), 40, "later", strong=False)


# 4.1 to 4.7: the model, seen from above, and one of its blocks.

FLOW = 202.0  # where the stream goes up through the model
BLOCK_FLOW = 434.0  # and through the block
LAYER = (154.0, 22.0)
BLOCK_LAYER = (166.0, 22.0)
SIDE = 72.0  # middle of what stands left of the stream
STREAM = "4 \N{MULTIPLICATION SIGN} 768"
SCORES = "4 \N{MULTIPLICATION SIGN} 50,257"

OUTLINE = {
    "text",
    "ids",
    "positions",
    "token embedding",
    "position embedding",
    "sum",
    "dropout",
    "output",
    "logits",
}
BLOCK = {
    "blocks",
    "block",
    "norm 1",
    "attention",
    "dropout 1",
    "shortcut 1",
    "norm 2",
    "feed forward",
    "dropout 2",
    "shortcut 2",
}
LIT = {
    "4.1 LLM architecture": OUTLINE,
    "4.2 Layer normalization": {"norm 1", "norm 2", "final norm"},
    "4.3 Feed-forward network with GELU": {"feed forward"},
    "4.4 Shortcut connections": {"shortcut 1", "shortcut 2"},
    "4.5 Transformer block": BLOCK,
    "4.6 The whole GPT model": OUTLINE | BLOCK | {"final norm"},
    "4.7 Text generation": {"text", "logits", "next token"},
}


def gpt_model() -> Figure:
    """Draw the whole model with the shapes of what flows through GPT-2 small."""
    page = Page(600, 470)
    stem = draw_model(page, gap=24)
    draw_shapes(page, stem)
    return page.figure


def you_are_here(title: str) -> Figure:
    """Draw the whole model with one section's part lit."""
    first, last = title.startswith("4.1"), title.startswith("4.7")
    hollow = ("blocks", "final norm") if first else ()
    page = Page(600, 426, LIT[title], hollow)
    sign = f"You are here: {title}"
    width = 24 + 5.7 * len(sign)
    page.tag((14 + width / 2, 407), width, sign, strong=True)
    stem = draw_model(page, gap=15)
    for name in hollow:
        x, y = stem[name].left
        page.label((x - 8, y), "placeholder", align="right")
    if last:
        draw_loop(page, stem["text"], stem["logits"])
    return page.figure


def draw_model(page: Page, gap: float) -> dict[str, Box]:
    """Draw the model and, beside it, a look into one of its blocks."""
    stem = draw_stem(page, gap)
    bottom, top = stem["text"].bottom[1] + 14, stem["logits"].top[1] - 12
    block = draw_block(page, bottom, top)
    draw_zoom(page, stem["blocks"], block)
    return {**stem, "block": block}


def draw_stem(page: Page, gap: float) -> dict[str, Box]:
    """Draw the stream from the text up to the logits."""
    heights = (22, 34, 34, 2 * RADIUS, 22, 44, 22, 22, 34)
    at = [(FLOW, y) for y in stack(14, heights, gap)]
    two_lines = (LAYER[0], 34)
    stream = [
        page.data("text", at[0], LAYER, "\u201cEvery effort moves you\u201d"),
        page.data("ids", at[1], two_lines, "Token ids", "6109 3626 6100 345"),
        page.box("token embedding", at[2], two_lines, "Token embedding", "embedding"),
        page.plus("sum", at[3], "embedding"),
        page.box("dropout", at[4], LAYER, "Dropout"),
        draw_cards(page, at[5]),
        page.box("final norm", at[6], LAYER, "Final LayerNorm", "normalization"),
        page.box("output", at[7], LAYER, "Linear output layer"),
        page.data("logits", at[8], two_lines, "Logits", "a row of scores per token"),
    ]
    page.connect(*stream)
    draw_positions(page, stream[1], stream[2], stream[3])
    return {box.name: box for box in stream}


def draw_positions(page: Page, ids: Box, embedding: Box, total: Box) -> None:
    """Draw the positions' own embedding, which joins the stream at the sum."""
    size = (84, 34)
    positions = page.data("positions", (SIDE, ids.y), size, "Positions", "0 1 2 3")
    text = "Position\nembedding"
    layer = page.box("position embedding", (SIDE, embedding.y), size, text, "embedding")
    page.connect(positions, layer)
    page.arrow([layer.top, (SIDE, total.y), total.left], [layer.name, total.name])


def draw_cards(page: Page, center: Point) -> Box:
    """Draw the transformer blocks as a pile of cards."""
    x, y = center
    size = (LAYER[0], 36)
    for shift in (8, 4):
        page.box("blocks", (x + shift, y - 4 + shift), size, "")
    note = "\N{MULTIPLICATION SIGN} 12, one after another"
    page.box("blocks", (x, y - 4), size, "Transformer block", note=note)
    return Box("blocks", x, y, LAYER[0], 44)


def draw_block(page: Page, bottom: float, top: float) -> Box:
    """Draw one transformer block: attention, then feed-forward."""
    middle = (bottom + top) / 2
    block = page.panel("block", (451, middle), (272, top - bottom), "Transformer block")
    height = (top - bottom - 34) / 2  # the rest is for the panel's name
    start = (BLOCK_FLOW, bottom - 14)
    lower = draw_sublayer(page, start, (bottom, height), 1, "attention")
    upper = draw_sublayer(page, lower.top, (bottom + height, height), 2, "feed forward")
    page.arrow([upper.top, (BLOCK_FLOW, top + 12)], ["block"])
    return block


def draw_sublayer(
    page: Page, start: Point, span: tuple[float, float], number: int, layer: str
) -> Box:
    """Draw normalization, a layer, dropout, and the shortcut around the three."""
    bottom, height = span
    gap = (height - 24 - 3 * 22 - 2 * RADIUS) / 3
    heights = (22, 22, 22, 2 * RADIUS)
    at = [(BLOCK_FLOW, y) for y in stack(bottom + 24, heights, gap)]
    text, component = {
        "attention": ("Masked multi-head attention", "attention"),
        "feed forward": ("Feed-forward network", "feed_forward"),
    }[layer]
    name, norm_text = f"norm {number}", f"LayerNorm {number}"
    norm = page.box(name, at[0], BLOCK_LAYER, norm_text, "normalization")
    inner = page.box(layer, at[1], BLOCK_LAYER, text, component)
    dropout = page.box(f"dropout {number}", at[2], BLOCK_LAYER, "Dropout")
    total = page.plus(f"shortcut {number}", at[3], "shortcut")
    page.arrow([start, norm.bottom], ["block"])
    page.connect(norm, inner, dropout, total)
    draw_shortcut(page, (BLOCK_FLOW, bottom + 10), total)
    return total


def draw_shortcut(page: Page, branch: Point, total: Box) -> None:
    """Draw the way from a branch of the stream around to the sum."""
    lane = BLOCK_FLOW + BLOCK_LAYER[0] / 2 + 14
    way = [branch, (lane, branch[1]), (lane, total.y), total.right]
    page.arrow(way, [total.name], "shortcut")
    page.dot(branch, [total.name], "shortcut")
    look = page.look([total.name], "shortcut")
    middle = (lane + 8, (branch[1] + total.y) / 2)
    page.label(middle, "shortcut", look.text, weight=look.weight)


def draw_zoom(page: Page, cards: Box, block: Box) -> None:
    """Draw the thin lines that say: this panel is one of those cards."""
    x, edge = cards.right[0] + 8, block.left[0]
    above = [(x, cards.top[1]), (edge, block.top[1] - 8)]
    below = [(x, cards.bottom[1] + 8), (edge, block.bottom[1] + 8)]
    page.wedge([*above, *reversed(below)])


def draw_shapes(page: Page, boxes: dict[str, Box]) -> None:
    """Write beside the stream what flows through it, and explain the numbers."""
    shapes = ["tokenizer", "4 ids", *5 * [STREAM], SCORES]
    for (lower, upper), shape in zip(pairwise(boxes.values()), shapes, strict=False):
        page.label((FLOW + 8, (lower.top[1] + upper.bottom[1]) / 2), shape)
    for y in (boxes["block"].bottom[1] - 7, boxes["block"].top[1] + 8):
        page.label((BLOCK_FLOW + 8, y), STREAM)
    draw_key(page, boxes["logits"].y + 8)


def draw_key(page: Page, y: float) -> None:
    """Write what the numbers in the shapes count."""
    x = SIDE - 16
    page.label((x - 36, y), "GPT-2 small", weight="bold")
    for number, word in (
        ("4", "tokens"),
        ("768", "features"),
        ("50,257", "vocabulary"),
    ):
        y -= 14
        page.label((x, y), number, align="right")
        page.label((x + 5, y), word)


def draw_loop(page: Page, text: Box, logits: Box) -> None:
    """Draw how the next token joins the text, and the model runs once more."""
    center, size = (SIDE - 6, logits.y), (76, 34)
    token = page.data("next token", center, size, "Next token", "\u201cforward\u201d")
    page.arrow([logits.left, token.right], [logits.name, token.name])
    lane = 18.0
    way = [token.left, (lane, token.y), (lane, text.y), text.left]
    page.arrow(way, [token.name, text.name])
    middle = (lane + 12, (token.y + text.y) / 2 + 40)
    page.label(middle, "joins the text,\nthen the model\nruns again")


# 4.2: what layer normalization averages over, beside batch normalization.

TEXTS = (("Every", "effort", "moves", "you"), ("Every", "day", "holds", "a"))
NUM_FEATURES = 6


def axes_of_normalization() -> Figure:
    """Draw a batch twice; lit is what goes into one mean and one variance."""
    page = Page(600, 340, lit={"averaged"})
    draw_averaged(
        page,
        154,
        "Layer normalization",
        "one mean and one variance for each token,",
        "over its own features",
        lambda text, token, feature: (text, token) == (0, 1),
    )
    draw_averaged(
        page,
        446,
        "Batch normalization",
        "one mean and one variance for each feature,",
        "over all tokens of all texts",
        lambda text, token, feature: feature == 1,
    )
    return page.figure


def draw_averaged(
    page: Page,
    middle: float,
    title: str,
    upper: str,
    lower: str,
    is_averaged: Callable[[int, int, int], bool],
) -> None:
    """Draw the features of a batch as a grid for each text, a row for each token."""
    page.panel("rest", (middle, 170), (276, 316))
    page.label((middle, 308), title, size=11, weight="bold", align="center")
    page.label((middle, 54), upper, align="center")
    page.label((middle, 38), lower, align="center")
    width, height = 27.0, 19.0
    left = middle - 26
    for text, (tokens, top) in enumerate(zip(TEXTS, (270, 170), strict=True)):
        page.label((middle - 128, top - 1.5 * height), f"text {text}", weight="bold")
        for token, word in enumerate(tokens):
            y = top - token * height
            page.label((left - 18, y), word, align="right")
            for feature in range(NUM_FEATURES):
                averaged = is_averaged(text, token, feature)
                page.box(
                    "averaged" if averaged else "rest",
                    (left + feature * width, y),
                    (width - 5, height - 6),
                    "",
                    "normalization",
                )
    right = left + (NUM_FEATURES - 1) * width
    page.label(((left + right) / 2, 88), "features", align="center")
    page.arrow([(left - 8, 76), (right + 8, 76)], ["rest"])


# 4.3: the feed-forward network, wide in the middle, and every token alone in it.

UNIT = 70.0  # width of 768 features; 3,072 are four times as wide
FF_ROWS = (42.0, 126.0, 165.0, 204.0, 288.0)  # input, hidden, GELU, hidden, output


def feed_forward() -> Figure:
    """Draw one token's way through the network, and four tokens beside each other."""
    page = Page(600, 344)
    draw_way_of_one_token(page)
    draw_tokens_alone(page)
    return page.figure


def draw_way_of_one_token(page: Page) -> None:
    """Draw the expansion, GELU, and the contraction, their widths to scale."""
    x, narrow, wide = 172.0, (UNIT, 22.0), (4 * UNIT, 22.0)
    page.panel("way", (x, 172), (316, 316), "One token's way")
    before = page.data("before", (x, FF_ROWS[0]), narrow, "768")
    hidden = page.data("hidden", (x, FF_ROWS[1]), wide, "3,072")
    text = "GELU, on each of the 3,072 by itself"
    gelu = page.box("GELU", (x, FF_ROWS[2]), (wide[0], 24), text, "feed_forward")
    weighed = page.data("weighed", (x, FF_ROWS[3]), wide, "3,072")
    page.connect(hidden, gelu, weighed)
    after = page.data("after", (x, FF_ROWS[4]), narrow, "768")
    draw_linear(page, before, hidden, "Linear layer: expand")
    draw_linear(page, weighed, after, "Linear layer: contract")
    page.label((before.right[0] + 8, before.y), "features in")
    page.label((after.right[0] + 8, after.y), "features out")


def draw_linear(page: Page, lower: Box, upper: Box, text: str) -> None:
    """Draw a linear layer as the area between its inputs and its outputs."""
    bottom, top = lower.top[1] + 4, upper.bottom[1] - 4
    draw_area(
        page,
        ((lower.left[0], bottom), (upper.left[0], top)),
        ((upper.right[0], top), (lower.right[0], bottom)),
    )
    page.label((lower.x, (bottom + top) / 2), text, size=LETTERS, align="center")


def draw_area(page: Page, left: Sequence[Point], right: Sequence[Point]) -> None:
    """Draw a part of the network by its left edge, upwards, and its right, down."""
    look = page.look([], "feed_forward")
    area = Polygon([*left, *right], facecolor=look.fill, edgecolor=look.edge)
    area.set(linewidth=look.width, joinstyle="round", zorder=3)
    page.axes.add_patch(area)


def draw_tokens_alone(page: Page) -> None:
    """Draw four tokens that go through the same network, with no arrow across."""
    page.panel("alone", (465, 172), (242, 316), "Each token alone")
    bottom, low, high, top = (FF_ROWS[0] + 52, *FF_ROWS[1:4:2], FF_ROWS[4] - 52)
    for number, token in enumerate(("Every", "effort", "moves", "you")):
        x = 381.0 + 56 * number
        left = [(x - 7, bottom), (x - 25, low), (x - 25, high), (x - 7, top)]
        right = [(2 * x - edge, y) for edge, y in reversed(left)]
        draw_area(page, left, right)
        page.label((x, FF_ROWS[2]), "same\nweights", align="center")
        name = page.data(token, (x, FF_ROWS[0]), (50, 22), token)
        result = page.data("result", (x, FF_ROWS[4]), (50, 22), "768")
        page.arrow([name.top, (x, bottom)], [])
        page.arrow([(x, top), result.bottom], [])


# 4.4: the same five layers without and with shortcuts, and the gradient's way back.

DEEP_LAYER = (108.0, 32.0)
DEEP_ROWS = (90.0, 168.0, 246.0, 324.0, 402.0)  # the layers' middles
GRADIENT = "attention"  # its orange stands apart from the shortcuts' black
GRADIENTS = {
    "Without shortcuts": ("0.000202", "0.00012", "0.000715", "0.001399", "0.00505"),
    "With shortcuts": ("0.2217", "0.2069", "0.329", "0.2666", "1.326"),
}


def shortcut_connections() -> Figure:
    """Draw both networks, with the mean absolute gradient beside each layer."""
    page = Page(600, 512)
    for x, title in zip((153.0, 447.0), GRADIENTS, strict=True):
        page.panel(title, (x, 256), (282, 492), title)
        draw_deep_network(page, x + 2, title)
    return page.figure


def draw_deep_network(page: Page, x: float, title: str) -> None:
    """Draw the input, five layers and the output, and the gradient's way back."""
    shortcuts = title == "With shortcuts"
    below = page.data("input", (x, 32), (DEEP_LAYER[0], 22), "Input: 3 features")
    end = page.data("output", (x, 458), (DEEP_LAYER[0], 22), "Output: 1 number")
    layers = []
    for number, (y, size) in enumerate(zip(DEEP_ROWS, GRADIENTS[title], strict=True)):
        layer = draw_deep_layer(page, (x, y), number, size)
        page.connect(below, layer)
        branch = (x, layer.bottom[1] - 12)
        below = layer
        if shortcuts and number < 4:
            below = page.plus("plus", (x, y + 36), "shortcut")
            page.connect(layer, below)
            lane = layer.right[0] + 12
            way = [branch, (lane, branch[1]), (lane, below.y), below.right]
            page.arrow(way, ["plus"], "shortcut")
            page.dot(branch, ["plus"], "shortcut")
        layers.append(layer)
    page.connect(below, end)
    draw_gradient(page, [end, *reversed(layers)], around=shortcuts)


def draw_deep_layer(page: Page, center: Point, number: int, gradient: str) -> Box:
    """Draw a layer with its sizes, and its gradient to the left of it."""
    text, size_out = f"Layer {number}", 3 if number < 4 else 1
    note = f"linear 3 \N{RIGHTWARDS ARROW} {size_out}, GELU"
    layer = page.box(text, center, DEEP_LAYER, text, "feed_forward", note)
    where = (layer.left[0] - 12, layer.y)
    page.label(where, gradient, COLORS[GRADIENT], align="right")
    return layer


def draw_gradient(page: Page, downwards: Sequence[Box], *, around: bool) -> None:
    """Draw the gradient's way through every layer, or around and into all but one."""
    end, top, *_, bottom = downwards
    color = COLORS[GRADIENT]
    page.label(
        (end.left[0] - 12, end.y), "mean\nabsolute\ngradient", color, align="right"
    )
    x = end.x + 28
    passed = downwards[:2] if around else downwards
    for upper, lower in pairwise(passed):
        page.arrow([(x, upper.bottom[1]), (x, lower.top[1])], ["gradient"], GRADIENT)
    start, stop = (x, passed[-1].bottom[1]), bottom.bottom[1] - 18
    if not around:
        page.arrow([start, (x, stop)], ["gradient"], GRADIENT)
        page.label((x + 32, 285), "through\nevery\nlayer", color)
        return
    lane, turn = top.right[0] + 24, start[1] - 9
    way = [start, (x, turn), (lane, turn), (lane, stop)]
    page.arrow(way, ["gradient"], GRADIENT)
    for layer in downwards[2:]:
        y = layer.top[1] + 9  # under the plus: what goes into the layer
        into = [(lane, y), (x, y), (x, layer.top[1])]
        page.arrow(into, ["gradient"], GRADIENT)
        page.dot((lane, y), ["gradient"], GRADIENT)
    page.label((lane + 7, 246), "around\neach layer,\nand into it", color)


# 4.5: attention in several heads; the block, with its stream and two branches.

QUERY, KEY, VALUE = 150.0, 290.0, 455.0  # middles of their columns
HEADS = 337.5  # middle of what queries, keys and values end in
SHARE = 14.0  # side of a square of attention weights
SQUARE = "linear 768 \N{RIGHTWARDS ARROW} 768"


def multi_head_attention() -> Figure:
    """Draw one text's way through attention, with every shape."""
    page = Page(600, 568)
    page.arrow([(KEY, 43), (KEY, 67)], [])
    for x in (QUERY, VALUE):
        page.arrow([(KEY, 55), (x, 55), (x, 67)], [])
    page.dot((KEY, 55), [], "other")
    text, shape = "Features, normalized", f"{STREAM} (tokens, features)"
    page.data("features", (KEY, 26), (190, 34), text, shape)
    for shift in (10, 5, 0):
        center = (300 + shift, 268 + shift)
        panel = page.panel("heads", center, (464, 300))
    page.label((80, 403), "12 heads side by side", size=LETTERS, weight="bold")
    scores = draw_scores(page)
    values = draw_projection(page, VALUE, "value")
    weighted = page.box(
        "weighted",
        (HEADS, 372),
        (375, 34),
        "Weights times values: a weighted average",
        "attention",
        note="context, 4 \N{MULTIPLICATION SIGN} 64",
    )
    page.arrow([(scores.x, scores.top[1]), (scores.x, weighted.bottom[1])], [])
    page.arrow([values.top, (VALUE, weighted.bottom[1])], [])
    draw_joined(page, weighted, panel.top[1] + 10)
    return page.figure


def draw_projection(page: Page, x: float, name: str) -> Box:
    """Draw a linear layer below the heads, and one head's share of its output."""
    layer = page.box(name, (x, 84), (124, 34), f"W_{name}", "attention", SQUARE)
    name = {"query": "Queries", "key": "Keys", "value": "Values"}[name]
    share = page.data(name, (x, 154), (110, 34), name, "4 \N{MULTIPLICATION SIGN} 64")
    page.connect(layer, share)
    page.label((x + 7, 110), STREAM)
    return share


def draw_scores(page: Page) -> Box:
    """Draw how queries and keys become a triangle of weights; return the triangle."""
    queries, keys = (
        draw_projection(page, QUERY, "query"),
        draw_projection(page, KEY, "key"),
    )
    middle = (QUERY + KEY) / 2
    scores = page.box(
        "scores",
        (middle, 212),
        (250, 34),
        "Query times key, divided by \N{SQUARE ROOT}64",
        "attention",
        note="scores, 4 \N{MULTIPLICATION SIGN} 4",
    )
    for box in (queries, keys):
        page.arrow([box.top, (box.x, scores.bottom[1])], [])
    softmax = page.box(
        "softmax", (middle, 258), (250, 24), "Mask, then softmax", "attention"
    )
    page.connect(scores, softmax)
    triangle = Box("weights", middle, 313, 4 * SHARE, 4 * SHARE)
    page.connect(softmax, triangle)
    color = COLORS["attention"]
    for row in range(4):
        for column in range(4):
            center = (
                triangle.left[0] + (column + 0.5) * SHARE,
                triangle.top[1] - (row + 0.5) * SHARE,
            )
            # An even share of what a token sees: the fewer, the more from each.
            fill = tint(color, 0.75 / (row + 1)) if column <= row else WHITE
            square = Box("share", *center, SHARE, SHARE)
            page._rectangle(square, Look(INK, fill, width=0.8), rounding=0, zorder=3)
    page.label((triangle.right[0] + 8, 320), "weights, 4 \N{MULTIPLICATION SIGN} 4:")
    page.label((triangle.right[0] + 8, 306), "a row for each token")
    return triangle


def draw_joined(page: Page, weighted: Box, y: float) -> None:
    """Draw how the heads' contexts are joined, and the output projection."""
    text, size = f"Heads joined: {STREAM}", (190, 24)
    joined = page.data("joined", (HEADS, y + 31), size, text)
    layer = page.box(
        "output projection", (HEADS, y + 73), (190, 34), "out_proj", "attention", SQUARE
    )
    output = page.data("output", (HEADS, y + 115), size, f"Output: {STREAM}")
    page.connect(weighted, joined, layer, output)


TRUNK = 170.0  # where the stream goes straight up
BRANCH = 322.0  # middle of what stands on a branch
BRANCH_LAYER = (176.0, 24.0)
SHAPE = "(B, T, 768)"


def transformer_block() -> Figure:
    """Draw the stream as a straight line, and the two branches beside it."""
    page = Page(600, 508)
    below = page.data("input", (TRUNK, 30), (130, 34), "Input", SHAPE)
    attention = (
        ("LayerNorm 1", "normalization", "each token to mean 0,\nvariance 1"),
        (
            "Masked multi-head attention",
            "attention",
            "takes from itself and\nfrom earlier tokens",
        ),
        ("Dropout", "other", "in training only"),
    )
    feed_forward = (
        ("LayerNorm 2", "normalization", "its own scale and shift"),
        (
            "Feed-forward network",
            "feed_forward",
            "768 \N{RIGHTWARDS ARROW} 3,072 \N{RIGHTWARDS ARROW} 768",
        ),
        ("Dropout", "other", "in training only"),
    )
    first = "First branch: tokens learn from each other"
    middle = draw_branch(page, below, 76, first, attention)
    second = "Second branch: each token by itself"
    total = draw_branch(page, middle, 270, second, feed_forward)
    output = page.data("output", (TRUNK, 474), (130, 34), "Output", SHAPE)
    page.arrow([total.top, output.bottom], [], "shortcut")
    page.label((TRUNK - 18, 214), "adds what comes\nfrom other tokens", align="right")
    page.label((TRUNK - 18, 408), "adds what the token\nmakes of it", align="right")
    page.label((TRUNK - 12, 145), "the stream:", weight="bold", align="right")
    page.label((TRUNK - 12, 125), "no layer stands\non it", align="right")
    page.label((TRUNK - 12, 330), SHAPE, align="right")
    return page.figure


def draw_branch(
    page: Page,
    below: Box,
    bottom: float,
    title: str,
    steps: Sequence[tuple[str, str, str]],
) -> Box:
    """Draw what leaves the stream, goes through three layers and is added to it."""
    page.panel("branch", (402, bottom + 76), (372, 180), title)
    boxes = []
    for y, (text, component, note) in zip((26, 68, 110), steps, strict=True):
        center = (BRANCH, bottom + y)
        boxes.append(page.box(text, center, BRANCH_LAYER, text, component))
        page.label((boxes[-1].right[0] + 12, center[1]), note)
    total = page.plus("plus", (TRUNK, bottom + 138), "shortcut")
    page.arrow([below.top, total.bottom], [], "shortcut")
    page.dot((TRUNK, bottom), [], "shortcut")
    page.arrow([(TRUNK, bottom), (BRANCH, bottom), boxes[0].bottom], [])
    page.connect(*boxes)
    page.arrow([boxes[-1].top, (BRANCH, total.y), total.right], [])
    return total


# 4.6: all twelve blocks with the shapes and parameters, and one matrix in two places.

MODEL_FLOW = 218.0  # where the stream goes up
SHAPE_COLUMN = 332.0  # where the shapes begin
COUNT_COLUMN = 566.0  # where the numbers of parameters end
STAGE = (190.0, 20.0)
BLOCKS = 12
BATCH_STREAM = "(2, 4, 768)"
PARAMETERS = {  # GPT-2 small, the token embedding and the output layer apart
    "tok_emb": 38_597_376,
    "pos_emb": 786_432,
    "drop_emb": 0,
    "trf_blocks": 7_085_568,  # each
    "final_norm": 1_536,
    "out_head": 38_597_376,
}


def twelve_blocks() -> Figure:
    """Draw the model as the code has it, each block by itself."""
    page = Page(600, 646)
    x, plus = MODEL_FLOW, 2 * RADIUS
    heights = (20, 32, plus, 20, *BLOCKS * [17.0], 20, 20, 20)
    gaps = (22, 15, 15, 22, *(BLOCKS - 1) * [9.0], 22, 15, 15)
    middles, bottom = [], 20.0
    for height, gap in zip(heights, (*gaps, 0), strict=True):
        middles.append(bottom + height / 2)
        bottom += height + gap
    low, high = middles[4], middles[3 + BLOCKS]
    pile = (STAGE[0] + 20, high - low + 17 + 18)
    page.panel("trf_blocks", (x, (low + high) / 2), pile)
    ids, embedding, total, dropout, *blocks, norm, head, logits = (
        page.data("ids", (x, middles[0]), STAGE, "Token ids"),
        page.box(
            "tok_emb", (x, middles[1]), (STAGE[0], 32), "Token embedding", "embedding"
        ),
        page.plus("sum", (x, middles[2]), "embedding"),
        page.box("drop_emb", (x, middles[3]), STAGE, "Dropout"),
        *(draw_small_block(page, y, n) for n, y in enumerate(middles[4 : 4 + BLOCKS])),
        page.box("norm", (x, middles[-3]), STAGE, "Final LayerNorm", "normalization"),
        page.box("out_head", (x, middles[-2]), STAGE, "Linear output layer"),
        page.data("logits", (x, middles[-1]), STAGE, "Logits"),
    )
    page.connect(ids, embedding, total, dropout, *blocks, norm, head, logits)
    positions = page.data("positions", (58, ids.y), (84, 20), "Positions")
    text = "Position\nembedding"
    table = page.box("pos_emb", (58, embedding.y), (84, 32), text, "embedding")
    page.connect(positions, table)
    page.arrow([table.top, (58, total.y), total.left], ["pos_emb", "sum"])
    page.label((16, total.y + 10), "(4, 768)")
    draw_model_table(page, ids, embedding, total, dropout, blocks, norm, head, logits)
    return page.figure


def draw_small_block(page: Page, y: float, number: int) -> Box:
    """Draw a transformer block as one line: its number, and its two halves."""
    outer = page.data("block", (MODEL_FLOW, y), (STAGE[0], 17), "")
    x = outer.left[0]
    page.label((x + 12, y), f"{number}", weight="bold")
    page.box("half", (x + 66, y), (66, 13), "", "attention")
    page.box("half", (x + 144, y), (78, 13), "", "feed_forward")
    page.label((x + 66, y), "attention", align="center")
    page.label((x + 144, y), "feed-forward", align="center")
    return outer


def draw_model_table(
    page: Page,
    ids: Box,
    embedding: Box,
    total: Box,
    dropout: Box,
    blocks: Sequence[Box],
    norm: Box,
    head: Box,
    logits: Box,
) -> None:
    """Write beside each stage its name in the code, its shape and its parameters."""
    rows = [
        (ids, "", "(2, 4)", ""),
        (embedding, "tok_emb", BATCH_STREAM, "tok_emb"),
        (total, "+ pos_emb", BATCH_STREAM, "pos_emb"),
        (dropout, "drop_emb", BATCH_STREAM, "drop_emb"),
        *((block, f"trf_blocks[{n}]", "", "") for n, block in enumerate(blocks)),
        (norm, "final_norm", BATCH_STREAM, "final_norm"),
        (head, "out_head", "(2, 4, 50257)", "out_head"),
    ]
    rows[4:-2] = [
        (box, name, BATCH_STREAM, "trf_blocks") for box, name, _, _ in rows[4:-2]
    ]
    for box, name, shape, key in rows:
        if name:
            page.label((SHAPE_COLUMN, box.y), name, COLORS["other"])
        page.label((SHAPE_COLUMN + 94, box.y), shape)
        if key:
            count = f"{PARAMETERS[key]:,}"
            page.label((COUNT_COLUMN, box.y), count, align="right")
    every = sum(PARAMETERS.values()) + (BLOCKS - 1) * PARAMETERS["trf_blocks"]
    for x, text, align in (
        (SHAPE_COLUMN, "in the code", "left"),
        (SHAPE_COLUMN + 94, "shape after it", "left"),
        (COUNT_COLUMN, "parameters", "right"),
    ):
        page.label((x, logits.y + 22), text, weight="bold", align=align)
    page.label(
        (COUNT_COLUMN, logits.y), f"in all {every:,}", weight="bold", align="right"
    )


TYING_PANEL = (282.0, 392.0)
MATRIX_TEXT = "50,257 rows of 768"


def weight_tying() -> Figure:
    """Draw the model with two matrices for its vocabulary, and with one."""
    page = Page(600, 412)
    page.panel("apart", (153, 206), TYING_PANEL, "Not tied: two matrices")
    page.panel("tied", (447, 206), TYING_PANEL, "Tied: one matrix, used twice")
    draw_two_matrices(page, 153)
    draw_one_matrix(page, 378)
    return page.figure


def draw_two_matrices(page: Page, x: float) -> None:
    """Draw the way from an id to the logits, with a matrix at either end."""
    matrix = (166.0, 60.0)
    token = page.data("id", (x, 38), (110, 22), "Token id 6109")
    lower = page.box("lower", (x, 106), matrix, "", "embedding")
    blocks = page.box("blocks", (x, 192), (166, 34), "12 blocks", note="and all else")
    upper = page.box("upper", (x, 278), matrix, "")
    logits = page.data("logits", (x, 346), (110, 22), "50,257 logits")
    for box, title in ((lower, "Token embedding"), (upper, "Output layer")):
        page.label((x, box.y + 15), title, align="center", size=LETTERS)
        page.label((x, box.y), MATRIX_TEXT, align="center")
        page.label((x, box.y - 14), "38,597,376 parameters", align="center")
    page.connect(token, lower, blocks, upper, logits)
    page.label((x + 8, (lower.top[1] + blocks.bottom[1]) / 2), "row 6109")
    page.label((x + 8, (blocks.top[1] + upper.bottom[1]) / 2), "times every row")


def draw_one_matrix(page: Page, x: float) -> None:
    """Draw the way that leaves the matrix with a row and comes back to all rows."""
    token = page.data("id", (x, 38), (110, 22), "Token id 6109")
    matrix = page.box("matrix", (x, 192), (112, 232), "", "embedding")
    page.label(
        (x, 208), "Token embedding\nand output layer", align="center", size=LETTERS
    )
    page.label((x, 176), MATRIX_TEXT, align="center")
    page.label((x, 158), "38,597,376", align="center")
    page.label((x, 146), "parameters", align="center")
    logits = page.data("logits", (x, 346), (110, 22), "50,257 logits")
    page.connect(token, matrix, logits)
    blocks = page.box(
        "blocks", (x + 144, 192), (88, 34), "12 blocks", note="and all else"
    )
    low, high, edge = 106.0, 278.0, matrix.right[0]
    page.arrow([(edge, low), (blocks.x, low), blocks.bottom], ["matrix", "blocks"])
    page.arrow([blocks.top, (blocks.x, high), (edge, high)], ["blocks", "matrix"])
    page.label((edge + 10, low - 12), "row 6109")
    page.label((edge + 10, high + 12), "times every row")


# 4.7: one step of generating and six of them; what a key-value cache spares.

HELLO = (15496, 11, 314, 716)  # "Hello, I am"
CONTINUATION = (27018, 24086, 47843, 30961, 42348, 7267)  # seed 123, untrained
NEW = "attention"  # what is new wears its orange
STEP_COLUMNS = (84.0, 228.0, 372.0, 516.0)
WORDS = (
    *("Hello", ",", "I", "am"),
    *("Feature", "iman", "Bye", "swick", "attribute", "argue"),
)


def generation_loop() -> Figure:
    """Draw the way from a text to its next token, and the first six steps."""
    page = Page(600, 400, placeholders=("softmax",))
    page.panel("one step", (300, 309), (580, 162), "One step")
    draw_one_step(page)
    page.panel("six steps", (300, 114), (580, 208), "Six steps")
    for step, new in enumerate(CONTINUATION):
        y = 174 - 25 * step
        page.label((24, y), f"step {step + 1}")
        ids = (*HELLO, *CONTINUATION[: step + 1])
        for place, token_id in enumerate(ids):
            center, size = (90.0 + 51 * place, y), (46.0, 19.0)
            if token_id == new:
                page.box("new", center, size, str(token_id), NEW)
            else:
                page.data("known", center, size, str(token_id))
    for place, word in enumerate(WORDS):
        page.label((90 + 51 * place, 30), word, align="center")
    return page.figure


def draw_one_step(page: Page) -> None:
    """Draw one round: to the right through the model, and back to a token."""
    size, above, below = (112.0, 38.0), 338.0, 262.0
    first, second, third, fourth = STEP_COLUMNS
    text = page.data("text", (first, above), size, "Text", "\u201cHello, I am\u201d")
    ids = page.data("ids", (second, above), size, "4 token ids", "15496 11 314 716")
    model = page.box("model", (third, above), size, "GPT model", note="12 blocks")
    logits = page.data("logits", (fourth, above), size, "Logits", SCORES)
    scores = "1 \N{MULTIPLICATION SIGN} 50,257"
    last = page.data("last row", (fourth, below), size, "The last row", scores)
    softmax = page.box(
        "softmax", (third, below), size, "Softmax", note="only for drawing"
    )
    argmax = page.box("argmax", (second, below), size, "Argmax", note="the likeliest")
    token = page.box("new", (first, below), size, "27018", NEW, "\u201c Feature\u201d")
    for left, right in pairwise((text, ids, model, logits)):
        page.arrow([left.right, right.left], [])
    page.arrow([logits.bottom, last.top], [])
    for right, left in pairwise((last, softmax, argmax, token)):
        page.arrow([right.left, left.right], [])
    lane = (above + below) / 2
    page.arrow([token.top, (first, lane), (second, lane), ids.bottom], [], NEW)
    page.label((first + 8, lane + 10), "joins the ids")


CACHE_STEPS = (4, 5, 6, 7)  # tokens in the text at each of them


def key_value_cache() -> Figure:
    """Draw what each step computes, without a cache and with one."""
    page = Page(600, 236)
    draw_computed(page, 153, "Without a cache", lambda tokens: tokens)
    first = CACHE_STEPS[0]
    draw_computed(
        page,
        447,
        "With a key-value cache",
        lambda tokens: tokens if tokens == first else 1,
    )
    return page.figure


def draw_computed(
    page: Page, middle: float, title: str, num_computed: Callable[[int], int]
) -> None:
    """Draw a row for each step, in it a cell for each token: computed or kept."""
    page.panel(title, (middle, 118), (282, 216), title)
    left, size = middle - 76, (26.0, 20.0)
    for row, tokens in enumerate(CACHE_STEPS):
        y = 178.0 - 27 * row
        page.label((middle - 130, y), f"step {row + 1}")
        for place in range(tokens):
            center = (left + 32 * place, y)
            if place >= tokens - num_computed(tokens):
                page.box("computed", center, size, str(place), NEW)
            else:
                page.data("kept", center, size, str(place))
    total = sum(map(num_computed, CACHE_STEPS))
    page.box("computed", (left, 58), size, "", NEW)
    page.label((left + 22, 58), f"computed: {total} positions in all")
    if total < sum(CACHE_STEPS):
        page.data("kept", (left, 32), size, "")
        page.label((left + 22, 32), "keys and values from the cache")


# All sections: what the checks say of every wrong version that they know.

MATRIX = 118.0  # side of a component's matrix
CHECKED = {
    "DummyGPTModel": "embedding",
    "LayerNorm": "normalization",
    "GELU": "feed_forward",
    "FeedForward": "feed_forward",
    "ExampleDeepNeuralNetwork": "shortcut",
    "MultiHeadAttention": "attention",
    "TransformerBlock": "attention",
    "GPTModel": "other",
    "generate_text_simple": "other",
}


def confusion_matrices() -> Figure:
    """Draw a matrix for each component: what is checked, and what it is taken for."""
    page = Page(600, 560)
    total = 0
    for index, component in enumerate(COMPONENTS):
        size = len(component.mistakes)
        total += size
        left = 52.0 + 186 * (index % 3)
        bottom = 390.0 - 166 * (index // 3)
        page.label(
            (left, bottom + MATRIX + 12), f"{component.name}: {size}", weight="bold"
        )
        matrix = Rectangle((left, bottom), MATRIX, MATRIX, facecolor=WHITE)
        matrix.set(edgecolor=MUTED_EDGE, linewidth=0.8, zorder=1)
        page.axes.add_patch(matrix)
        cell, color = MATRIX / size, COLORS[CHECKED[component.name]]
        for place in range(size):  # tests/test_check.py shows that it is the diagonal
            corner = (left + place * cell, bottom + MATRIX - (place + 1) * cell)
            square = Rectangle(corner, cell, cell, facecolor=color, edgecolor="none")
            square.set_zorder(2)
            page.axes.add_patch(square)
    page.label(
        (52, 36), f"In all {total} wrong versions. A row is one that is checked,"
    )
    page.label((52, 20), "a column the mistake that the check names. Colour: named.")
    return page.figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "4.1_stages_of_building_an_llm.svg": stages_of_building_an_llm,
    "4.1_gpt_model.svg": gpt_model,
    "4.2_axes_of_normalization.svg": axes_of_normalization,
    "4.3_feed_forward.svg": feed_forward,
    "4.4_shortcut_connections.svg": shortcut_connections,
    "4.5_multi_head_attention.svg": multi_head_attention,
    "4.5_transformer_block.svg": transformer_block,
    "4.6_twelve_blocks.svg": twelve_blocks,
    "4.6_weight_tying.svg": weight_tying,
    "4.7_generation_loop.svg": generation_loop,
    "4.7_key_value_cache.svg": key_value_cache,
    "checks.svg": confusion_matrices,
    **{f"{title[:3]}_you_are_here.svg": partial(you_are_here, title) for title in LIT},
}


# From figures to files.


def to_svg(picture: Callable[[], Figure]) -> bytes:
    """Return a picture's SVG, the same bytes whenever and wherever it is drawn."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # nothing from the user's own settings
        matplotlib.rc("font", family="DejaVu Sans")  # comes with matplotlib
        matplotlib.rc("svg", fonttype="path", hashsalt="gpt_from_scratch")
        drawn = io.StringIO()
        picture().savefig(drawn, format="svg", metadata=NO_METADATA)
    lines = drawn.getvalue().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines).encode()


def draw_all(folder: Path) -> list[Path]:
    """Write every picture into the folder and return the files."""
    files = []
    for name, picture in PICTURES.items():
        path = folder / name
        write_whole(path, to_svg(picture))
        files.append(path)
    return files


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: on a full disk the old one stays."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def check(folder: Path) -> list[str]:
    """Return one line for each file that is not as this script draws it."""
    stored = {path.name: path.read_bytes() for path in folder.glob("*.svg")}
    problems = [f"{name}: surplus" for name in sorted(stored.keys() - PICTURES.keys())]
    for name, picture in PICTURES.items():
        if name not in stored:
            problems.append(f"{name}: missing")
        elif stored[name] != to_svg(picture):
            problems.append(f"{name}: differs")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(description="Draw the course's pictures.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; name files that differ"
    )
    folder = Path(__file__).parent
    if not parser.parse_args(arguments).check:
        draw_all(folder)
        return 0
    problems = check(folder)
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
