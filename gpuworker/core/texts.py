"""Texts and JSON from outside that a database or a page cannot take as they are. Torch-free."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MARK = "\ufffd"
MAX_NESTING = 64


def is_storable(text: str) -> bool:
    """PostgreSQL stores neither NUL nor half a surrogate pair, in texts or in JSON."""
    return _UNSTORABLE.search(text) is None


def storable(value: Any) -> Any:
    """A JSON value with each unstorable character of its texts and keys replaced by U+FFFD."""
    if isinstance(value, str):
        return _UNSTORABLE.sub(_MARK, value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


def nests_deeper(value: Any, levels: int = MAX_NESTING) -> bool:
    """Whether a JSON value has more lists and objects within each other than `levels`.

    Python parses thousands, depending on its version and on who calls; whatever then walks the value by recursion, or stores it, breaks.
    """
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inside = (item for outer in layer for item in (outer.values() if isinstance(outer, dict) else outer))
        layer = [item for item in inside if isinstance(item, dict | list)]
    return bool(layer)


def visible(text: str) -> str:
    """A name as it may stand on a page: what is invisible or turns the direction of writing is replaced by U+FFFD."""
    if text.isprintable():
        return text
    return "".join(_MARK if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else char for char in text)
