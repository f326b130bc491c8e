"""Probe slices from publication to the view of a search, with the real sandbox."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from numpy.typing import NDArray

from accounts.models import AuditEvent, Membership, Role, Team, User, Visibility
from catalog import dispatch, services
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, VersionState
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSlice
from catalog.probes import usable
from catalog.storage import probes_path
from gpuworker.core.modalities import image
from gpuworker.core.modalities.batches import load_batch, row_digests
from gpuworker.pipeline import probe_runs, probes
from gpuworker.pipeline.grounds import grounds_of
from gpuworker.pipeline.probes import Probes, catalog_probes, without_features
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner
from jobs.models import Job, JobState
from search.services import search_start
from tests.catalog.makers import LABELS, SIDE, check, image_spec, make_model, make_version, onnx_bytes
from tests.conftest import make_user
from tests.pipeline.test_publish import bytes_on_disk
from tests.pipeline.worlds import Killed, kill_at_write, nan_on_bright, sample_set, weights, work

pytestmark = pytest.mark.django_db(transaction=True)
OPTED_IN = {"choice": ReferenceSample.Choice.PROBES}
N = 60


def reference(seed: int, n: int = N, rows: NDArray[np.uint8] | None = None) -> bytes:
    """Labelled .npz; rows: further samples at its end."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
    x = x if rows is None else np.concatenate([x, rows])
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=np.arange(len(x)) % 3, label_names=np.array(LABELS))
    return buffer.getvalue()


def approved(
    team: Team,
    owner: User,
    name: str,
    seed: int,
    *,
    content: bytes | None = None,
    labels: list[str] | None = None,
    given: bytes | None = None,
    choice: dict[str, Any] | None = None,
) -> ModelVersion:
    """A version that passed its check and was approved; its background runs are queued, not done."""
    model = make_model(team, owner, name)
    version = make_version(
        model,
        owner,
        content or onnx_bytes(weights=weights(seed)),
        spec=image_spec(labels),
        reference=given or reference(seed),
        choice=choice or OPTED_IN,
        submit=True,
    )
    version = check(version)
    assert version.state == VersionState.IN_REVIEW, f"{version.error_title} {version.error_detail}"
    services.review_decide(version=version, decision="approve", reason="", actor=User.objects.get(username="operator"))
    version.refresh_from_db()
    return version


def run_jobs() -> int:
    """All queued background runs, one after the other; how many."""
    jobs = list(Job.objects.filter(kind="catalog.probe_run", state=JobState.QUEUED).order_by("pk"))
    for job in jobs:
        assert work(job).state == JobState.SUCCEEDED
    return len(jobs)


def view(team: Team) -> Probes:
    found = team_probes(team)
    assert found is not None
    return found


def team_probes(team: Team) -> Probes | None:
    slices = ProbeSlice.objects.offered().filter(set_key=ProbeSlice.objects.kept()[0].set_key, version__model__team=team)
    return catalog_probes(usable(without_features(slices)))


@pytest.fixture
def pair(team: Team, alice: User, dan: User, operator: User) -> tuple[ModelVersion, ModelVersion]:
    """Two models of different people, each with a slice; everything has been run."""
    first = approved(team, alice, "first", 1)
    second = approved(team, dan, "second", 2)
    run_jobs()
    return first, second


