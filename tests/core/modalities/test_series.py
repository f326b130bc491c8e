from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gpuworker.core.compatibility import compatible
from gpuworker.core.errors import Incompatible, UnreadableSamples
from gpuworker.core.modalities import series
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.protocols import ReadResult, SourceFile

from .build import npy, npz, parquet, real, reasons, source, spec_input

X = np.arange(2 * 6 * 3, dtype=np.float32).reshape(2, 6, 3)


def read(*files: SourceFile, caps: Caps = DEFAULT_CAPS, **options: object) -> ReadResult:
    return series.read(files, ReadOptions(**options), caps)  # type: ignore[arg-type]


def values(*files: SourceFile, **options: object) -> np.ndarray:
    return series.values(read(*files, **options).batch)


def test_array_layouts() -> None:
    first = X.transpose(0, 2, 1)
    for found in (
        values(source("a.npz", npz(x=X))),
        values(source("a.npy", npy(X))),
        values(source("a.npz", npz(signals=X))),
        values(source("a.npz", npz(x=first))),
        values(source("a.npz", npz(x=first, channel_names=["a", "b", "c"]))),
        values(source("a.npz", npz(x=first)), layout="NCT"),
        values(source("a.npz", npz(x=(X * 4).astype(np.int16), scale=np.float32(0.25)))),
        values(source("a.npz", npz(other=X)), array="other"),
    ):
        np.testing.assert_array_equal(found, X)
    assert values(source("a.npz", npz(x=first)), layout="NTC").shape == (2, 3, 6)
    np.testing.assert_array_equal(values(source("a.npy", npy(X[:, :, 0]))), X[:, :, :1])


def test_names_rate_and_labels_come_from_the_file_or_the_options() -> None:
    data = npz(x=X, channel_names=["a", "b", "c"], rate_hz=np.float32(50), y=np.array([1, 0]), label_names=["sit", "walk"])
    result = read(source("a.npz", data), units=("g", "g", "g"))
    assert result.batch.meta == {
        "modality": "series", "window": 6, "channels": 3, "channel_names": ["a", "b", "c"], "units": ["g"] * 3, "rate_hz": 50.0,
    }  # fmt: skip
    assert result.labels is not None and result.labels.tolist() == [1, 0] and list(result.label_names) == ["sit", "walk"]
    chosen = read(source("a.npz", data), channel_names=("p", "q", "r"), rate_hz=20.0)
    assert chosen.batch.meta["channel_names"] == ["p", "q", "r"] and chosen.batch.meta["rate_hz"] == 20


def test_windows_are_cut_and_keep_their_label() -> None:
    result = read(source("a.npz", npz(x=X, y=np.array([5, 3]))), window=4, stride=2)
    assert result.batch.arrays["values"].shape == (4, 4, 3)
    np.testing.assert_array_equal(result.batch.arrays["values"][1], X[0, 2:6])
    assert result.labels is not None and [result.label_names[i] for i in result.labels] == ["5", "5", "3", "3"]
    assert values(source("a.npy", npy(X[0])), window=3).shape == (2, 3, 3)


def test_bad_windows_are_named_and_skipped() -> None:
    x = X.copy()
    x = np.concatenate([x, x, x])
    x[1, 2, 0], x[4, 0, 1] = np.nan, np.inf
    result = read(source("a.npz", npz(x=x)))
    assert result.batch.n == 4
    assert [row for _, row, _ in reasons(result)] == [2, 5]
    assert (result.exact_duplicates, result.near_duplicates) == (2, 0)


def test_files_of_another_shape_are_named() -> None:
    result = read(source("a.npz", npz(x=X)), source("b.npz", npz(x=X[:, :5])), source("c.npz", npz(y=np.zeros(2))))
    assert result.batch.n == 2
    assert [(name, reason[:34]) for name, _, reason in reasons(result)] == [
        ("c.npz", "It holds no series. Expected an ar"),
        ("b.npz", "Its windows are 5 steps x 3 channe"),
    ]


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (npz(x=np.zeros((2, 3, 4, 5))), {}, "wrong shape"),
        (npz(x=np.array(["a", "b"])), {}, "wrong shape"),
        (npz(x=X, y=np.zeros(5, int)), {}, "5 labels, 2 samples"),
        (npz(x=X, channel_names=["a", "b"]), {}, "2 names, 3 channels"),
        (npz(x=X), {"window": 9}, "shorter than the window"),
        (npz(x=np.array([{}], dtype=object)), {}, "never Python objects"),
    ],
)
def test_unusable_arrays_say_why(data: bytes, options: dict[str, int], words: str) -> None:
    with pytest.raises(UnreadableSamples, match=words):
        read(source("a.npz", data), **options)


