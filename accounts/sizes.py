"""Sizes of files and memory as people read them, the same on every page and in every message."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.html import avoid_wrapping
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

_UNITS = (_("%(n)s kB"), _("%(n)s MB"), _("%(n)s GB"), _("%(n)s TB"))


def size_text(count: float) -> str:
    """Bytes in steps of 1000, as limits are typed and as static/js/text.js writes them: 340 kB, 1.5 MB, 5 GB."""
    if count < 1000:
        return avoid_wrapping(ngettext("%(n)d byte", "%(n)d bytes", int(count)) % {"n": count})
    value, step = count / 1000, 0
    while value >= 1000 and step < len(_UNITS) - 1:
        value, step = value / 1000, step + 1
    digits = f"{value:.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0")
    return avoid_wrapping(_UNITS[step] % {"n": number_format(digits)})