def test_two_models_answer_each_others_probes(pair: tuple[ModelVersion, ModelVersion], team: Team) -> None:
    first, second = pair
    slices = list(ProbeSlice.objects.order_by("pk"))
    assert [piece.version for piece in slices] == [first, second]
    assert all(piece.answered and piece.n == N and piece.path.exists() for piece in slices)
    assert ProbeAnswers.objects.count() == 4 and not ProbeAnswers.objects.exclude(error="").exists()
    found = view(team)
    assert found.view.features.shape == (2 * N, image.features(load_batch(slices[0].path.read_bytes())).shape[1])
    assert found.view.features.dtype == np.float32
    assert np.bincount(found.view.labels).tolist() == [40, 40, 40]
    assert np.bincount(found.view.publishers).tolist() == [N, N]
    assert found.sources == {first.pk: (0,), second.pk: (1,)} and found.left_out == {}
    assert found.answers.shape == (2, 2 * N, 3)
    for version in pair:
        with Runner(slices[0].path) as runner:
            rows, _ = runner.run_rows(RunnableVersion.of(version), 0, N)
        np.testing.assert_array_equal(found.of(version.pk)[:N], rows.astype("<f2"))
    answers = ProbeAnswers.objects.get(version=first, piece=slices[1])
    assert (answers.judged, answers.seen) == (N, None)
    assert answers.correct == (found.of(first.pk)[N:].argmax(1) == found.view.labels[N:]).sum()
    made = ProbeSetVersion.objects.get(digest=found.facts["digest"])
    assert (made.n, made.sources, made.calibration) == (2 * N, 2, {})
    assert view(team).set_version == made, "the same choice is the same version"


def test_the_rows_and_labels_of_a_slice_are_those_of_the_reference(pair: tuple[ModelVersion, ModelVersion]) -> None:
    piece = pair[0].probe_slice
    batch = load_batch(piece.path.read_bytes())
    with np.load(io.BytesIO(reference(1))) as raw:
        label_of = {row.tobytes(): int(label) for row, label in zip(raw["x"], raw["y"], strict=True)}
    flat = batch.arrays["pixels"]
    assert b"".join(row_digests(batch)) == bytes(piece.row_hashes)
    labels = np.frombuffer(bytes(piece.row_labels), "<u2").tolist()
    assert [label_of[flat[place * SIDE * SIDE : (place + 1) * SIDE * SIDE].tobytes()] for place in range(N)] == labels
    np.testing.assert_allclose(
        np.frombuffer(bytes(piece.features), "<f2").reshape(N, -1), image.features(batch).astype(np.float16), atol=1e-3
    )


def test_a_new_model_answers_at_its_check_and_nothing_old_is_run_again(
    pair: tuple[ModelVersion, ModelVersion], team: Team, dan: User
) -> None:
    before = dict(ProbeAnswers.objects.values_list("pk", "computed"))
    third = approved(team, dan, "third", 3, choice={"choice": ReferenceSample.Choice.SIGNATURE_ONLY})
    step = next(step for step in third.checks if step["key"] == "probes")
    assert step["text"] == f"Answered {2 * N} labelled probes"
    assert set(ProbeAnswers.objects.filter(version=third).values_list("piece__version__model__name", flat=True)) == {"first", "second"}
    assert run_jobs() == 0, "it gave no slice, and lacks none"
    assert {pk: when for pk, when in ProbeAnswers.objects.values_list("pk", "computed") if pk in before} == before
    assert view(team).of(third.pk) is not None


def test_a_slice_is_used_only_once_everybody_has_answered_it(pair: tuple[ModelVersion, ModelVersion], team: Team, dan: User) -> None:
    digest = view(team).facts["digest"]
    third = approved(team, dan, "third", 3)
    assert view(team).facts["digest"] == digest and view(team).of(third.pk) is not None
    assert run_jobs() == 1
    assert view(team).facts["sources"] == 3 and len(view(team).versions) == 3


