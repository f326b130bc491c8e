"""The catalog list and the tabs of one model."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from catalog.access import model_for_user, versions_for_user
from catalog.cost_models import VersionWork
from catalog.errors import BadPage
from catalog.facets import FacetCounts, facet_counts, label_names, relaxations, value_label
from catalog.filters import FACETS, ModelFilters, parse_filters
from catalog.models import ModelVersion, RegisteredModel, Signature
from catalog.paging import SORTS, Page, Sort, page_of, parse_sort
from catalog.probe_models import ProbeSlice
from catalog.probes import standings
from catalog.requests import person
from catalog.spec_form import as_text
from catalog.spec_words import spec_facts
from catalog.summary import Bar, bars, confidence_labels
from jobs.models import Device

PAGE_SIZES = {"table": 50, "cards": 24}
MOST_SPEC_CHARACTERS = 20_000
# Modality and team stand below task and name; they are chosen in the rail, and cards sort by them too.
TABLE_COLUMNS = ("name", "task", "labels", "accuracy", "latency", "parameters", "size", "architecture", "licence", "updated")
ROW_FIELDS = (
    *("name", "title", "summary", "task", "modality", "licence", "visibility", "updated", "architecture", "parameters", "size_bytes"),
    *("accuracy", "latency_ms", "n_labels", "published_version_id", "team__slug", "team__name"),
)
# For a device memory stands in the place of the file's size.
DEVICE_COLUMNS = tuple("memory" if key == "size" else key for key in TABLE_COLUMNS)
NUMERIC = frozenset({"labels", "parameters", "size", "latency", "memory", "accuracy"})


@dataclass(frozen=True, slots=True)
class Header:
    """A sortable column head. aria: "" when the list is not sorted by it."""

    key: str
    label: str
    href: str
    aria: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter and the address without it."""

    facet: str
    label: str
    href: str


@dataclass(frozen=True, slots=True)
class RailOption:
    label: str
    count: int
    chosen: bool
    href: str


@dataclass(frozen=True, slots=True)
class RailFacet:
    key: str
    label: str
    options: list[RailOption]
    open: bool
    more: int


@login_required
def model_list(request: HttpRequest) -> HttpResponse:
    """All state stands in the address: q, facets, sort, view, device, and the cursor after or before."""
    user = person(request)
    filters = parse_filters(request.GET)
    view = "cards" if request.GET.get("view") == "cards" else "table"
    devices = list(Device.objects.measured())
    device = next((item for item in devices if item.name == request.GET.get("device")), None)
    sort = parse_sort(request.GET.get("sort", ""), searching=bool(filters.q), device=device.pk if device else None)
    visible = RegisteredModel.objects.visible_to(user)
    matching = filters.apply(visible)
    total = matching.count()
    page = _page(matching.on_device(device) if device else matching, sort, request, PAGE_SIZES[view])
    chosen = device.name if device else ""
    keep = {"sort": request.GET.get("sort", ""), "view": view if view == "cards" else "", "device": chosen}
    counts = facet_counts(visible, filters)
    context = {
        "nav": "models",
        "filters": filters,
        "view": view,
        "rows": page.rows,
        "total": total,
        "sort": sort,
        "sorts": _headers(filters, sort, keep, _sortable(filters, device)),
        "headers": _headers(filters, sort, keep, DEVICE_COLUMNS if device else TABLE_COLUMNS),
        "device": device,
        "devices": [(item, filters.query_string(**{**keep, "device": item.name})) for item in devices],
        "no_device_url": filters.query_string(**{**keep, "device": ""}),
        "rail": [_rail(facet, filters, keep) for facet in counts if facet.options],
        "chips": _chips(filters, counts, keep),
        "clear_url": ModelFilters().query_string(**keep),
        "table_url": filters.query_string(**{**keep, "view": ""}),
        "cards_url": filters.query_string(**{**keep, "view": "cards"}),
        "next_url": filters.query_string(**keep, after=page.after) if page.after else "",
        "previous_url": filters.query_string(**keep, before=page.before) if page.before else "",
        "relaxed": [(item, item.left.query_string(**keep)) for item in relaxations(visible, filters)]
        if not total and filters.active
        else [],
        "nothing_at_all": not total and not filters.active,
    }
    return render(request, "catalog/model_list.html", context)