def test_overlapping_windows_cannot_blow_up_memory() -> None:
    caps = replace(DEFAULT_CAPS, decoded_bytes=4 * 100 * 10)
    result = read(source("a.npy", npy(np.zeros((1, 1000, 1), np.float32))), caps=caps, window=100, stride=1)
    assert result.batch.n == 10
    assert reasons(result)[0][2] == "Only the first 10 windows are used."
    with pytest.raises(UnreadableSamples, match="too large"):
        read(source("a.npy", npy(np.zeros((10, 10, 10), np.int16))), caps=replace(DEFAULT_CAPS, inflated_bytes=2_500))


LONG = "time,who,acc_x,acc_y,label\n" + "".join(f"{t},{who},{t},{10 * t},{'walk' if t < 4 else 'sit'}\n" for who in "ab" for t in range(6))


def test_long_tables_are_cut_inside_each_recording() -> None:
    result = read(source("a.csv", LONG), layout="long", window=3, sample_column="who", label_column="label", time_column="time")
    assert result.batch.arrays["values"].shape == (4, 3, 2)
    np.testing.assert_array_equal(result.batch.arrays["values"][1], [[3, 30], [4, 40], [5, 50]])
    assert result.batch.meta["channel_names"] == ["acc_x", "acc_y"]
    assert result.labels is not None and [result.label_names[i] for i in result.labels] == ["walk", "sit", "walk", "sit"]
    shuffled = LONG.splitlines()
    again = read(
        source("a.csv", "\n".join([shuffled[0], *shuffled[:0:-1]])), layout="long", window=3, sample_column="who", time_column="time"
    )
    np.testing.assert_array_equal(np.sort(again.batch.arrays["values"], axis=0), np.sort(result.batch.arrays["values"], axis=0))


def test_long_tables_without_a_window_or_recording_say_what_is_missing() -> None:
    with pytest.raises(UnreadableSamples, match="needs a window"):
        read(source("a.csv", LONG), layout="long", columns=("acc_x",))
    whole = read(source("a.csv", LONG), layout="long", sample_column="who", columns=("acc_x",))
    assert whole.batch.arrays["values"].shape == (2, 6, 1)
    with pytest.raises(UnreadableSamples, match="no column 'person'"):
        read(source("a.csv", LONG), layout="long", window=3, sample_column="person")


def test_a_bad_cell_drops_its_window_only() -> None:
    result = read(
        source("a.csv", LONG.replace("2,a,2,20", "2,a,oops,20")), layout="long", window=3, sample_column="who", columns=("acc_x",)
    )
    assert result.batch.n == 3
    assert reasons(result) == [("a.csv", 1, "The window holds NaN, empty or infinite values.")]


def test_wide_tables() -> None:
    columns = {f"{channel}_{t}": [float(t), float(t + 100)] for t in (10, 2, 1) for channel in ("x", "y")} | {"label": ["a", "b"]}
    result = read(source("a.parquet", parquet(columns)), label_column="label")
    np.testing.assert_array_equal(result.batch.arrays["values"][1], [[101, 101], [102, 102], [110, 110]])
    assert result.batch.meta["channel_names"] == ["x", "y"]
    assert result.labels is not None and result.labels.tolist() == [0, 1]
    single = read(source("a.csv", "t0,t1,t2\n1,2,3\n4,5,6\n"), layout="wide")
    assert single.batch.arrays["values"][:, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]] and "channel_names" not in single.batch.meta


def encoded(x: np.ndarray, read_options: dict[str, object], **fields: object) -> np.ndarray:
    batch = read(source("a.npz", npz(x=x)), layout="NTC", **read_options).batch
    return series.encode(batch, 0, batch.n, spec_input("series", **fields), ["data"])["data"]


def test_encode_by_hand() -> None:
    x = np.array([[[1, 10], [2, 20], [3, 30], [4, 40]]], np.float32)
    names: dict[str, object] = {"channel_names": ("a", "b")}
    assert encoded(x, names, window=4, channels=["a", "b"])[0].tolist() == [[1, 2, 3, 4], [10, 20, 30, 40]]
    assert encoded(x, names, window=4, channels=["B", "a"], layout="NTC")[0].tolist() == [[10, 1], [20, 2], [30, 3], [40, 4]]
    assert encoded(x, names, window=2, channels=["b"])[0].tolist() == [[20, 30]]
    assert encoded(x, {}, window=4, channels=["p", "q"], layout="flat").tolist() == [[1, 2, 3, 4, 10, 20, 30, 40]]
    scaled = encoded(x, names, window=2, channels=["a", "b"], mean=[2, 20], std=[0.5, 10])
    assert scaled[0].tolist() == [[0, 2], [0, 1]] and scaled.dtype == np.float32


