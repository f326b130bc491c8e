"""Tables and what they name: every spec has an implementation, every dispatched task a worker, every sandbox job a caller."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from typing import get_args

import pytest

from config.celery import app
from gpuworker import tasks
from gpuworker.core import scorers, signatures
from gpuworker.core.formats import READERS
from gpuworker.core.input_spec import INPUTS
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.sandbox.jobs import JOBS
from gpuworker.core.specs import FAMILIES, FORMATS, MODALITIES, SCORERS, SIGNATURES
from search.events import Kind
from search.management.commands.sweep import CHORES
from tests.architecture.rules import ROOT, product_files

TABLES: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "modalities": (MODALITIES, MODALITY_IMPLEMENTATIONS),
    "input specs": (MODALITIES, INPUTS),
    "formats": ({key: spec for key, spec in FORMATS.items() if spec.accepted}, READERS),
    "scorers": (SCORERS, scorers.FUNCTIONS),
    "signatures": (SIGNATURES, signatures.FUNCTIONS),
}
SELF_TEST = {"ping"}


@pytest.mark.parametrize(("specs", "implementations"), TABLES.values(), ids=TABLES.keys())
def test_specs_and_implementations_have_the_same_keys(specs: Mapping[str, object], implementations: Mapping[str, object]) -> None:
    assert set(specs) == set(implementations)


@pytest.mark.parametrize("table", [MODALITIES, FORMATS, SCORERS, SIGNATURES], ids=["modalities", "formats", "scorers", "signatures"])
def test_keys_are_those_of_the_rows(table: Mapping[str, object]) -> None:
    assert all(key == getattr(spec, "key") for key, spec in table.items())  # noqa: B009


def test_refused_formats_say_why_and_what_instead() -> None:
    refused = [spec for spec in FORMATS.values() if not spec.accepted]
    assert refused and all(spec.why and spec.instead for spec in refused)


def test_scorers_need_what_exists() -> None:
    known = set(SIGNATURES) | {"predictions", "probes"}
    for spec in SCORERS.values():
        assert {key for need in spec.needs for key in need.split("|")} <= known, spec.key
        assert spec.family in FAMILIES, spec.key


def test_a_prediction_of_accuracy_is_on_the_scale_of_accuracy() -> None:
    for spec in SCORERS.values():
        assert not spec.predicts_accuracy or (spec.scale, spec.direction) == ("accuracy", "higher"), spec.key


def test_a_search_where_nobody_chose_can_predict_accuracy() -> None:
    assert any(spec.default and spec.predicts_accuracy and spec.cost == "forward" for spec in SCORERS.values())


def _dispatched() -> set[str]:
    """Text constants of the dispatch modules: the names that the web side sends."""
    modules = [importlib.import_module(f"{path.parent.name}.dispatch") for path in ROOT.glob("*/dispatch.py")]
    return {value for module in modules for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_the_worker_registers_every_dispatched_name() -> None:
    assert tasks is not None
    registered = {name for name in app.tasks if not name.startswith("celery.")}
    assert len(_dispatched()) >= 3
    assert registered == _dispatched()


def _added_events() -> set[str]:
    """Kinds in calls of `event_add(search, KIND, ...)`."""
    calls = (
        node
        for path in product_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "event_add"
    )
    return {
        part.value for call in calls for part in ast.walk(call.args[1]) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def test_every_kind_of_event_is_added_somewhere() -> None:
    assert _added_events() == set(get_args(Kind))


def _chore_names() -> set[str]:
    """Functions of the rooms that are there for the sweeper, by their names."""
    suffixes = ("_sweep", "_expire", "_forget", "_settle", "_orphans_delete")
    names = (
        node.name
        for path in product_files()
        if path.relative_to(ROOT).parts[0] in ("jobs", "uploads", "catalog", "search")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    )
    return {name for name in names if name.endswith(suffixes) and not name.startswith("_")}


def test_the_sweeper_does_every_chore() -> None:
    assert len(_chore_names()) >= 5
    assert _chore_names() == {chore.run.__name__ for chore in CHORES}


def _called_jobs() -> set[str]:
    """First arguments of `.call("...")` and `._call("...")` in the pipeline."""
    calls = (
        node
        for path in product_files()
        if path.is_relative_to(ROOT / "gpuworker" / "pipeline")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("call", "_call")
    )
    first = (call.args[0] for call in calls if call.args)
    return {argument.value for argument in first if isinstance(argument, ast.Constant) and isinstance(argument.value, str)}


def test_sandbox_jobs_are_those_that_the_pipeline_calls() -> None:
    assert len(_called_jobs()) >= 5
    assert set(JOBS) - SELF_TEST == _called_jobs()
