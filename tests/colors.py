"""What the tests ask of colours: contrast, and how far apart the eye sees them."""

from __future__ import annotations

from matplotlib.colors import to_rgb

Color = str | tuple[float, ...]
Triple = tuple[float, float, float]

# Machado, Oliveira and Fernandes (2009), for the whole loss of one kind of cones; they
# work on linear light.
BLINDNESS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(color: Color) -> Triple:
    """Return the amounts of red, green and blue light, from 0 to 1."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(color)
    )
    return red, green, blue


def luminance(color: Color) -> float:
    """Return the relative luminance that WCAG 2 defines, from 0 to 1."""
    red, green, blue = linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """Return the contrast of two colours that WCAG 2 defines, from 1 to 21."""
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def seen(color: Color, blindness: str | None = None) -> Triple:
    """Return the light of a colour that a colour-blind eye cannot tell from it."""
    light = linear(color)
    if blindness is None:
        return light
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True))))
        for row in BLINDNESS[blindness]
    )
    return red, green, blue


def lab(light: Triple) -> Triple:
    """Return lightness, green to red, and blue to yellow: CIE L*a*b*, for daylight."""
    red, green, blue = light
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.0890
    x, y, z = (
        part ** (1 / 3) if part > (6 / 29) ** 3 else part * (29 / 6) ** 2 / 3 + 4 / 29
        for part in (x, y, z)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: Color, other: Color, blindness: str | None = None) -> float:
    """Return how different two colours look: about 2 can be seen side by side."""
    pairs = zip(lab(seen(one, blindness)), lab(seen(other, blindness)), strict=True)
    return sum((a - b) ** 2 for a, b in pairs) ** 0.5
