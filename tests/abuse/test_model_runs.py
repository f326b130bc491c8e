"""Models that misbehave while they run: at publication the version is rejected with the true cause, in a search one row fails."""

from __future__ import annotations

import io

import numpy as np
import pytest
from onnx import helper
from pytest_django.fixtures import Settings

from catalog.models import VersionState
from gpuworker.core.errors import LimitExceeded
from gpuworker.pipeline import sandboxed
from jobs.models import JobState
from search.models import Candidate, CandidateState, SampleSetState, SearchState
from search.services import search_job
from tests.abuse import models
from tests.abuse.stage import GROWTH, Stage, resident, told
from tests.catalog.makers import image_spec, onnx_bytes

pytestmark = pytest.mark.django_db(transaction=True)
MEMORY_MB = 768
SECONDS = 3.0


@pytest.fixture(autouse=True)
def tight(settings: Settings) -> None:
    settings.SANDBOX_MEMORY_MB = MEMORY_MB
    settings.SANDBOX_CALL_SECONDS = 30
    sandboxed.sandbox().start()


def pictures(n: int, light: int | None) -> bytes:
    """n labelled images of one brightness, or None: of random pixels."""
    buffer = io.BytesIO()
    x = np.random.default_rng(5).integers(1, 256, (n, 4, 4), dtype=np.uint8) if light is None else np.full((n, 4, 4), light, np.uint8)
    np.savez(buffer, x=x, y=np.arange(n) % 3, label_names=np.array(["cat", "dog", "fox"]))
    return buffer.getvalue()


BRIGHT = pictures(8, 255)
BLACK = pictures(8, 0)


def test_outputs_that_are_no_answer_are_rejected_with_expected_and_found(stage: Stage) -> None:
    nodes, weights = models.head()
    softened = models.onnx_of(
        [*nodes[:-1], helper.make_node("MatMul", ["x", "head"], ["s"]), helper.make_node("Sigmoid", ["s"], ["logits"])], weights
    )
    cases: dict[str, tuple[bytes, dict[str, object], bytes, tuple[str, ...]]] = {
        "a million outputs": (models.wide_output(), image_spec(), BRIGHT, ("Expected 3 numbers", "[8, 1048576]")),
        "too few labels": (onnx_bytes(classes=4), image_spec(), BRIGHT, ("Expected 3 numbers", "[8, 4]")),
        "NaN": (models.spoiled_by_black(), image_spec(), BLACK, ("NaN", "8 of 8")),
        "more rows than samples": (models.rows_by_light(), image_spec(), BRIGHT, ("one row per sample", "[16, 3] for 8")),
        "sums": (softened, image_spec(output={"kind": "probabilities"}), pictures(8, None), ("add up to 1", "sums from")),
        "input": (onnx_bytes(), image_spec(input={"height": 9, "width": 9, "channels": 1, "layout": "flat"}), BRIGHT, ("16", "81")),
        "sigmoid": (onnx_bytes(), image_spec(["no", "yes"], output={"kind": "sigmoid_logit"}), pictures(8, 9), ("Expected 1 numbers",)),
        "name": (onnx_bytes(), image_spec(output={"kind": "logits", "name": "scores"}), BRIGHT, ("scores", "logits")),
    }  # fmt: skip
    before, wrong = resident(), {}
    for way, (data, spec, reference, says) in cases.items():
        labelled = reference if spec["labels"] != ["no", "yes"] else None
        version = stage.publish(data, spec, labelled)
        if version.state != VersionState.REJECTED or not all(part in told(version) for part in says) or not version.error_fix:
            wrong[way] = told(version)
    assert wrong == {}
    assert resident() - before < GROWTH
    stage.goes_on()


@pytest.mark.parametrize(("scale", "says"), [(1e6, "memory limit was reached"), (1e8, "too large a result")])
def test_a_memory_hog_is_rejected_and_named(stage: Stage, scale: float, says: str) -> None:
    before = resident()
    version = stage.publish(models.memory_hog(scale), reference=BRIGHT)
    assert version.state == VersionState.REJECTED and says in told(version), told(version)
    assert "exp" in told(version) or "tile" in told(version), "the operator is named"
    assert version.error_fix and "input spec feeds" not in version.error_fix, "the cause is the size, not the spec"
    assert resident() - before < GROWTH
    stage.goes_on()


