"""From raw outputs to log-probabilities: golden numbers for every kind, and what is said of outputs that are none."""

from __future__ import annotations

import math

import pytest
import torch

from gpuworker.core.errors import TrialFailed
from gpuworker.core.work.outputs import SMALLEST, log_probs
from tests.core.work.build import spec_of

FLAT = {"height": 2, "width": 2, "channels": 1, "layout": "flat"}
LN = math.log


def told(kind: str, rows: torch.Tensor, labels: tuple[str, ...] = ("a", "b", "c"), **output: str) -> TrialFailed:
    with pytest.raises(TrialFailed) as caught:
        log_probs({"y": rows}, spec_of("image", FLAT, kind, labels, **output))
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("kind", "labels", "given", "expected"),
    [
        ("logits", ("a", "b", "c"), [[LN(1), LN(2), LN(5)], [7.0, 7.0, 7.0]], [[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3]]),
        ("probabilities", ("a", "b", "c"), [[0.1, 0.2, 0.7], [0.25, 0.25, 0.505]], [[0.1, 0.2, 0.7], [0.24875622, 0.24875622, 0.50248756]]),
        ("sigmoid_logit", ("no", "yes"), [[LN(3)], [0.0], [-LN(9)]], [[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]),
        ("sigmoid_probability", ("no", "yes"), [[0.75], [0.0]], [[0.25, 0.75], [1 - 1e-7, 1e-7]]),
    ],
)
def test_golden_numbers(kind: str, labels: tuple[str, ...], given: list[list[float]], expected: list[list[float]]) -> None:
    found = log_probs({"y": torch.tensor(given, dtype=torch.float64)}, spec_of("image", FLAT, kind, labels))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double().exp(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("kind", "rows"), [("logits", [[1000.0, 0.0, 0.0]]), ("probabilities", [[1.0, 0.0, 0.0]])])
def test_nothing_is_less_likely_than_what_can_be_stored(kind: str, rows: list[list[float]]) -> None:
    found = log_probs({"y": torch.tensor(rows)}, spec_of("image", FLAT, kind))
    assert found[0].tolist() == pytest.approx([0.0, LN(SMALLEST), LN(SMALLEST)], abs=1e-6)
    assert torch.isfinite(found.half()).all()


def test_a_sigmoid_column_may_come_as_a_vector_and_an_image_of_one_pixel_as_rows() -> None:
    vector = log_probs({"y": torch.zeros(5)}, spec_of("image", FLAT, "sigmoid_logit", ("no", "yes")))
    assert vector.shape == (5, 2)
    assert log_probs({"y": torch.zeros(5, 3, 1, 1)}, spec_of("image", FLAT)).shape == (5, 3)


@pytest.mark.parametrize("shape", [(8, 4), (8, 3, 2), (8, 0), (8,)])
def test_another_number_of_labels_names_expected_and_found(shape: tuple[int, ...]) -> None:
    assert "Expected 3 numbers per sample for 3 labels" in told("logits", torch.zeros(shape)).detail
    assert str(list(shape)) in told("logits", torch.zeros(shape)).detail


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted(bad: float) -> None:
    rows = torch.zeros(8, 3)
    rows[2, 1] = rows[2, 2] = rows[5, 0] = bad
    assert told("logits", rows).detail == "In 2 of 8 samples."


def test_probabilities_that_are_none() -> None:
    assert "sums from 0.9 to 1.5" in told("probabilities", torch.tensor([[0.2, 0.3, 0.4], [0.5, 0.5, 0.5]])).detail
    assert "from -3 to 4" in told("probabilities", torch.tensor([[-3.0, 4.0, 0.0]])).detail
    assert "not a probability" in told("sigmoid_probability", torch.tensor([[1.2]]), ("no", "yes")).title


def test_the_output_is_chosen_by_name_or_is_the_first_that_is_no_label_index() -> None:
    outputs = {"label": torch.zeros(4, dtype=torch.int64), "scores": torch.tensor([[0.0, 0.0, 9.0]] * 4), "other": torch.zeros(4, 3)}
    assert log_probs(outputs, spec_of("image", FLAT)).argmax(1).tolist() == [2] * 4
    assert log_probs(outputs, spec_of("image", FLAT, name="other")).exp()[0].tolist() == pytest.approx([1 / 3] * 3)
    assert "'none'; the model gives y" in told("logits", torch.zeros(2, 3), name="none").detail