def test_probes_of_versions_that_nobody_approved_are_not_used(team: Team, alice: User, operator: User) -> None:
    approved(team, alice, "first", 1)
    run_jobs()
    digest = view(team).facts["digest"]
    waiting = check(make_version(make_model(team, alice, "waiting"), alice, reference=reference(7), choice=OPTED_IN))
    assert waiting.probe_slice.n == N and not Job.objects.filter(kind="catalog.probe_run", state=JobState.QUEUED).exists()
    assert view(team).facts["digest"] == digest


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_killed_run_goes_on_after_the_last_unit(
    team: Team, alice: User, dan: User, operator: User, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for seed in (1, 2, 3):
        approved(team, alice, f"model-{seed}", seed)
    job = Job.objects.filter(kind="catalog.probe_run").order_by("pk").first()
    ProbeAnswers.objects.filter(piece_id=job.subject_id).delete()
    runs: list[int] = []
    real = probe_runs._run
    monkeypatch.setattr(probe_runs, "_run", lambda *args: runs.append(1) or real(*args))
    with monkeypatch.context() as patched:
        kill_at_write(patched, 2, after=after)
        with pytest.raises(Killed):
            work(job)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING and job.requeue()
    job.refresh_from_db()
    done = ProbeAnswers.objects.filter(piece_id=job.subject_id).count()
    runs.clear()
    assert work(job).state == JobState.SUCCEEDED
    assert ProbeAnswers.objects.filter(piece_id=job.subject_id).count() == 3
    assert len(runs) == 3 - done, "only what is missing is run"


def test_it_gives_way_to_what_people_wait_for(team: Team, alice: User, operator: User) -> None:
    versions = [approved(team, alice, f"model-{seed}", seed) for seed in (1, 2, 3)]
    piece = versions[0].probe_slice
    ProbeAnswers.objects.filter(piece=piece).delete()
    job = Job.objects.get(kind="catalog.probe_run", subject_id=piece.pk)
    waiting = Job.objects.create(kind="search.run", subject_id=1, label="A search", owner=alice, lease_until="2100-01-01T00:00:00Z")
    for done in (1, 2):
        work(job)
        assert (job.state, job.deaths) == (JobState.QUEUED, 0)
        assert piece.answers.count() == done, "one unit a turn: it comes to an end in any case"
    waiting.delete()
    assert work(job).state == JobState.SUCCEEDED
    assert piece.answers.count() == 3


def test_a_model_that_comes_after_the_last_look_is_run_by_another_job(
    pair: tuple[ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = ProbeSlice.objects.get(version=pair[0])
    ProbeSlice.objects.filter(pk=piece.pk).update(answered=None)
    dispatch.probe_run(piece=piece)

    def late(set_key: str) -> None:
        ProbeAnswers.objects.filter(version=pair[1], piece=piece).delete()

    with monkeypatch.context() as patch:
        patch.setattr(probe_runs, "calibrations_start", late)
        assert run_jobs() == 1
    assert run_jobs() == 1 and ProbeAnswers.objects.filter(version=pair[1], piece=piece, error="").exists()
    assert run_jobs() == 0


def test_a_model_that_fails_holds_nobody_up(pair: tuple[ModelVersion, ModelVersion], team: Team, dan: User) -> None:
    dark = np.random.default_rng(3).integers(0, 100, (30, SIDE, SIDE), dtype=np.uint8)
    broken = approved(team, dan, "broken", 4, content=nan_on_bright(), given=reference(4, n=0, rows=dark))
    run_jobs()
    errors = ProbeAnswers.objects.filter(version=broken).exclude(error="")
    assert errors.count() == 2 and "NaN" in errors.first().error
    found = view(team)
    assert found.of(broken.pk) is None and len(found.versions) == 2 and found.facts["asked"] == 3
    assert found.facts["sources"] == 3, "its own slice is answered by the others"


def test_labels_in_another_order_are_matched_by_name(pair: tuple[ModelVersion, ModelVersion], team: Team, dan: User) -> None:
    first, _ = pair
    turned = approved(team, dan, "turned", 1, content=onnx_bytes(weights=weights(1)[:, ::-1]), labels=LABELS[::-1], given=reference(9))
    run_jobs()
    found = view(team)
    np.testing.assert_allclose(found.of(turned.pk).astype(np.float32), found.of(first.pk).astype(np.float32), atol=2e-3)
    piece = turned.probe_slice
    rows = slice(2 * N, 3 * N)
    assert [LABELS[label] for label in found.view.labels[rows]] == [
        piece.labels[index] for index in np.frombuffer(bytes(piece.row_labels), "<u2")
    ]
    wanted = ["fox", "cat", "dog"]
    other = probes.probe_view(list(without_features(ProbeSlice.objects.offered())), wanted, [first.pk])
    assert other is not None
    assert [wanted[label] for label in other.view.labels] == [LABELS[label] for label in found.view.labels]
    np.testing.assert_array_equal(other.of(first.pk)[:, 0], found.of(first.pk)[:, LABELS.index("fox")])


def test_rows_of_others_in_the_own_reference_are_left_out(pair: tuple[ModelVersion, ModelVersion], team: Team, operator: User) -> None:
    first, second = pair
    piece = first.probe_slice
    batch = load_batch(piece.path.read_bytes())
    stolen = batch.arrays["pixels"].reshape(N, SIDE, SIDE)[:12]
    eve = make_user("eve")
    Membership.objects.create(team=team, user=eve, role=Role.PUBLISHER)
    thief = approved(team, eve, "thief", 5, given=reference(5, rows=stolen), choice={"choice": ReferenceSample.Choice.SIGNATURE_ONLY})
    answers = ProbeAnswers.objects.get(version=thief, piece=piece)
    assert answers.judged == N - 12
    assert np.flatnonzero(np.unpackbits(np.frombuffer(bytes(answers.seen), np.uint8))).tolist() == list(range(12))
    found = view(team)
    assert found.left_out == {thief.pk: 12} and found.sources[thief.pk] == (0,), "a fifth of that source: it is of its making too"
    others = np.exp(np.stack([found.of(first.pk), found.of(second.pk)]).astype(np.float64)).mean(0)
    np.testing.assert_allclose(np.exp(found.of(thief.pk)[:12].astype(np.float64)), others[:12], atol=2e-3)
    rest = np.frombuffer(bytes(answers.log_probs), "<f2").reshape(N, 3)
    np.testing.assert_array_equal(found.of(thief.pk)[12:N], rest[12:])


def test_the_same_slice_given_twice_is_one_source(team: Team, alice: User, operator: User) -> None:
    first = approved(team, alice, "first", 1)
    twin = approved(team, alice, "twin", 2, given=reference(1))
    run_jobs()
    found = view(team)
    assert (found.facts["n"], found.facts["sources"], found.facts["slices"]) == (N, 1, 1)
    assert found.sources == {first.pk: (0,), twin.pk: (0,)}
    assert found.left_out == {}, "they are the publisher's own rows"


def test_withdrawing_removes_rows_file_and_answers(team: Team, alice: User, dan: User, operator: User) -> None:
    first = approved(team, alice, "first", 1, given=reference(20_250_607))  # rows that no other test has left on the disk
    approved(team, dan, "second", 2)
    run_jobs()
    piece, digest = first.probe_slice, view(team).facts["digest"]
    row = load_batch(piece.path.read_bytes()).arrays["pixels"][: SIDE * SIDE].tobytes()
    held = piece.size_bytes + sum(len(item.log_probs) for item in piece.answers.all())
    assert bytes_on_disk(row) == [piece.path]
    assert services.reference_withdraw(version=first, actor=alice) == held
    piece.refresh_from_db()
    assert piece.withdrawn and piece.withdrawn_by == alice
    assert (piece.features, piece.row_hashes, piece.row_labels, piece.size_bytes) == (None, None, None, 0)
    assert not piece.answers.exists() and not probes_path(first.pk).exists()
    assert bytes_on_disk(row) == []
    assert view(team).facts["digest"] != digest and view(team).facts["n"] == N
    event = AuditEvent.objects.get(action="reference.withdraw")
    assert (event.before["probes"], event.after["probes"]) == (N, 0)
    assert services.reference_withdraw(version=first, actor=alice) == 0


def test_withdrawn_in_the_middle_of_a_run(team: Team, alice: User, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first = approved(team, alice, "first", 1)
    approved(team, alice, "second", 2)
    first.probe_slice.answers.all().delete()
    real = probe_runs._run

    def withdrawing(*args: Any) -> Any:
        answers = real(*args)
        services.reference_withdraw(version=first, actor=alice)
        return answers

    monkeypatch.setattr(probe_runs, "_run", withdrawing)
    job = Job.objects.get(kind="catalog.probe_run", subject_id=first.probe_slice.pk)
    work(job)
    assert job.state in (JobState.SUCCEEDED, JobState.CANCELLED)
    assert not first.probe_slice.answers.exists()
    assert ProbeSlice.objects.get(version=first).answered is None


def test_deleting_hides_restoring_brings_back_purging_removes(pair: tuple[ModelVersion, ModelVersion], team: Team, alice: User) -> None:
    first, second = pair
    path, digest = first.probe_slice.path, view(team).facts["digest"]
    services.model_delete(model=first.model, actor=alice)
    assert view(team).facts["n"] == N and path.exists()
    services.model_restore(model=first.model, actor=alice)
    assert view(team).facts["digest"] == digest
    services.model_purge(model=services.model_delete(model=first.model, actor=alice), actor=alice)
    assert not path.exists() and ProbeSlice.objects.count() == 1
    assert set(ProbeAnswers.objects.values_list("version", flat=True)) == {second.pk}


def test_a_restored_model_catches_up(pair: tuple[ModelVersion, ModelVersion], team: Team, alice: User, dan: User) -> None:
    first, _ = pair
    services.model_delete(model=first.model, actor=alice)
    approved(team, dan, "third", 3)
    run_jobs()
    services.model_restore(model=first.model, actor=alice)
    assert run_jobs() >= 1
    assert view(team).of(first.pk) is not None and len(view(team).versions) == 3


def test_a_private_models_slice_is_in_no_set(pair: tuple[ModelVersion, ModelVersion], team: Team) -> None:
    RegisteredModel.objects.filter(pk=pair[0].model_id).update(visibility=Visibility.PRIVATE)
    assert view(team).facts["n"] == N


def test_a_newer_encoder_embeds_anew(pair: tuple[ModelVersion, ModelVersion], team: Team) -> None:
    piece = pair[0].probe_slice
    right, computed = bytes(piece.features), set(piece.answers.values_list("computed", flat=True))
    ProbeSlice.objects.filter(pk=piece.pk).update(encoder="image-probe/0", features=b"\0" * 10)
    assert view(team).facts["n"] == N, "rows that cannot be compared stay out"
    assert probe_runs.outdated_start() == 1
    assert ProbeSlice.objects.get(pk=piece.pk).answered is None
    run_jobs()
    piece.refresh_from_db()
    assert (bytes(piece.features), piece.encoder) == (right, image.FEATURES_VERSION)
    assert set(piece.answers.values_list("computed", flat=True)) == computed, "its answers stay"
    assert view(team).facts["n"] == 2 * N
    assert probe_runs.outdated_start() == 0


def test_what_broke_on_our_side_is_tried_again_by_the_next_worker(pair: tuple[ModelVersion, ModelVersion]) -> None:
    first, second = pair
    ProbeAnswers.objects.filter(version=second, piece=first.probe_slice).update(error=probe_runs.BROKEN, log_probs=None, judged=0)
    assert probe_runs.outdated_start() == 1 and run_jobs() == 1
    assert ProbeAnswers.objects.get(version=second, piece=first.probe_slice).error == ""


def test_the_view_takes_as_many_queries_for_many_versions(pair: tuple[ModelVersion, ModelVersion], team: Team, dan: User) -> None:
    def queries() -> int:
        view(team)
        with CaptureQueriesContext(connection) as captured:
            assert team_probes(team) is not None
        return len(captured)

    few = queries()
    for seed in (5, 6):
        approved(team, dan, f"more-{seed}", seed)
    run_jobs()
    assert queries() == few == 9


def test_a_search_gets_the_probes_its_owner_may_use(pair: tuple[ModelVersion, ModelVersion], team: Team, bob: User, charlie: User) -> None:
    for version in pair:
        RegisteredModel.objects.filter(pk=version.model_id).update(visibility=Visibility.PUBLIC)
    own, foreign = (search_start(owner=person, sample_set=sample_set(person, 40)) for person in (bob, charlie))
    found = grounds_of(own).probes
    assert found is not None and found.facts["n"] == 2 * N and found.facts["answered"] == 2
    assert found.view.labels.max() == 2 and own.labels == sorted(LABELS)
    assert grounds_of(foreign).probes is None, "another team's probes"
    services.probe_sharing_set(team=team, public=True, actor=bob)
    assert grounds_of(foreign).probes is not None
