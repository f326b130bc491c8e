import numpy as np
import pytest

from gpuworker.core import signatures, specs
from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.separability import separability
from gpuworker.core.signatures.atc_thresholds import threshold
from gpuworker.core.signatures.columns import PER_LABEL, in_label_order
from gpuworker.core.signatures.features import sketch_rows
from gpuworker.core.signatures.inputs import array_order, groups
from gpuworker.core.signatures.word_counts import joint_columns, take_columns, word_id

RNG = np.random.default_rng(5)
N, C = 130, 3
VALUES = RNG.random((N, 4, 5))
FEATURES = RNG.normal(size=(N, 12)).astype(np.float32)
LABELS = RNG.integers(0, C, N)
LOGITS = RNG.normal(size=(N, C)) + 2 * np.eye(C)[LABELS]
LOG_PROBS = (LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))).astype(np.float32)
WORDS = [["The", "Cat", "cat", f"w{i % 7}"] for i in range(N)]


def full(order=slice(None), **changed):
    parts = {
        "values": VALUES[order],
        "features": FEATURES[order],
        "labels": LABELS[order],
        "n_labels": C,
        "log_probs": LOG_PROBS[order],
    } | changed
    return signatures.compute("image", **parts)


def test_every_listed_part_has_one_function():
    assert signatures.FUNCTIONS.keys() == specs.SIGNATURES.keys()


def test_a_full_reference_sample_gives_every_part_of_its_modality():
    found = {name.split(".")[0] for name in full()}
    assert found == {key for key, spec in specs.SIGNATURES.items() if "image" in spec.modalities}


def test_an_unlabelled_set_gives_only_what_needs_neither_labels_nor_outputs():
    found = {name.split(".")[0] for name in signatures.compute("text", words=WORDS, features=FEATURES)}
    assert found == {"word_counts", "features"}


def test_the_order_of_the_rows_does_not_matter():
    here, there = full(), full(RNG.permutation(N))
    assert here.keys() == there.keys()
    for name, array in here.items():
        np.testing.assert_allclose(array, there[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_word_counts_do_not_depend_on_the_order_of_the_texts():
    here = signatures.compute("text", words=WORDS)
    there = signatures.compute("text", words=[WORDS[i] for i in RNG.permutation(N)])
    for name, array in here.items():
        np.testing.assert_array_equal(array, there[name], err_msg=name)


def test_a_signature_stays_small_for_large_samples():
    big = signatures.compute(
        "image", values=RNG.random((2000, 64, 64, 3)).astype(np.float32), features=RNG.normal(size=(2000, 1024)).astype(np.float32)
    )
    assert sum(array.nbytes for array in big.values()) < 256_000


def test_a_signature_of_many_long_texts_stays_small():
    words = [[f"w{i}" for i in RNG.integers(0, 50_000, 80)] for _ in range(3000)]
    big = signatures.compute("text", words=words, features=RNG.normal(size=(3000, 1024)).astype(np.float32))
    assert sum(array.nbytes for array in big.values()) < 256_000


def test_no_row_of_the_sample_can_be_read_from_word_counts():
    found = signatures.compute("text", words=WORDS)
    assert all(array.dtype.kind in "iu" for array in found.values())


def test_words_are_lower_cased_and_stop_words_dropped():
    found = signatures.compute("text", words=[["The", "Cat", "cat"], ["dog", "cat"]])
    assert found["word_counts.ids"].tolist() == [word_id("cat"), word_id("dog")]
    assert found["word_counts.counts"].tolist() == [3, 1]
    assert found["word_counts.group_counts"].tolist() == [[3, 1]]


def test_word_ids_are_stable():
    assert word_id("cat") == word_id("cat") != word_id("dog")
    assert word_id("model") == 1057764036076963085


def test_joint_words_are_the_most_frequent_of_both_sets():
    ids_a, counts_a = np.array([1, 2, 3]), np.array([9, 1, 2])
    ids_b, counts_b = np.array([3, 4]), np.array([5, 6])
    in_a, in_b = joint_columns(ids_a, counts_a, ids_b, counts_b, 3)
    assert take_columns(counts_a, in_a).tolist() == [9, 2, 0]  # words 1 (9), 3 (7), 4 (6)
    assert take_columns(counts_b, in_b).tolist() == [0, 5, 6]


def test_groups_drop_a_small_rest_but_never_everything():
    order = np.arange(130)
    assert [len(group) for group in groups(order, 50, 32)] == [50, 50, 30]
    assert [len(group) for group in groups(order[:110], 50, 32)] == [50, 50]
    assert [len(group) for group in groups(order[:3], 50, 32)] == [3]
    assert len(groups(order, 10, 4)) == 4


def test_groups_are_normalised_alone():
    values = np.concatenate([np.full((50, 2), 0.0), np.full((50, 2), 1.0)])
    values[:, 1] += 0.5
    found = signatures.compute("table", values=values)["value_groups.counts"]
    assert found.shape == (2, 100)
    assert found.sum() == 200


def test_the_content_order_is_a_permutation():
    assert sorted(array_order(VALUES)) == list(range(N))


def test_pooling_a_long_row_keeps_the_distance_below_the_exact_one():
    a, b = RNG.random((3, 20_001)), RNG.random((3, 20_001))
    pooled = [signatures.compute("series", values=x)["value_center.mean"] for x in (a, b)]
    exact = [(x - x.min()) / (x.max() - x.min()) for x in (a, b)]
    assert len(pooled[0]) <= 8192
    assert 0 < np.linalg.norm(pooled[0] - pooled[1]) <= np.linalg.norm(exact[0].mean(0) - exact[1].mean(0)) + 1e-6


def test_accuracy_counts_right_rows_by_class():
    log_probs = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], dtype=np.float32))
    found = signatures.compute("image", labels=np.array([0, 1, 1]), n_labels=2, log_probs=log_probs)
    assert (found["accuracy.correct"][0], found["accuracy.n"][0]) == (2, 3)
    assert found["accuracy.class_correct"].tolist() == [1, 1]
    assert found["accuracy.class_n"].tolist() == [1, 2]
    assert found["class_histogram.counts"].tolist() == [1, 2]
    assert found["output_stats.class_counts"].tolist() == [2, 1]
    assert found["output_stats.mean_confidence"][0] == pytest.approx(0.8)


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4)) * 2
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probs.cumsum(1) > rng.random((4000, 1))).argmax(1)
    sharp = logits * 4 - np.log(np.exp(logits * 4).sum(1, keepdims=True))
    found = signatures.compute("image", labels=labels, n_labels=4, log_probs=sharp.astype(np.float32))
    assert found["calibration.temperature"][0] == pytest.approx(4, rel=0.15)
    assert found["calibration.ece_scaled"][0] < 0.04 < found["calibration.ece"][0]


