"""What a check found, as the learner reads it."""

import html
import textwrap
from dataclasses import dataclass

_WIDTH = 88


@dataclass(frozen=True)
class Report:
    """What a check found: shown at the end of a Jupyter cell, or by ``print``.

    Args:
        passed: Whether the component does what the course's own does.
        mistake: The name of the mistake, if it is one that the check knows.
        lines: The report: first what came out, then one fact per line.
        attempted: Whether there was anything to check; not so for an exercise's stub.
    """

    passed: bool
    mistake: str | None
    lines: tuple[str, ...]
    attempted: bool = True

    @property
    def text(self) -> str:
        """The report as plain text, no line longer than 88 characters."""
        first, *more = self.lines
        wrapped = [textwrap.fill(first, _WIDTH, subsequent_indent="  ")]
        wrapped += [
            textwrap.fill(
                line,
                _WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in more
        ]
        return "\n".join(wrapped)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        word, color = ("passed", "#1B7F4B") if self.passed else ("differs", "#B3261E")
        if not self.attempted:
            word, color = "to do", "#5F6368"
        badge = (
            f'<span style="background: {color}; color: #FFFFFF; font-weight: bold; '
            f'padding: 1px 8px; border-radius: 8px">{word}</span>'
        )
        shown = f"<div>{badge}<pre>{html.escape(self.text)}</pre></div>"
        return {"text/plain": self.text, "text/html": shown}


def not_attempted(name: str) -> Report:
    """Report that the learner has not begun yet.

    Args:
        name: What is to be done.

    Returns:
        The report: not passed, and no mistake either.
    """
    return Report(False, None, (f"{name}: not attempted yet.",), attempted=False)
