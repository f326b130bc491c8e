from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.modalities.guess import guess
from gpuworker.core.modalities.options import parse_options
from gpuworker.core.protocols import SourceFile

from .build import npy, npz, parquet, picture, real, source, zipped

STEPS = "time,acc_x,acc_y,label\n" + "".join(f"{t},{t},{t},a\n" for t in range(300))
WIDE = ",".join(f"t{i}" for i in range(20)) + "\n" + ",".join("1" for _ in range(20)) + "\n"


@pytest.mark.parametrize(
    ("files", "modality", "labels"),
    [
        ([source("a.png", picture()), source("b.jpg", picture("JPEG"))], "image", ()),
        ([source("a.zip", zipped({"cat/1.png": picture(), "dog/2.png": picture()}))], "image", ()),
        ([source("a.npz", npz(x=np.zeros((4, 8, 8), np.uint8), y=np.zeros(4)))], "image", ("y",)),
        ([source("a.npz", npz(x=np.zeros((4, 3, 8, 8))))], "image", ()),
        ([source("a.npz", npz(jpeg=np.zeros(4, np.uint8), offset=np.array([0, 4]), y=np.zeros(1)))], "image", ("y",)),
        ([source("a.npz", npz(X=np.zeros((4, 6, 32), np.int16), channel_names=["a"] * 6, y=np.zeros(4)))], "series", ("y",)),
        ([source("a.npy", npy(np.zeros((4, 32, 3))))], "series", ()),
        ([source("a.npz", npz(x=np.zeros((4, 5)), y=np.zeros(4)))], "table", ("y",)),
        ([source("a.csv", STEPS)], "series", ("label",)),
        ([source("a.csv", WIDE)], "series", ()),
        ([source("a.csv", "left_class,right_class,label\na,b,1\n")], "pair", ("label",)),
        (
            [source("a.csv", "review,rating\n" + "a long enough review of a film,5\nanother long review of it,4\n" * 20)],
            "text",
            ("rating",),
        ),
        ([source("a.txt", "short\nlines\n")], "text", ()),
        ([source("a.jsonl", '{"text": "hi there", "label": "a"}\n{"text": "bye", "label": "b"}')], "text", ("label",)),
        ([source("a.csv", "id,age,income,city,class\n1,30,1000,Oslo,a\n2,31,2000,Rome,b\n")], "table", ("class",)),
        ([source("a.parquet", parquet({"p": [1.0, 2.0], "q": [3.0, 4.0], "target": [0, 1]}))], "table", ("target",)),
    ],
)
def test_guesses_and_that_their_options_read(files: list[SourceFile], modality: str, labels: tuple[str, ...]) -> None:
    found = guess(files)
    assert (found.modality, found.label_candidates) == (modality, labels)
    assert found.why and 0 < found.confidence <= 1
    assert not set(labels) & set(found.options.get("columns", ()))
    readable = "jpeg" not in found.columns
    if readable:
        assert MODALITY_IMPLEMENTATIONS[modality].read(files, parse_options(found.to_json()["options"])).batch.n > 0


def test_folders_are_offered_as_labels() -> None:
    assert guess([source("set/cat/1.png", picture()), source("set/dog/2.png", picture())]).folder_labels == ("cat", "dog")
    assert guess([source("a.zip", zipped({"p/1.png": picture(), "q/2.png": picture()}))]).folder_labels == ("p", "q")
    assert guess([source("set/1.png", picture()), source("set/2.png", picture())]).folder_labels == ()


def test_a_file_that_belies_its_name_lowers_the_confidence() -> None:
    liar = guess([source("a.png", b"GIF89a")])
    assert liar.confidence < 0.5 and "does not begin as its name says" in liar.why


@pytest.mark.parametrize(
    "file",
    [
        source("a.exe", b"MZ"),
        source("a.zip", zipped({"a.txt": b"x"})),
        source("a.zip", b"PK"),
        source("a.csv", ""),
        source("a.npz", zipped({})),
        source("a.npy", npy(np.zeros(3))),
    ],
)
def test_what_cannot_be_samples_is_refused_with_a_next_step(file: SourceFile) -> None:
    with pytest.raises(UnreadableSamples) as caught:
        guess([file])
    assert caught.value.fix


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("image/digits_mnist.npz", "image"),
        ("image/objects_cifar10.npz", "image"),
        ("image/originals_pacs/photo_dog_0.jpg", "image"),
        ("activity/umafall_wrist.npz", "series"),
        ("activity/hapt_waist_phone.npz", "series"),
        ("text/reviews_dvd.parquet", "text"),
        ("text/questions_trec.parquet", "text"),
        ("text/spam_sms.parquet", "text"),
        ("nlp/sentiment_mpqa_phrases.parquet", "text"),
        ("em/beer.parquet", "pair"),
        ("em/wdc_cameras.parquet", "pair"),
        ("em/fodors_zagats.parquet", "pair"),
    ],
)
def test_real_files(path: str, modality: str) -> None:
    found = guess([real(path)])
    assert found.modality == modality
    if modality in ("text", "pair"):
        assert found.label_candidates[0] == "label"