def _page(matching: object, sort: Sort, request: HttpRequest, size: int) -> Page:
    rows = matching.select_related("team").only(*ROW_FIELDS)  # type: ignore[attr-defined]
    try:
        return page_of(rows, sort, after=request.GET.get("after", ""), before=request.GET.get("before", ""), size=size)
    except BadPage:
        # An old bookmark in another order: its beginning is more useful than an error.
        return page_of(rows, sort, size=size)


def _sortable(filters: ModelFilters, device: Device | None) -> tuple[str, ...]:
    """Columns of the sort menu, the name first."""
    hidden = {"name"} | ({"relevance"} if not filters.q else set()) | ({"memory"} if device is None else set())
    return "name", *[key for key in SORTS if key not in hidden]


def _headers(filters: ModelFilters, sort: Sort, keep: dict[str, str], keys: tuple[str, ...]) -> list[Header]:
    found = []
    for key in keys:
        column = SORTS[key]
        here = sort.column.key == key
        down = not sort.descending if here else column.down
        href = filters.query_string(**{**keep, "sort": f"{'-' if down else ''}{key}"})
        aria = ("descending" if sort.descending else "ascending") if here else ""
        found.append(Header(key, column.label, href, aria, key in NUMERIC))
    return found


def _rail(facet: FacetCounts, filters: ModelFilters, keep: dict[str, str]) -> RailFacet:
    options = [
        RailOption(item.label, item.count, item.chosen, filters.toggled(facet.key, item.value).query_string(**keep))
        for item in facet.options
    ]
    return RailFacet(facet.key, facet.label, options, facet.any_chosen or facet.key in ("task", "modality", "labels"), facet.more)


def _chips(filters: ModelFilters, counts: list[FacetCounts], keep: dict[str, str]) -> list[Chip]:
    chips = [Chip(_("Words"), filters.q, filters.dropped("q").query_string(**keep))] if filters.q else []
    names = label_names(filters.facets.get("labels", ())) if "labels" in filters.facets else {}
    for key, values in filters.facets.items():
        chips += [
            Chip(FACETS[key].label, value_label(FACETS[key], value, names), filters.toggled(key, value).query_string(**keep))
            for value in values
        ]
    return chips


@dataclass(frozen=True, slots=True)
class Tab:
    key: str
    label: str
    href: str


def model_context(request: HttpRequest, team: str, name: str, tab: str, *, edit: bool = False) -> dict[str, object]:
    """What every tab shows: the model, the version it speaks of (?version=N, else the published, else the newest), the tabs."""
    user = person(request)
    model = model_for_user(user, team, name, edit=edit)
    can_edit = edit or RegisteredModel.objects.editable_by(user).filter(pk=model.pk).exists()
    versions = versions_for_user(user, model)
    wanted = request.GET.get("version", "")
    number = int(wanted) if wanted.isdecimal() and len(wanted) < 10 else None
    version: ModelVersion | None
    if number is not None:
        version = versions.filter(number=number).first()
    else:
        version = versions.filter(pk=model.published_version_id or 0).first() or versions.first()
    if version is not None:
        version.model = model
    suffix = f"?version={number}" if number is not None else ""
    keys = [
        ("model_detail", _("Overview")),
        ("model_evidence", _("Evidence")),
        ("model_signature", _("Behaviour signature")),
        ("model_files", _("Files & safety")),
        ("version_list", _("Versions")),
    ]
    keys += [("model_settings", _("Settings"))] if can_edit else []
    tabs = [
        Tab(key, label, reverse(f"catalog:{key}", args=[team, name]) + (suffix if key not in ("version_list", "model_settings") else ""))
        for key, label in keys
    ]
    return {"nav": "models", "model": model, "version": version, "tabs": tabs, "tab": tab, "can_edit": can_edit, "crumbs": True}


