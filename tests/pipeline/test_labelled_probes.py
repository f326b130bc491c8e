"""From labels of a search to probes of the next one, with the real sandbox."""

from __future__ import annotations

import io

import numpy as np
import pytest

from accounts.models import Team, User
from catalog import services
from catalog.models import ModelVersion
from catalog.probe_models import ProbeAnswers, ProbeSlice
from catalog.storage import labelled_folder
from gpuworker.core.modalities import image
from gpuworker.core.modalities.batches import load_batch, row_digests
from gpuworker.pipeline import sandboxed, slices
from gpuworker.pipeline.grounds import grounds_of
from gpuworker.pipeline.sandboxed import SampleRows
from jobs.models import Job, JobState
from search.labelling import confirmation_refresh, round_of
from search.labelling_models import Confirmation, GivenLabel
from search.labelling_probes import confirmation_give, confirmation_take_back, gift_of
from search.models import Search
from search.removal import search_delete
from search.samplesets import sampleset_delete
from search.services import search_start
from tests.catalog.makers import LABELS, SIDE
from tests.pipeline.test_probes import approved, run_jobs
from tests.pipeline.test_publish import bytes_on_disk
from tests.pipeline.worlds import Killed, images, kill_at_write, sample_set, searched, work

pytestmark = pytest.mark.django_db(transaction=True)
N = 40


def label(search: Search, person: User, items: range) -> None:
    for item in items:
        GivenLabel.objects.create(search=search, person=person, item=item, label=item % 3, weight=1.0)
    confirmation_refresh(search=search)


@pytest.fixture
def models(team: Team, alice: User, dan: User, operator: User) -> list[ModelVersion]:
    """Of two people, each with a slice of its reference sample, which both have answered."""
    found = [approved(team, alice, "first", 1), approved(team, dan, "second", 2)]
    run_jobs()
    return found


@pytest.fixture
def labelled(models: list[ModelVersion], alice: User) -> Search:
    """A finished search among two models over 40 images, 24 of them labelled."""
    found = searched(alice, sample_set(alice, N, content=images(N, seed=20_260_101)))
    label(found, alice, range(24))
    return found


def make(piece: ProbeSlice) -> Job:
    return work(Job.objects.get(kind="catalog.probe_make", subject_id=piece.pk, state=JobState.QUEUED))


def pixels() -> np.ndarray:
    with np.load(io.BytesIO(images(N, seed=20_260_101))) as raw:
        return np.asarray(raw["x"])


def test_labels_become_probes_that_the_next_search_rests_on(labelled: Search, models: list[ModelVersion], team: Team, alice: User) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    assert make(piece).state == JobState.SUCCEEDED
    piece.refresh_from_db()
    assert (piece.n, piece.encoder, piece.answered) == (24, image.FEATURES_VERSION, None)
    batch, rows = load_batch(piece.path.read_bytes()), pixels()
    item_of = {row.tobytes(): item for item, row in enumerate(rows)}
    flat = batch.arrays["pixels"].reshape(24, SIDE * SIDE)
    items = [item_of[row.tobytes()] for row in flat]
    assert sorted(items) == list(range(24)), "the labelled samples and no others"
    assert np.frombuffer(bytes(piece.row_labels), "<u2").tolist() == [item % 3 for item in items]
    assert b"".join(row_digests(batch)) == bytes(piece.row_hashes)
    np.testing.assert_allclose(
        np.frombuffer(bytes(piece.features), "<f2").reshape(24, -1), image.features(batch).astype(np.float16), atol=1e-3
    )
    assert gift_of(labelled, round_of(labelled), alice).state == "running"
    assert run_jobs() == 1
    assert gift_of(labelled, round_of(labelled), alice).state == "in_use"
    assert set(ProbeAnswers.objects.filter(piece=piece, error="").values_list("version", flat=True)) == {one.pk for one in models}
    first = ProbeAnswers.objects.get(piece=piece, version=models[0])
    said = np.frombuffer(bytes(first.log_probs), "<f2").reshape(24, 3).argmax(1)
    names = [labelled.labels[label] for label in said]
    own = round_of(labelled)
    place = [row.version_id for row in own.candidates].index(models[0].pk)
    assert names == [labelled.labels[own.contest.votes[place, item]] for item in items], "as the search had answered them"
    assert (first.judged, first.correct) == (24, sum(name == labelled.labels[item % 3] for name, item in zip(names, items, strict=True)))

    following = search_start(owner=alice, sample_set=sample_set(alice, 30))
    found = grounds_of(following).probes
    assert found is not None and sorted(found.pieces) == sorted(ProbeSlice.objects.kept().values_list("pk", flat=True))
    assert (found.facts["n"], found.facts["sources"], found.facts["answered"]) == (60 + 60 + 24, 3, 2)
    assert [found.sources[one.pk] for one in models] == [(0,), (1,)], "labelled samples are of no model"
    taken = found.view.publishers == 2
    assert np.bincount(found.view.labels[taken], minlength=3).tolist() == [8, 8, 8]
    assert following.labels == sorted(LABELS)