def test_a_time_hog_is_rejected(stage: Stage, settings: Settings) -> None:
    settings.SANDBOX_CALL_SECONDS = SECONDS
    version = stage.publish(models.time_hog(100), reference=BRIGHT)
    assert version.state == VersionState.REJECTED and "time limit" in version.error_title, told(version)
    assert f"{SECONDS:g} s" in version.error_detail
    settings.SANDBOX_CALL_SECONDS = 30
    stage.goes_on()


@pytest.mark.slow
def test_in_a_search_only_their_own_rows_fail(stage: Stage, settings: Settings) -> None:
    """Each was well-behaved on the black reference it came with. The child is replaced; the other rows are finished."""
    traps = {
        "memory": (models.memory_hog(2e5), "memory limit"),
        "elements": (models.memory_hog(1e8), "too large a result"),
        "time": (models.time_hog(100), "time limit"),
        "rows": (models.rows_by_light(), "one row per sample"),
    }
    for name, (data, _) in traps.items():
        stage.show(stage.publish(data, reference=BLACK, name=name))
    stage.show(stage.publish(models.spoiled_by_black(), reference=BRIGHT, name="black"))
    for name in ("good-one", "good-two", "good-three"):
        stage.show(stage.publish(onnx_bytes(seed=len(name)), reference=BRIGHT, name=name))
    settings.SANDBOX_CALL_SECONDS = SECONDS
    mixed = np.random.default_rng(5).integers(200, 256, (40, 4, 4), dtype=np.uint8)
    mixed[33:36] = 0
    buffer = io.BytesIO()
    np.savez(buffer, x=mixed)
    samples = stage.read({"samples.npz": buffer.getvalue()})
    assert samples.state == SampleSetState.READY, told(samples)

    before = resident()
    search = stage.search(samples)
    job = search_job(search)
    assert (search.state, search.error_title) == (SearchState.FINISHED, "") and job is not None and job.state == JobState.SUCCEEDED
    rows = {row.version.model.name: row for row in search.candidates.select_related("version__model")}
    expected = {name: says for name, (_, says) in traps.items()} | {"black": "NaN"}
    for name, says in expected.items():
        row = rows[name]
        assert row.state == CandidateState.FAILED and says in f"{row.error_title} {row.error_detail}", (
            name,
            row.error_title,
            row.error_detail,
        )
        assert row.error_fix and row.predicted is None, name
    assert "3 of 8" in rows["black"].error_detail, "it failed in the second part of the run, on rows 33 to 35"
    for name in ("good-one", "good-two", "good-three"):
        assert (rows[name].state, rows[name].samples_done) == (CandidateState.FINISHED, 40)
    assert search.verdict
    assert resident() - before < GROWTH
    assert _alone(stage, rows["good-one"]) == rows["good-one"].chunks.order_by("start").last().log_probs.tobytes()
    stage.goes_on()


def _alone(stage: Stage, row: Candidate) -> bytes:
    """The last chunk of the same model and samples when nobody around it misbehaves."""
    for other in row.search.candidates.exclude(pk=row.pk).select_related("version__model"):
        other.version.model.published_version = None
        other.version.model.save(update_fields=["published_version"])
    again = stage.search(row.search.sample_set).candidates.get(version=row.version)
    return again.chunks.order_by("start").last().log_probs.tobytes()


def test_a_child_that_ran_full_is_replaced(stage: Stage) -> None:
    version = stage.publish(models.memory_hog(1e6), reference=BLACK)
    good = stage.publish(onnx_bytes(), reference=BRIGHT)
    samples = stage.read({"bright.npz": BRIGHT})
    with sandboxed.Runner(samples.batch_path) as runner:
        first, _ = runner.run_rows(sandboxed.RunnableVersion.of(good), 0, 8)
        with pytest.raises(LimitExceeded, match="memory limit"):
            runner.run_rows(sandboxed.RunnableVersion.of(version), 0, 8)
        again, _ = runner.run_rows(sandboxed.RunnableVersion.of(good), 0, 8)
        assert runner._session.generation == 2
    np.testing.assert_array_equal(first, again)