def test_encode_resamples_to_the_models_rate() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 8, 1)
    assert encoded(x, {"rate_hz": 20.0}, window=4, channels=["a"], rate_hz=10)[0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert encoded(x, {"rate_hz": 10.0}, window=16, channels=["a"], rate_hz=20)[0, 0, :4].tolist() == [0, 0, 1, 1]
    assert encoded(x, {}, window=8, channels=["a"], rate_hz=10)[0, 0].tolist() == list(range(8))
    odd = series.resampled(np.ones((1, 100, 1)), 50, 33)
    np.testing.assert_allclose(odd, np.ones((1, 66, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "fields", "words"),
    [
        ({"channel_names": ("a", "b", "c")}, {"window": 4, "channels": ["a", "z"]}, "needs the channels z"),
        ({}, {"window": 4, "channels": ["a"]}, "needs 1 channels, the samples have 3"),
        ({}, {"window": 7, "channels": ["a", "b", "c"]}, "windows of 7 steps, the samples have 6"),
        ({"rate_hz": 50.0}, {"window": 4, "channels": ["a", "b", "c"], "rate_hz": 25}, "samples have 3 at 25 Hz"),
        (
            {"units": ("g", "g", "g")},
            {"window": 4, "channels": ["a", "b", "c"], "units": ["g", "m/s2", "g"]},
            "channel b in m/s2, the samples are in g",
        ),
    ],
)
def test_misfits_are_told_before_and_while_encoding(options: dict[str, object], fields: dict[str, object], words: str) -> None:
    batch = read(source("a.npz", npz(x=X)), **options).batch
    spec = spec_input("series", **fields)
    reason = compatible(batch.meta, spec, "series")
    assert reason is not None and words in reason
    with pytest.raises(Incompatible, match=words):
        series.encode(batch, 0, 1, spec, ["data"])


def test_one_input_only() -> None:
    batch = read(source("a.npz", npz(x=X))).batch
    with pytest.raises(Incompatible, match="more than one input"):
        series.encode(batch, 0, 1, spec_input("series", window=6, channels=["a", "b", "c"]), ["p", "q"])


def test_features_by_hand_and_without_other_rows() -> None:
    t = np.arange(64)
    wave = np.sin(2 * math.pi * 10 * t / 64)
    x = np.stack([np.stack([wave, np.full(64, 3.0)], axis=1), np.stack([wave * 2 + 1, t / 64], axis=1)])
    batch = read(source("a.npz", npz(x=x)), layout="NTC").batch
    found = series.features(batch)
    assert found.shape == (2, 2 * 69 + 4)
    np.testing.assert_allclose(found[1:], series.features(read(source("a.npz", npz(x=x[1:])), layout="NTC").batch), atol=1e-5)
    np.testing.assert_allclose(found[0, :2], [0, math.sqrt(0.5)], atol=1e-6)
    # All power lies at frequency 10 of 32, in band 4 of 16 (frequencies 9 and 10): (64 / 2)**2 / 64 = 16, halved by the mean.
    np.testing.assert_allclose(found[0, 11:27], [0, 0, 0, 0, math.log1p(8), *[0] * 11], atol=1e-5)
    # A constant channel: its value in the statistics, no power, and only the biases decide the kernels.
    np.testing.assert_allclose(found[0, 69:80], [3, 0, 0, 0, 3, 3, 3, 3, 3, 3, 3], atol=1e-6)
    assert set(found[0, 96:138].tolist()) == {0.0, 1.0}
    # The kernels see shape, not offset or scale.
    np.testing.assert_allclose(found[0, 27:69], found[1, 27:69], atol=1e-6)


def test_features_of_huge_numbers_stay_finite() -> None:
    result = read(source("a.npz", npz(x=np.full((2, 8, 3), 3e38, np.float32) * np.array([1, -1, 1], np.float32))))
    assert np.isfinite(series.features(result.batch)).all()


def test_preview_is_downsampled() -> None:
    shown = series.preview(read(source("a.npz", npz(x=np.arange(400.0).reshape(1, 400, 1)))).batch, 0)
    assert shown["steps"] == 400 and len(shown["channels"][0]["points"]) == 200
    assert shown["channels"][0]["points"][:2] == [0.5, 2.5]


@pytest.mark.parametrize(("name", "shape"), [("hapt_waist_phone", (3954, 128, 6)), ("umafall_wrist", (1907, 96, 3))])
def test_real_activity(name: str, shape: tuple[int, ...]) -> None:
    result = read(real(f"activity/{name}.npz"))
    assert result.batch.arrays["values"].shape == shape and not result.problems
    assert 0.5 < np.linalg.norm(result.batch.arrays["values"][:, :, :3].mean(1), axis=1).mean() < 1.5
