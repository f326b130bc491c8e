"""What the predictions of a search rest on, in words: labelled probes, or the agreement of the models alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from search.metrics import metric_name
from search.models import Search

PUBLIC = ("digest", "n", "sources", "asked", "answered", "lost", "why")


@dataclass(frozen=True, slots=True)
class Basis:
    """probes: whether predictions rest on labelled probes. notes: what makes them weaker than they could be, and what to know."""

    probes: bool
    text: str
    notes: tuple[str, ...]


def basis(search: Search) -> Basis | None:
    """None until the search has looked for probes."""
    kept, method = search.probes, search.verdict.get("method", "")
    if not kept:
        return None
    if kept.get("digest") and method in ("", "anchor"):
        text = ngettext("Rests on %(n)s labelled probe", "Rests on %(n)s labelled probes", kept["n"]) % {"n": f"{kept['n']:,}"}
        of = ngettext("from %(n)s source.", "from %(n)s sources.", kept["sources"]) % {"n": f"{kept['sources']:,}"}
        return Basis(True, f"{text} {of}", _notes(kept))
    if kept.get("digest"):
        why = _("There are only %(n)s labelled probes for these labels.") % {"n": kept["n"]}
    else:
        why = kept["why"]
    text = _("Rests on the agreement of the models only, which is weaker than labelled probes.")
    other = metric_name(search.metric)
    notes = [why]
    if other != "accuracy":
        notes.append(_("Without probes only accuracy can be predicted, not %(metric)s.") % {"metric": other})
    return Basis(False, text, tuple(notes))


def _notes(kept: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    silent = kept["asked"] - kept["answered"]
    if silent:
        counts = {"n": silent, "of": kept["asked"]}
        text = ngettext("%(n)s of %(of)s models has not answered them.", "%(n)s of %(of)s models have not answered them.", silent)
        notes.append(text % counts)
    if kept["lost"]:
        text = ngettext(
            "%(n)s more was withdrawn since the search began.", "%(n)s more were withdrawn since the search began.", kept["lost"]
        )
        notes.append(text % {"n": f"{kept['lost']:,}"})
    if not kept["calibration"]:
        notes.append(_("How often the intervals hold with these probes has not been measured yet; they are those a catalog starts with."))
    return tuple(notes)


def basis_document(search: Search) -> dict[str, Any]:
    """For the API and exports: {} until the search has looked for probes; without any only `why`."""
    kept = search.probes
    found = {name: kept[name] for name in PUBLIC if name in kept}
    return found | {"calibrated": bool(kept["calibration"])} if "calibration" in kept else found
