from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from gpuworker.core import specs
from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS, VALUES, WORDS
from gpuworker.core.modalities.batches import dump_batch, load_batch, take
from gpuworker.core.modalities.options import ReadOptions, parse_options
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.protocols import SampleBatch

from .build import npz, picture, source, spec_input

SHEET = "left_a,right_a,number\nwarm tea,warm tea,1\ncold cup,hot cup,2\nfree day,long day,3\n"


def batch(key: str) -> SampleBatch:
    files = {
        "image": [source(f"{i}.png", picture(seed=i, size=(8 + i, 9))) for i in range(3)],
        "text": [source("a.txt", "warm tea\ncold cup\nfree day")],
        "series": [source("a.npz", npz(x=np.random.default_rng(0).normal(size=(3, 12, 2))))],
        "table": [source("a.csv", SHEET)],
        "pair": [source("a.csv", SHEET)],
    }[key]
    return MODALITY_IMPLEMENTATIONS[key].read(files, ReadOptions()).batch


def test_every_modality_is_implemented_and_no_other() -> None:
    assert set(MODALITY_IMPLEMENTATIONS) == set(specs.MODALITIES)
    assert set(VALUES) | set(WORDS) == set(specs.MODALITIES)
    assert not set(VALUES) & set(WORDS)


@pytest.mark.parametrize("key", specs.MODALITIES)
def test_contract(key: str) -> None:
    """What every modality keeps: meta names it, batches survive storage, features go by row, previews are JSON."""
    read = batch(key)
    module = MODALITY_IMPLEMENTATIONS[key]
    assert read.modality == key == read.meta["modality"] and read.n == 3
    again = load_batch(dump_batch(read))
    features = module.features(again)
    assert features.dtype == np.float32 and features.shape[0] == 3 and np.isfinite(features).all()
    np.testing.assert_allclose(module.features(take(again, [2, 0])), features[[2, 0]], atol=1e-5)
    assert module.preview(again, 1) == module.preview(read, 1)
    assert module.preview(read, 1)["kind"]
    if key in VALUES:
        assert len(VALUES[key](read)) == 3
    if key in WORDS:
        assert [len(words) > 0 for words in WORDS[key](read)] == [True] * 3


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"colour": 1}, "colour"),
        ({"limit": 0}, "limit"),
        ({"columns": "text"}, "columns"),
        ({"labels_from": "guess"}, "labels_from"),
        ({"where_column": "a"}, "where_value"),
        ({"stride": 2}, "window"),
        ([], "object"),
    ],
)
def test_reading_options_are_strict(document: dict[str, object], words: str) -> None:
    with pytest.raises(UnreadableSamples, match=words):
        parse_options(document)


def test_reading_options_round_trip() -> None:
    assert parse_options({"columns": ["a"], "window": 4, "scale": 0.5}) == ReadOptions(columns=("a",), window=4, scale=0.5)
    assert parse_options({}) == ReadOptions()


def test_a_long_list_of_problems_is_cut_and_counted() -> None:
    log = ProblemLog(2)
    for i in range(5):
        log.add("a.csv", f"bad {i}", i)
    *listed, last = log.finish()
    assert len(listed) == 2 and "3 more problems" in last.reason
    assert "And 3 more." in log.nothing_usable("fix").detail


SEALED = """
import io, json, os, sys, threading
sys.path.insert(0, os.getcwd())
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS, guess, options, warm_up
from gpuworker.core.protocols import SourceFile
warm_up()
def refused(event, args):
    if event in ("open", "os.fork", "os.exec", "subprocess.Popen", "socket.__new__", "os.listdir", "os.scandir") or event == "import":
        raise PermissionError(f"{event} {args[:1]}")
specs = json.loads(sys.argv[1])
data = {}
for item in sys.stdin.buffer.read().split(b"||||")[:-1]:
    name, _, raw = item.partition(b"::::")
    data[name.decode()] = raw
sys.addaudithook(refused)
READ = {"image": ["a.png", "a.jpg", "a.webp"], "text": ["a.csv"], "series": ["a.npz"], "table": ["a.csv"], "pair": ["a.csv"]}
for key, name in [(key, name) for key, names in READ.items() for name in names]:
    file = SourceFile(name, io.BytesIO(data[name]), len(data[name]))
    assert guess.guess([file]).confidence > 0
    batch = MODALITY_IMPLEMENTATIONS[key].read([file], options.parse_options({})).batch
    MODALITY_IMPLEMENTATIONS[key].features(batch)
    MODALITY_IMPLEMENTATIONS[key].preview(batch, 0)
    for spec in specs[key]:
        assert len(MODALITY_IMPLEMENTATIONS[key].encode(batch, 0, batch.n, spec, ["x"])["x"]) == batch.n
assert "torch" not in sys.modules
print("sealed", threading.active_count())
"""


SPECS = {
    "image": [spec_input("image", height=4, width=4, channels=3, resize="fit", interpolation="lanczos")],
    "text": [
        spec_input("text", kind="hashed_ngrams", features=64, weighting="log"),
        spec_input("text", kind="tokenizer", max_length=4, tokenizer=json.loads(Tokenizer(WordLevel({"a": 0}, unk_token="a")).to_str())),
    ],
    "series": [spec_input("series", window=4, channels=["p", "q"])],
    "table": [spec_input("table", columns=[{"name": "number", "kind": "numeric"}])],
    "pair": [
        spec_input("pair", kind="similarity", attributes=["a"]),
        spec_input("pair", kind="hashed_pair", features=64),
        spec_input("pair", kind="record_similarity", features=8),
    ],
}


def test_after_warm_up_nothing_is_opened_imported_or_started() -> None:
    files = {
        "a.png": picture(),
        "a.jpg": picture("JPEG"),
        "a.webp": picture("WEBP"),
        "a.csv": SHEET.encode(),
        "a.npz": npz(x=np.zeros((2, 12, 2), np.float32), channel_names=["p", "q"]),
    }
    given = io.BytesIO()
    for name, raw in files.items():
        given.write(name.encode() + b"::::" + raw + b"||||")
    done = subprocess.run([sys.executable, "-c", SEALED, json.dumps(SPECS)], input=given.getvalue(), capture_output=True, check=False)
    assert done.stdout == b"sealed 1\n", done.stderr.decode()[-1_500:]