@login_required
def model_detail(request: HttpRequest, team: str, name: str) -> HttpResponse:
    context = model_context(request, team, name, "model_detail")
    model, version = context["model"], context["version"]
    assert isinstance(model, RegisteredModel)
    context["aliases"] = model.aliases.select_related("version").defer("version__program", "version__spec")
    if isinstance(version, ModelVersion):
        context["signature"] = Signature.objects.defer("arrays").filter(version=version).first()
        context["costs"] = version.costs.select_related("device").defer("device__cost")
        why = VersionWork.objects.filter(version=version).values_list("error", flat=True).first()
        context["unforeseen"] = why if why and Device.objects.measured().exists() else ""
        context |= _spec(version)
    return render(request, "catalog/model_detail.html", context)


def _spec(version: ModelVersion) -> dict[str, object]:
    """The input spec in words, and as a document unless it is too long to be read on a page (a tokenizer has megabytes)."""
    if not version.spec:
        return {}
    document = "" if "tokenizer" in version.spec["input"] else as_text(version.spec)
    return {"spec_facts": spec_facts(version.spec), "spec_text": document if len(document) <= MOST_SPEC_CHARACTERS else ""}


@login_required
def model_evidence(request: HttpRequest, team: str, name: str) -> HttpResponse:
    context = model_context(request, team, name, "model_evidence")
    version = context["version"]
    if isinstance(version, ModelVersion):
        context["signature"] = Signature.objects.defer("arrays").filter(version=version).first()
        context["searches"] = version.candidacies.count()  # the search app's reverse relation
        context["standing"] = standings([version], person(request)).get(version.pk)
        context["piece"] = ProbeSlice.objects.defer("features", "row_hashes", "row_labels").filter(version=version).first()
    return render(request, "catalog/model_evidence.html", context)


@dataclass(frozen=True, slots=True)
class Plot:
    """A bar plot with its table twin. hidden: labels beyond those drawn."""

    key: str
    title: str
    caption: str
    bars: list[Bar]
    head: str
    hidden: int


@login_required
def model_signature(request: HttpRequest, team: str, name: str) -> HttpResponse:
    context = model_context(request, team, name, "model_signature")
    version = context["version"]
    if isinstance(version, ModelVersion):
        signature = Signature.objects.defer("arrays").filter(version=version).first()
        context["signature"] = signature
        context["plots"] = _plots(version, signature) if signature else []
    return render(request, "catalog/model_signature.html", context)


def _plots(version: ModelVersion, signature: Signature) -> list[Plot]:
    found: list[Plot] = []
    summary, labels = signature.summary, version.labels

    def add(key: str, title: str, caption: str, drawn: list[Bar], head: str, total: int) -> None:
        found.append(Plot(key, title, caption, drawn, head, max(0, total - len(drawn))))

    if counts := summary.get("true_counts"):
        add(
            "balance",
            _("Class balance of the reference sample"),
            _("How many reference samples carry each label."),
            bars(labels, counts, as_counts=True),
            _("Samples"),
            len(labels),
        )
    if counts := summary.get("predicted_counts"):
        add(
            "answers",
            _("What the model answers"),
            _("How many reference samples it gives each label."),
            bars(labels, counts, as_counts=True),
            _("Answers"),
            len(labels),
        )
    if recalls := summary.get("recalls"):
        add(
            "recall",
            _("Recall of each class"),
            _("Share of the samples of a class that it finds."),
            bars(labels, recalls, top=1.0),
            _("Recall"),
            len(labels),
        )
    if counts := summary.get("confidence_counts"):
        add(
            "confidence",
            _("Confidence"),
            _("How sure it is of its answers."),
            bars(confidence_labels(len(counts)), counts, as_counts=True),
            _("Samples"),
            len(counts),
        )
    return found


@login_required
def model_files(request: HttpRequest, team: str, name: str) -> HttpResponse:
    context = model_context(request, team, name, "model_files")
    version = context["version"]
    if isinstance(version, ModelVersion):
        context["files"] = list(version.files.all())
        context["operators"] = sorted(version.facts.get("operators", {}).items(), key=lambda item: (-item[1], item[0]))
    return render(request, "catalog/model_files.html", context)
