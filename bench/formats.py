"""Which real model files are opened, and whether they then say what onnxruntime says.

    python -m bench.formats --data FOLDER --out FILE

Every file below the folder is taken through the door and its reader. An opened ONNX model runs on seeded random samples
beside onnxruntime; a refused one is right when its reason is shown true by the file itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnxruntime
import torch

from bench.report import write_report
from gpuworker.core.door import detect
from gpuworker.core.errors import FormatRefused, UnsupportedOperator, UserError
from gpuworker.core.formats import ReadModel, read_model
from gpuworker.core.program.execute import run_batched
from gpuworker.core.program.model import Program
from gpuworker.core.program.ops.kind import DTYPES

ROWS = 4
OPEN_SIZE = 16
TOLERANCE = 1e-4
_SIDE_FILES = (".md", ".txt", ".json", ".data", ".csv", ".license")


@dataclass(frozen=True, slots=True)
class Row:
    """verdict: agrees, imports (no oracle for its format), refused_rightly or wrong. difference: largest, over all outputs."""

    file: str
    format: str
    verdict: str
    reason: str
    family: str = ""
    parameters: int | None = None
    difference: float | None = None
    tolerance: float | None = None
    argmax_equal: bool | None = None


def model_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in _SIDE_FILES and not path.name.startswith(".")
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[dict[str, BinaryIO]]:
    """A model file with the data files and config.json that lie beside it, as an upload would bring them."""
    with contextlib.ExitStack() as stack:
        beside = [other for other in path.parent.iterdir() if other.name == "config.json" or other.name == f"{path.name}.data"]
        yield {file.name: stack.enter_context(file.open("rb")) for file in (path, *beside)}


def judge(path: Path, name: str) -> Row:
    """One row of the table. A defect of ours is a row too, never a crash."""
    key = path.suffix.lstrip(".")
    try:
        with opened(path) as files:
            key = detect(path.name, files[path.name], path.stat().st_size).key
            model = read_model(key, files)
            return _compare(path, name, key, model)
    except UserError as error:
        reason = f"{error.title} {error.detail}".strip()
        return Row(name, key, "refused_rightly" if _is_true(path, error) else "wrong", reason)
    except Exception as error:  # noqa: BLE001 - a crash on a real file is exactly what this table must show
        return Row(name, key, "wrong", f"crash: {type(error).__name__}: {error}"[:300])


def _compare(path: Path, name: str, key: str, model: ReadModel) -> Row:
    base = Row(name, key, "imports", "no other runtime reads this format", model.facts.family, model.facts.parameters)
    if key != "onnx":
        return base
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    samples = random_samples(model.program, ROWS)
    expected = _reference(session, samples)
    found = run_batched(model.program, model.tensors, samples, ROWS)
    dtypes = {item.dtype for item in model.program.inputs} | {item.dtype for item in model.program.weights}
    half = bool(dtypes & {"float16", "bfloat16"})
    worst, tolerance, equal = 0.0, TOLERANCE, True
    for place, (output, reference) in enumerate(expected.items()):
        ours = found[output].float().numpy()
        if ours.shape != reference.shape:
            return replace(base, verdict="wrong", reason=f"output {output}: expected shape {reference.shape}, found {ours.shape}")
        scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
        # Half precision carries 11 bits; a deep net loses a few of them in another order of summation.
        tolerance = max(tolerance, (2.0**-8 if half else TOLERANCE) * scale) if half else TOLERANCE
        worst = max(worst, float(np.abs(ours - reference).max(initial=0.0)))
        if place == 0 or "prob" in output.lower():
            equal = equal and _same_best(ours, reference, tolerance)
    verdict = "agrees" if worst <= tolerance and equal else "wrong"
    reason = "; ".join(model.facts.notes) if verdict == "agrees" else f"differs by {worst:.2e}, arg-max {'equal' if equal else 'differs'}"
    return replace(base, verdict=verdict, reason=reason, difference=worst, tolerance=tolerance, argmax_equal=equal)


def _same_best(ours: np.ndarray, reference: np.ndarray, tolerance: float) -> bool:
    """Equal arg-max along the classes; a tie within the tolerance counts as equal."""
    if reference.ndim < 2:
        return bool(np.array_equal(ours, reference)) if reference.dtype.kind in "iu" else True
    ours, reference = ours.reshape(ours.shape[0], -1), reference.reshape(reference.shape[0], -1)
    rows = np.arange(len(ours))
    return bool(np.all(reference.max(1) - reference[rows, ours.argmax(1)] <= tolerance))


def random_samples(program: Program, rows: int) -> dict[str, torch.Tensor]:
    """Seeded: floats uniform in [0, 1), integers below 256. Open sizes after the first become 16."""
    source = torch.Generator().manual_seed(11)
    made: dict[str, torch.Tensor] = {}
    for item in program.inputs:
        shape = [(rows if place == 0 else OPEN_SIZE) if size is None else size for place, size in enumerate(item.shape)]
        dtype = DTYPES[item.dtype]
        floats = torch.rand(shape, generator=source)
        made[item.name] = floats.to(dtype) if dtype.is_floating_point else (floats * (2 if dtype == torch.bool else 256)).to(dtype)
    return made


def _reference(session: Any, samples: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """onnxruntime's outputs for all samples, fed in parts of the batch the file fixes (the last part padded)."""
    fixed = session.get_inputs()[0].shape[0]
    total = next(iter(samples.values())).shape[0]
    step = fixed if isinstance(fixed, int) else total
    parts: list[list[np.ndarray]] = []
    for start in range(0, total, step):
        feed = {name: np.resize(value[start : start + step].numpy(), (step, *value.shape[1:])) for name, value in samples.items()}
        parts.append([_array(output)[: min(step, total - start)] for output in session.run(None, feed)])
    names = [output.name for output in session.get_outputs()]
    return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}


def _array(output: Any) -> np.ndarray:
    """A ZipMap output is a list of {label: probability} rows, in the order of the classes."""
    if isinstance(output, list) and output and isinstance(output[0], dict):
        return np.array([list(row.values()) for row in output], dtype=np.float32)
    return np.asarray(output)


def _is_true(path: Path, error: UserError) -> bool:
    """Whether a refusal's reason can be seen in the file, or onnxruntime cannot run it either."""
    if isinstance(error, FormatRefused):
        return True
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return "config.json" in error.detail and not (path.parent / "config.json").exists()
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime raises many kinds; any of them means it cannot run the file
        return True
    if isinstance(error, UnsupportedOperator):
        graph = onnx.load_model_from_string(data).graph
        present = {node.op_type for node in graph.node}
        named = {part.rsplit("::", 1)[-1].split(" ")[0] for part in error.detail.split(", ")}
        return bool(named) and named <= present
    return False


def run_bench(folder: Path) -> list[Row]:
    onnxruntime.set_default_logger_severity(4)
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):
        return [judge(path, path.relative_to(folder).as_posix()) for path in model_files(folder)]


def figures(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.verdict for row in rows)
    return {
        "formats.files": len(rows),
        "formats.agree": counts["agrees"],
        "formats.imported_without_oracle": counts["imports"],
        "formats.refused_rightly": counts["refused_rightly"],
        "formats.wrong": counts["wrong"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of model files, searched in full")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args(argv)
    rows = run_bench(options.data)
    found = figures(rows)
    write_report(options.out, "formats", found, {"files": [asdict(row) for row in rows]})
    for row in rows:
        print(f"{row.verdict:16} {row.file:44} {'' if row.difference is None else f'{row.difference:.1e}':8} {row.reason[:100]}")
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return 1 if found["formats.wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