def test_the_threshold_lets_through_as_many_rows_as_are_right():
    scores = np.array([0.2, 0.4, 0.6, 0.8])
    assert threshold(scores, np.array([False, True, False, True])) == 0.6
    assert threshold(scores, np.ones(4, dtype=bool)) == 0.2
    assert threshold(scores, np.zeros(4, dtype=bool)) > 0.8


def test_impossible_outputs_of_minus_infinity_stay_finite():
    log_probs = np.array([[0.0, -np.inf], [-np.inf, 0.0]] * 20, dtype=np.float32)
    found = signatures.compute("image", labels=np.array([0, 0] * 20), n_labels=2, log_probs=log_probs)
    assert all(np.isfinite(array).all() for array in found.values())


def test_outputs_that_are_no_numbers_are_refused_with_their_count():
    bad = LOG_PROBS.copy()
    bad[3] = np.nan
    with pytest.raises(ExecutionFailed) as caught:
        full(log_probs=bad)
    assert "1 of 130 rows" in caught.value.detail


@pytest.mark.parametrize(
    "changed", [{"labels": LABELS[:5]}, {"labels": LABELS + C}, {"log_probs": LOG_PROBS[:, :2]}, {"features": FEATURES[:4]}]
)
def test_parts_that_do_not_fit_together_are_a_defect(changed):
    with pytest.raises(ValueError):
        full(**changed)


def test_the_content_hash_changes_with_every_input_and_the_recipe(monkeypatch):
    base = {"values": VALUES, "features": FEATURES, "labels": LABELS, "n_labels": C, "log_probs": LOG_PROBS, "words": WORDS}
    variants = [
        {},
        {"values": VALUES + 1},
        {"features": FEATURES * 2},
        {"labels": LABELS[::-1]},
        {"log_probs": LOG_PROBS * 2},
        {"n_labels": 4},
        {"words": WORDS[::-1]},
        {"words": None},
        {"values": VALUES.reshape(N, 20)},
    ]
    found = [signatures.content_hash("image", **(base | variant)) for variant in variants]
    assert found[0] == signatures.content_hash("image", **base)
    monkeypatch.setattr(signatures, "RECIPE", "another")
    found.append(signatures.content_hash("image", **base))
    assert len(set(found)) == len(found)


def test_labels_in_another_order_take_their_figures_with_them():
    there = (2, 0, 1)  # the new label 0 was label 2
    moved = signatures.compute("image", labels=np.argsort(there)[LABELS], n_labels=C, log_probs=LOG_PROBS[:, there])
    found = in_label_order(signatures.compute("image", labels=LABELS, n_labels=C, log_probs=LOG_PROBS), there)
    assert found.keys() == moved.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, moved[name], rtol=1e-6, err_msg=name)
    assert {name for name, array in found.items() if array.shape == (C,)} == set(PER_LABEL)


def test_the_sketch_comes_back_in_feature_units():
    found = signatures.compute("image", features=FEATURES * 100 + 7)
    rows = sketch_rows(found)
    assert rows is not None
    assert rows.shape == (128, 12)
    nearest = np.abs(rows[:, None] - (FEATURES * 100 + 7)[None]).max(2).min(1)
    assert nearest.max() < 1.0


def test_few_rows_carry_no_distance_from_themselves():
    assert "features.self_separability" not in signatures.compute("image", features=FEATURES[:20])
    levels = signatures.compute("image", features=FEATURES)["features.self_separability"]
    assert (np.diff(levels) >= 0).all()
    assert 0 <= levels[0] <= levels[-1] < 0.6


def test_separability_is_small_for_equal_and_large_for_distant_sets():
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(128, 20)).astype(np.float32) for _ in range(2))
    assert separability(a, b) < 0.3
    assert separability(a, b + 3) > 0.99
    assert separability(a, b * 4) > 0.8
    assert separability(a[:1], b) == 0.0


def test_a_row_does_not_count_towards_its_own_side():
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(10, 400)).astype(np.float32) for _ in range(2))
    assert separability(a, b) < 0.5


def test_a_rare_feature_does_not_tell_equal_sets_apart():
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(size=(600, 10)), np.zeros((600, 6))], axis=1).astype(np.float32)
    rows[np.arange(0, 600, 97), 10 + np.arange(7) % 6] = 0.3
    here, there = (sketch_rows(signatures.compute("image", features=part)) for part in (rows[:300], rows[300:]))
    assert here is not None
    assert there is not None
    assert separability(here, there) < 0.3


def test_a_constant_feature_does_not_break_separability():
    rows = np.zeros((40, 3), dtype=np.float32)
    assert separability(rows, rows) == 0.0
