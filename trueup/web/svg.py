"""Altair charts to small inline SVG, by vl-convert: no script, no network, no outside font.

What comes back from the renderer is parsed, and only known elements and attributes are kept: text
from clients can be nothing but text, and the colours become classes that the page's theme fills.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from trueup.web.charts import GRID, INK, MUTED, SERVING, TRAINING

SVG = "{http://www.w3.org/2000/svg}"

THEMED = {TRAINING: "t", SERVING: "s", INK: "i", MUTED: "m", GRID: "g"}
"""Colour → class suffix: ``ft`` fills with the colour of training, ``sg`` strokes a grid line."""

_ELEMENTS = frozenset({"g", "path", "rect", "line", "circle", "text", "tspan"})
_ATTRIBUTES = frozenset(
    {"d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r", "transform",
     "stroke-width", "stroke-dasharray", "opacity", "fill-opacity", "stroke-opacity",
     "text-anchor", "font-size"}
)  # fmt: skip
_WITHOUT_EFFECT = frozenset({("opacity", "1"), ("transform", "translate(0,0)")})
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")


def to_svg(chart: Any, label: str) -> str:
    """The Altair ``chart`` as an ``<svg role="img">`` element, described by ``label``."""
    import vl_convert

    specification = json.dumps(chart.to_dict(validate=False))
    return cleaned(vl_convert.vegalite_to_svg(specification), label)


def cleaned(svg: str, label: str) -> str:
    """``svg`` with known elements and attributes only, themed colours, short numbers.

    >>> cleaned(
    ...     '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    ...     '<script>x</script><rect width="3.14159" fill="#0072b2" onclick="x"/></svg>',
    ...     "A<b",
    ... )
    '<svg viewBox="0 0 9 9" width="9" height="9" fill="none" role="img" aria-label="A&lt;b"><rect width="3.14" class="ft" /></svg>'
    """  # noqa: E501
    root = ElementTree.fromstring(svg)
    width, height = root.get("width", "1"), root.get("height", "1")
    shown = ElementTree.Element(
        "svg",
        {
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "fill": "none",
            "role": "img",
            "aria-label": label,
        },
    )
    for child in root:
        _copy(child, shown)
    return ElementTree.tostring(shown, encoding="unicode")


def _copy(element: ElementTree.Element, parent: ElementTree.Element) -> None:
    tag = element.tag.removeprefix(SVG)
    if tag not in _ELEMENTS or element.get("display") == "none":
        return
    if tag == "rect" and element.get("fill") == "white":
        return  # the renderer's background
    attributes = {
        key: _LONG_NUMBER.sub(_shortened, value)
        for key, value in element.attrib.items()
        if key in _ATTRIBUTES and (key, value) not in _WITHOUT_EFFECT
    }
    classes = _classes(element)
    if classes:
        attributes["class"] = classes
    if tag == "g" and not attributes:
        target = parent  # a group that does nothing
    else:
        target = ElementTree.Element(tag, attributes)
        if tag in ("text", "tspan"):
            target.text = element.text
    for child in element:
        _copy(child, target)
    if target is not parent and (len(target) or tag != "g") and _draws(tag, element):
        parent.append(target)


def _classes(element: ElementTree.Element) -> str:
    classes = []
    for attribute, prefix in (("fill", "f"), ("stroke", "s")):
        color = element.get(attribute, "").lower()
        if color in THEMED:
            classes.append(prefix + THEMED[color])
    return " ".join(classes)


def _draws(tag: str, element: ElementTree.Element) -> bool:
    """Whether anything of it is seen: paths need a colour, text a letter."""
    if tag == "path":
        return any(
            element.get(a, "none") not in ("none", "transparent") for a in ("fill", "stroke")
        )
    return bool(element.text) if tag == "text" else True


def _shortened(match: re.Match[str]) -> str:
    return f"{round(float(match[0]), 2):g}"
