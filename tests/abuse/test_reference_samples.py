"""Reference samples that do not belong to their model: which labels, which file, which rows, and what to do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.models import Signature, VersionState
from tests.abuse.canaries import pickled
from tests.abuse.stage import Stage, told
from tests.abuse.test_sample_files import npz_of, picture, zip_of
from tests.catalog.makers import LABELS, onnx_bytes, reference_bytes

pytestmark = pytest.mark.django_db(transaction=True)


def images(n: int = 12, **arrays: Any) -> bytes:
    return npz_of(x=np.random.default_rng(2).integers(0, 256, (n, 4, 4), dtype=np.uint8), **arrays)


CASES: dict[str, tuple[dict[str, bytes], tuple[str, ...]]] = {
    "foreign names": ({"ref.npz": reference_bytes(labels=["cat", "yak", "gnu"])}, ("yak, gnu", "cat, dog, fox", "label")),
    "numbers beyond": ({"ref.npz": images(y=np.arange(12) % 5)}, ("3, 4", "cat, dog, fox")),
    "fewer labels than images": ({"ref.npz": images(y=np.arange(5))}, ("5 labels, 12 images",)),
    "another modality": ({"ref.csv": b"text,label\nmiaow,cat\n"}, ("ref.csv",)),
    "another shape": ({"ref.npz": npz_of(x=np.zeros((4, 2, 2, 2, 2)))}, ("ref.npz",)),
    "objects": ({"ref.npz": npz_of(x=np.array([{"a": 1}], dtype=object))}, ("objects",)),
    "a pickle": ({"ref.npz": pickled(Path("/nowhere"))}, ("readable zip",)),
    "nothing": ({"ref.npz": b""}, ("ref.npz",)),
    "no rows": ({"ref.npz": npz_of(x=np.zeros((0, 4, 4), np.uint8))}, ("no samples",)),
}


def test_what_does_not_belong_is_named_and_the_version_rejected(stage: Stage) -> None:
    wrong = {}
    for way, (files, says) in CASES.items():
        version = stage.publish(onnx_bytes(), reference=files)
        text = told(version)
        if version.state != VersionState.REJECTED or not all(part in text for part in says) or not version.error_fix or "our side" in text:
            wrong[way] = (version.state, text)
    assert wrong == {} and not Signature.objects.exists()
    stage.goes_on()


def test_without_labels_the_signature_says_nothing_of_accuracy(stage: Stage) -> None:
    version = stage.publish(onnx_bytes(), reference=images())
    assert version.state == VersionState.READY, told(version)
    assert version.signature.accuracy is None and "recalls" not in version.signature.summary


def test_a_sample_or_two_are_enough_to_be_honest_about(stage: Stage) -> None:
    """Nothing breaks on one row, and one row claims no more than it shows."""
    version = stage.publish(onnx_bytes(), reference=images(1, y=np.array(["cat"]), label_names=np.array(LABELS)))
    assert version.state == VersionState.READY, told(version)
    assert version.signature.n == 1 and version.signature.accuracy in (0.0, 1.0)


def test_unusable_rows_are_kept_as_problems_of_the_sample(stage: Stage) -> None:
    buffer = io.BytesIO(zip_of({"cat/one.png": picture(side=4), "dog/two.png": picture(side=4, seed=1), "fox/bad.png": b"no image"}))
    version = stage.publish(onnx_bytes(), reference={"ref.zip": buffer.getvalue()})
    assert version.state == VersionState.READY, told(version)
    assert version.signature.n == 2
    assert [item["name"] for item in version.reference.problems] == ["ref.zip/fox/bad.png"]
