"""Numbers for the notebooks' prints: equal on every machine."""

from typing import Any

from torch import Tensor

from gpt_from_scratch.llm_architecture import require_int


def rounded(
    values: Any,  # noqa: ANN401  a tensor, or numbers nested in lists and dicts
    decimals: int = 4,
    *,
    significant: int | None = None,
) -> Any:  # noqa: ANN401
    """Round numbers for printing, so that all machines print the same.

    Processors differ in a float's last digits, and a sum that cancels may come out as
    0.0 on one and -0.0 on another. Rounding hides the first, and a zero never keeps a
    sign here.

    Args:
        values: A tensor, a number, or lists, tuples or dicts of such.
        decimals: Digits after the point; at least 0.
        significant: If given, digits that count, whatever their place, instead: for
            numbers of very different size. At least 1.

    Returns:
        A number, or numbers nested as they came; a tensor becomes a list.

    Raises:
        TypeError: If a value is not a number, or a digit count not an integer.
        ValueError: If a digit count is too small.
    """
    require_int("decimals", decimals, at_least=0)
    if significant is not None:
        require_int("significant", significant, at_least=1)
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, dict):
        return {
            key: rounded(value, decimals, significant=significant)
            for key, value in values.items()
        }
    if isinstance(values, (list, tuple)):
        items = [rounded(value, decimals, significant=significant) for value in values]
        return items if isinstance(values, list) else tuple(items)
    if isinstance(values, int):  # bool too
        return values
    if not isinstance(values, float):
        raise TypeError(f"rounded takes numbers, got {type(values).__name__}")
    if significant is not None:
        values = f"{values:.{significant}g}"
    else:
        values = round(values, decimals)
    return float(values) + 0.0  # -0.0 becomes 0.0
