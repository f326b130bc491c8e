import numpy as np
import pytest

from gpuworker.core import signatures
from gpuworker.core.signatures.clusters import CLUSTER_ROWS, MAX_CLUSTERS, clusters
from gpuworker.core.signatures.minhash import minhash


def blobs(rng, sizes, dims=6):
    """Rows of well separated blobs, and the blob of each row."""
    centres = 40 * np.eye(dims)[: len(sizes)]
    kind = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[kind] + rng.normal(size=(len(kind), dims))).astype(np.float32), kind


def test_separate_blobs_do_not_share_a_cluster():
    features, kind = blobs(np.random.default_rng(0), (70, 130, 45))
    found = clusters(features)
    assert all(len(set(kind[part])) == 1 for part in found)
    assert sorted(np.concatenate(found)) == list(range(245))


def test_clusters_are_few_and_hold_enough_rows():
    features = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    found = clusters(features)
    assert len(found) == MAX_CLUSTERS
    assert min(len(part) for part in found) >= CLUSTER_ROWS


@pytest.mark.parametrize("rows", [1, 2 * CLUSTER_ROWS - 1])
def test_few_rows_are_one_cluster(rows):
    (only,) = clusters(np.random.default_rng(2).normal(size=(rows, 4)).astype(np.float32))
    assert sorted(only) == list(range(rows))


def test_equal_rows_are_one_cluster():
    assert len(clusters(np.ones((300, 4), dtype=np.float32))) == 1


def test_one_far_row_does_not_end_the_halving():
    features = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)
    features[7] = 1e4
    found = clusters(features)
    assert len(found) >= 4
    assert min(len(part) for part in found) >= CLUSTER_ROWS


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    order = rng.permutation(300)
    here = [sorted(part) for part in clusters(features)]
    there = [sorted(order[part]) for part in clusters(features[order])]
    assert here == there


def test_each_cluster_has_its_own_histogram():
    rng = np.random.default_rng(5)
    features, kind = blobs(rng, (40, 40))
    values = np.where(kind[:, None] == 0, rng.random((80, 8)), rng.random((80, 8)) ** 8)
    found = signatures.compute("image", values=values, features=features)["value_groups.cluster_counts"]
    expected = [np.histogram((part - part.min()) / np.ptp(part), 100, (0, 1))[0].tolist() for part in (values[:40], values[40:])]
    assert sorted(found.tolist()) == sorted(expected)


def test_words_are_counted_in_each_cluster():
    features, kind = blobs(np.random.default_rng(6), (30, 40))
    words = [["apple"] if one == 0 else ["pear", "plum"] for one in kind]
    found = signatures.compute("text", words=words, features=features)
    table = {tuple(line) for line in found["word_counts.cluster_counts"].tolist()}
    apple = int(np.flatnonzero(found["word_counts.counts"] == 30)[0])
    expected = {tuple(30 if column == apple else 0 for column in range(3)), tuple(0 if column == apple else 40 for column in range(3))}
    assert table == expected


def test_equal_places_of_min_wise_hashes_estimate_the_shared_part():
    rng = np.random.default_rng(7)
    ids = rng.integers(0, 2**63 - 1, 900)
    for shared in (0.1, 0.5, 0.9):
        common = int(600 * shared)
        a, b = ids[:600], np.concatenate([ids[:common], ids[600 : 1200 - common]])
        exact = len(set(a) & set(b)) / len(set(a) | set(b))
        deviation = np.sqrt(exact * (1 - exact) / 128)
        assert abs((minhash(a) == minhash(b)).mean() - exact) < 3 * deviation
    assert (minhash(ids) == minhash(ids[::-1])).all()
    assert len(set(minhash(ids))) == 128
