"""Episodes: what a scorer is shown, what it is not, and the truth behind it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from bench.ranking import arrays as arrays_module
from bench.ranking.arrays import Pool, Scored
from bench.ranking.episodes import catalog, episodes, f1_scores, shifted_rows, stratified
from bench.ranking.loading import Job, jobs, load
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.zoo.splits import Overlap
from tests.zoo import folder

Arrays = tuple[Pool, list[Scored]]
LEAST = 20  # the small folder's domains have 20 score rows


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ranking.episodes.LEAST_ROWS", LEAST)


def test_an_unseen_target_hides_its_models_and_probes(arrays: Arrays) -> None:
    pool, scored = arrays
    for episode in episodes(pool, scored, 5, modes=("unseen",)):
        place = pool.domains.index(episode.about.target)
        assert episode.target.probes is not None and place not in episode.target.probes.publishers
        assert all(place not in view.publishers for view in episode.candidates)
        assert all(place not in pool.sources[model] for model in episode.about.models)
    seen = next(iter(episodes(pool, scored, 5, modes=("seen",))))
    assert len(seen.candidates) == 12 and seen.target.probes is not None
    assert set(seen.target.probes.publishers.tolist()) == {0, 1, 2, 3}


def test_candidates_are_shuffled_and_keep_their_arrays(arrays: Arrays) -> None:
    pool, scored = arrays
    one, other = (episode for episode in episodes(pool, scored[:1], 5, modes=("seen",)))
    assert one.about.models.tolist() != sorted(one.about.models.tolist()) and one.about.models.tolist() != other.about.models.tolist()
    for place, model in enumerate(one.about.models):
        view = one.candidates[place]
        assert view.log_probs is not None and np.array_equal(view.log_probs, scored[0].log_probs[model][one.about.rows].astype(np.float32))
        assert view.probe_log_probs is not None and np.array_equal(view.probe_log_probs, pool.log_probs[model][one.about.probes])
        expected = (scored[0].log_probs[model].argmax(1) == scored[0].labels).mean()
        assert one.truth[place] == pytest.approx(expected)  # natural: on the whole domain


def test_views_carry_neither_names_nor_labels(arrays: Arrays) -> None:
    pool, scored = arrays
    episode = next(iter(episodes(pool, scored, 5)))
    assert {field.name for field in fields(TargetView)} == {"n", "signature", "features", "probes", "vicinity"}
    assert {field.name for field in fields(CandidateView)} == {"signature", "log_probs", "probe_log_probs", "publishers"}
    assert not any("class_histogram" in key or "accuracy" in key for key in episode.target.signature)
    assert "accuracy.correct" in episode.candidates[0].signature


def test_the_same_seed_gives_the_same_episode(arrays: Arrays) -> None:
    pool, scored = arrays
    one, other = (next(iter(episodes(pool, scored, 5, modes=("unseen",), kinds=("shifted",)))) for _ in range(2))
    assert (one.about.rows == other.about.rows).all() and (one.truth == other.truth).all()
    assert not np.array_equal(one.about.rows, next(iter(episodes(pool, scored, 6, kinds=("shifted",)))).about.rows)


def test_shifted_rows_are_other_shares_without_repetition() -> None:
    labels = np.repeat([0, 1, 2, 3], 100)
    rng = np.random.default_rng(1)
    rows = shifted_rows(labels, 4, 200, rng)
    assert len(rows) == len(set(rows.tolist())) == 200
    counts = np.bincount(labels[rows], minlength=4)
    assert counts.max() > 1.5 * counts.min() + 10
    assert len(shifted_rows(labels, 4, 1_000, rng)) == 200  # at most half, or the shares could not differ


def test_probes_are_even_over_publishers_and_true_to_their_classes() -> None:
    publishers = np.repeat([0, 1], [400, 100])
    labels = np.concatenate([np.arange(400) % 4 == 0, np.arange(100) % 2 == 0]).astype(np.int64)
    rows = stratified(publishers, labels, 120, np.random.default_rng(0), np.arange(1_000, 1_500)) - 1_000
    assert np.bincount(publishers[rows]).tolist() == [60, 60]
    assert labels[rows][publishers[rows] == 0].mean() == pytest.approx(1 / 4, abs=0.03)
    assert labels[rows][publishers[rows] == 1].mean() == pytest.approx(1 / 2, abs=0.03)
    everything = stratified(publishers, labels, 1_000, np.random.default_rng(0), np.arange(500))
    assert everything.tolist() == list(range(500))


def test_f1_of_a_match_by_hand() -> None:
    labels = np.array([1, 1, 0, 0])
    answers = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert f1_scores(answers, labels).tolist() == pytest.approx([2 / 3, 2 / 3, 0])


def test_pairs_are_judged_by_f1_as_well(data: Path, cache: Path) -> None:
    pool, scored, _ = load(cache, jobs(data, names=["em"])[0][0], 5, models=12)
    episode = next(iter(episodes(pool, scored, 5, kinds=("natural",))))
    share = (scored[0].labels == 1).mean()
    assert episode.f1 is not None and episode.f1.shape == episode.truth.shape
    assert episode.always == pytest.approx(2 * share / (1 + share))


def test_score_rows_that_are_probes_stop_the_run(steps: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(domains: object, seed: int) -> object:
        return [replace(rows, score=np.append(rows.score, rows.reference[:1])) for rows in split(domains, seed)]  # type: ignore[arg-type]

    split = arrays_module.split
    monkeypatch.setattr(arrays_module, "split", careless)
    with pytest.raises(Overlap, match="steps_wrist"):
        load(tmp_path, steps, 5, models=2)


def test_targets_of_another_folder(data: Path, cache: Path, tmp_path: Path) -> None:
    folder.texts(tmp_path / "text" / "notes_porch.parquet", 120, 1)
    folder.texts(tmp_path / "text" / "rain.parquet", 120, 1, ["wet", "dry"])
    found, skipped = jobs(data, tmp_path)
    assert [job.task.name for job in found] == ["notes"]
    reasons = {entry.name: entry.reason for entry in skipped}
    assert reasons["shapes"] == "no target domain has its labels" and reasons["rain"] == "no task has its labels"
    pool, scored, refused = load(cache, found[0], 5, models=12)
    assert [target.name for target in scored] == ["notes_porch"] and not refused
    assert scored[0].number is None and len(scored[0].labels) == 120  # all its rows: none was trained on
    models, probes = catalog(pool, scored[0], "unseen", 5)
    assert len(models) == 12 and set(pool.domain[probes].tolist()) == {0, 1}
    assert {episode.about.mode for episode in episodes(pool, scored, 5)} == {"unseen"}


def test_a_target_that_does_not_fit_is_refused_with_its_reason(data: Path, cache: Path, tmp_path: Path) -> None:
    folder.series(tmp_path / "activity" / "steps_ankle.npz", 240)
    with np.load(tmp_path / "activity" / "steps_ankle.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    np.savez(tmp_path / "activity" / "steps_ankle.npz", **{**kept, "channel_names": np.array(["gx", "gy", "gz"])})
    found, _ = jobs(data, tmp_path)
    _, scored, refused = load(cache, found[0], 5, models=12)
    assert not scored and "ax" in refused[0].reason