def test_withdrawn_nothing_of_them_is_left(labelled: Search, team: Team, alice: User) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    make(piece)
    run_jobs()
    row = pixels()[0].tobytes()
    piece.refresh_from_db()
    held = piece.size_bytes + sum(len(bytes(item.log_probs)) for item in piece.answers.all())
    assert piece.path in bytes_on_disk(row)
    assert confirmation_take_back(search=labelled, actor=alice) == held
    piece.refresh_from_db()
    assert piece.withdrawn and not piece.answers.exists() and not labelled_folder(piece.pk).exists()
    assert piece.path not in bytes_on_disk(row)
    following = search_start(owner=alice, sample_set=sample_set(alice, 30))
    assert grounds_of(following).probes.facts["sources"] == 2  # type: ignore[union-attr]


def test_they_stay_when_search_and_samples_go(labelled: Search, team: Team, alice: User, dan: User) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    make(piece)
    sampleset_delete(sample_set=labelled.sample_set, actor=alice)
    assert not Confirmation.objects.exists()
    assert run_jobs() == 1, "the models are run on rows of their own"
    approved(team, dan, "third", 3)
    run_jobs()
    piece.refresh_from_db()
    assert piece.answered and piece.answers.filter(error="").count() == 3 and piece.path.exists()


def test_given_anew_only_the_new_ones_count(labelled: Search, team: Team, alice: User) -> None:
    first = confirmation_give(search=labelled, team=team, actor=alice)
    make(first)
    run_jobs()
    label(labelled, alice, range(24, 33))
    second = confirmation_give(search=labelled, team=team, actor=alice)
    make(second)
    run_jobs()
    assert not first.path.exists() and second.path.exists()
    assert [(row.pk, row.n) for row in ProbeSlice.objects.offered().filter(version=None)] == [(second.pk, 33)]


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_killed_worker_leaves_nothing_half(
    labelled: Search, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    job = Job.objects.get(kind="catalog.probe_make")
    with monkeypatch.context() as patched:
        kill_at_write(patched, 1, after=after)
        with pytest.raises(Killed):
            work(job)
    assert ProbeSlice.objects.kept().filter(pk=piece.pk).exists() is after and piece.path.exists()
    job.refresh_from_db()
    assert job.requeue()
    job.refresh_from_db()
    assert work(job).state == JobState.SUCCEEDED
    assert ProbeSlice.objects.kept().get(pk=piece.pk).n == 24
    assert Job.objects.filter(kind="catalog.probe_run", subject_id=piece.pk).count() == 1 and run_jobs() == 1


def test_withdrawn_while_a_worker_takes_them_no_file_is_left(
    labelled: Search, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    real = services.labelled_slice_apply

    def late(**given: object) -> bool:
        services.labelled_slice_withdraw(piece=piece, actor=alice)
        labelled_folder(piece.pk).mkdir()
        piece.path.write_bytes(b"written after the folder was removed")
        return real(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(services, "labelled_slice_apply", late)
    make(piece)
    assert not labelled_folder(piece.pk).exists() and not ProbeSlice.objects.kept().filter(pk=piece.pk).exists()


def test_samples_that_are_gone_fail_with_a_reason_and_leave_no_file(labelled: Search, team: Team, alice: User) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    labelled.sample_set.batch_path.unlink()
    job = make(piece)
    assert (job.state, job.error_title) == (JobState.FAILED, "The samples are gone.")
    assert not piece.path.exists() and gift_of(labelled, round_of(labelled), alice).state == "failed"
    search_delete(search=labelled, actor=alice)
    assert ProbeSlice.objects.get(pk=piece.pk).withdrawn, "what failed goes with the search"


def test_equal_samples_count_once_and_may_be_too_few(labelled: Search, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sandboxed.take_samples

    def alike(path: object, rows: np.ndarray) -> SampleRows:
        found = real(path, rows)  # type: ignore[arg-type]
        return SampleRows(found.batch, found.features, found.encoder, np.repeat(found.hashes[:different], len(rows) // different, 0))

    monkeypatch.setattr(slices.sandboxed, "take_samples", alike)
    piece, different = confirmation_give(search=labelled, team=team, actor=alice), 6
    job = make(piece)
    assert job.state == JobState.FAILED and "6 of 24 are different; 10 are needed." in job.error_detail
    assert not labelled_folder(piece.pk).exists()
    different = 12
    confirmation_give(search=labelled, team=team, actor=alice)
    assert make(piece).state == JobState.SUCCEEDED
    assert ProbeSlice.objects.get(pk=piece.pk).n == 12


def test_rows_that_the_samples_do_not_have_are_refused(labelled: Search, team: Team, alice: User) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    Confirmation.objects.update(piece_rows=[[item + 20, 0] for item in range(24)])
    job = make(piece)
    assert (job.state, job.error_title) == (JobState.FAILED, "The samples were read again meanwhile.")
    assert not piece.path.exists()
