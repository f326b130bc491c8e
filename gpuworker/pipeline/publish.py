"""Checking a version: read the file, try the model, compute its behaviour signature, run it on the probes, tidy up.

Each step writes its result and its name in one transaction under the job's lease, so a check that is taken up after a
kill goes on after the last finished step. A person's error leaves the version rejected and nothing else touched.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from django.conf import settings

from catalog import services
from catalog.facts import CheckedModel, ModelFacts, TensorPlace
from catalog.labels import canonical_label
from catalog.models import ModelVersion, VersionState
from catalog.storage import blob_path, incoming_folder, move_into, reference_folder, remove_file, remove_folder
from gpuworker.core.errors import SpecError, UnreadableModel, UserError
from gpuworker.core.program.keys import value_keys
from gpuworker.core.program.model import Program, parse_value
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.costs import costs_of, priced, work_of
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.probe_runs import version_answer
from gpuworker.pipeline.reference import LoadedReference, reference_open, reference_sign, reference_slice
from gpuworker.pipeline.sandboxed import RunnableVersion
from jobs.models import JobState

STORE_TRIES = 3
MAX_CONFIG_BYTES = 1 << 20


def check_version(lease: Lease) -> None:
    """Job catalog.version_check."""
    version = ModelVersion.objects.select_related("model__team", "created_by").get(pk=lease.job.subject_id)
    if version.state == VersionState.REJECTED and incoming_folder(version.pk).is_dir():
        # The job was started anew from the job list: its earlier end no longer counts.
        with lease.write():
            services.version_check_resume(version=version)
    if version.state != VersionState.CHECKING:
        return
    check = VersionCheck(lease, version)
    if not check.done("model"):
        check.read_model()
    if not (check.done("trial") and check.done("signature") and check.done("probes")):
        with reference_open(lease, version) as reference:
            if not check.done("trial"):
                check.try_model(reference)
            if reference is not None and not check.done("signature"):
                check.sign(reference)
            if not check.done("probes"):
                check.answer_probes(reference)
    check.finish()


def version_ended(lease: Lease, state: JobState, error: UserError | None) -> None:
    """Show on the version what its job ended with, in the job's final transaction."""
    if state == JobState.SUCCEEDED:
        return
    version = ModelVersion.objects.select_related("model__team").get(pk=lease.job.subject_id)
    if version.state == VersionState.CHECKING:
        stopped = UserError("The check was stopped.", fix="Start it again from the version's page.")
        services.version_check_reject(version=version, error=error or stopped)


class VersionCheck:
    """One attempt at one version. `version` is kept in step with its row."""

    def __init__(self, lease: Lease, version: ModelVersion) -> None:
        self.lease = lease
        self.version = version

    def done(self, step: str) -> bool:
        return any(item["key"] == step for item in self.version.checks)

    def read_model(self) -> None:
        """File -> program and tensors. Tensors the store already has are not written again."""
        started = time.perf_counter()
        self.lease.progress(0.1, "Reading the model file")
        files, config = self._files()
        staged = sandboxed.read_model(files, format_key=self.version.format, config=config)
        program = Program.from_json(staged.program)
        if {weight.key for weight in program.weights} != set(staged.tensors):
            raise UnreadableModel("The model's tensors do not fit its operators.", fix="Export the model again.")
        _check_labels(self.version, list(staged.facts["labels"]))
        self.lease.progress(0.3, "Storing tensors")
        for attempt in range(STORE_TRIES):
            checked = self._store(staged, program)
            try:
                with self.lease.write():
                    services.version_model_apply(version=self.version, checked=checked, seconds=time.perf_counter() - started)
                return
            except services.TensorsVanished:
                # A model that shared them was purged between our look and our write: they are written again.
                if attempt == STORE_TRIES - 1:
                    raise

    def _files(self) -> tuple[list[tuple[str, Path]], dict[str, object] | None]:
        """Model files by name; a config.json among them is parsed apart."""
        folder, config = incoming_folder(self.version.pk), None
        files = []
        for row in self.version.files.all():
            path = folder / str(row.pk)
            if row.name.rsplit("/", 1)[-1] == "config.json":
                config = _json_object(path, row.name)
            else:
                files.append((row.name, path))
        return files, config

    def _store(self, staged: sandboxed.StagedModel, program: Program) -> CheckedModel:
        keys = tuple(staged.tensors)
        known = services.tensors_known(keys)
        new: dict[str, torch.Tensor] = {key: tensor for key, tensor in staged.tensors.items() if key not in known}
        places = tuple(TensorPlace(**asdict(place)) for place in sandboxed.store().write_pack(new))
        walls = sandboxed.sandbox().walls()
        found = staged.facts
        facts: ModelFacts = {
            "operators": found["op_counts"],
            "inputs": found["inputs"],
            "outputs": list(found["outputs"]),
            "producer": found["producer"],
            "opset": found["opset"],
            "fixed_batch": program.fixed_batch,
            "n_tensors": len(keys),
            "shared_tensors": len(known),
            "file_labels": list(found["labels"]),
            "notes": list(found["notes"]),
            "walls": list(walls.sentences),
            "walls_grade": walls.grade,
        }
        return CheckedModel(
            format=found["format"],
            program=program.to_json(),
            program_hash=program_hash(program),
            facts=facts,
            architecture=found["family"],
            parameters=found["parameters"],
            tensor_bytes=found["bytes"],
            keys=keys,
            new=places,
        )

    def try_model(self, reference: LoadedReference | None) -> None:
        """A tiny batch: shape, number of labels, finite values, probabilities; and how long and how much, here and on other devices."""
        started = time.perf_counter()
        self.lease.progress(0.5, "Trying the model")
        runnable = RunnableVersion.of(self.version)
        measured = reference.runner.try_model(runnable) if reference else sandboxed.try_without_samples(runnable)
        work = work_of(self.version, partial(reference.runner.footprint if reference else sandboxed.footprint_without_samples, runnable))
        facts: ModelFacts = {"device": sandboxed.device(), "trial_on": "reference samples" if reference else "made-up samples"}
        with self.lease.write():
            services.version_trial_apply(
                version=self.version,
                facts=facts,
                latency_ms=float(measured["latency_ms"]),
                memory_bytes=int(measured["memory_bytes"]),
                work=work,
                costs=costs_of(self.version.pk, work, priced()),
                seconds=time.perf_counter() - started,
            )

    def sign(self, reference: LoadedReference) -> None:
        """Run over the whole reference sample and keep its behaviour signature, and the slice that its publisher opted in."""
        started = time.perf_counter()
        signature = reference_sign(self.lease, self.version, reference)
        piece = reference_slice(self.version, reference)
        seconds = time.perf_counter() - started
        with self.lease.write():
            services.version_reference_apply(
                version=self.version, reference=reference.checked, signature=signature, piece=piece, seconds=seconds
            )

    def answer_probes(self, reference: LoadedReference | None) -> None:
        """Run over the probes of others and over the own slice; each slice's answers are stored before the next."""
        started = time.perf_counter()
        self.lease.progress(0.9, "Answering probes")
        count = version_answer(self.lease, self.version, reference.hashes if reference else None)
        with self.lease.write():
            services.version_probes_apply(version=self.version, answered=count, seconds=time.perf_counter() - started)

    def finish(self) -> None:
        """Originals to their place, raw reference rows off the disk, version ready. Files first: each move can be repeated."""
        self.lease.progress(0.95, "Tidying up")
        kept = bool(settings.KEEP_ORIGINAL_FILES)
        for row in self.version.files.all():
            source = incoming_folder(self.version.pk) / str(row.pk)
            if kept:
                move_into(source, blob_path(row.sha256))
        remove_folder(incoming_folder(self.version.pk))
        reference = getattr(self.version, "reference", None)
        if reference is not None:
            for file in reference.files:
                remove_file(reference_folder(self.version.pk) / file["stored"])
        with self.lease.write():
            services.version_check_finish(version=self.version, kept=kept, raw_deleted=reference is not None)


def program_hash(program: Program) -> str:
    """Equal for programs whose outputs are the same computation over the same weights."""
    keys = value_keys(program)
    parts = []
    for output in program.outputs:
        kind, index, result = parse_value(output.value)
        parts.append(f"{keys[index]}.{result}" if kind == "v" else output.value)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _check_labels(version: ModelVersion, in_file: list[str]) -> None:
    """A file that names its own classes: the same names in another order would give every sample a wrong label."""
    found, given = [canonical_label(label) for label in in_file], [canonical_label(label) for label in version.labels]
    if found and found != given and sorted(found) == sorted(given):
        raise SpecError(
            "The labels stand in another order than in the model file.",
            detail=f"The file says {', '.join(in_file[:10])}; the spec says {', '.join(version.labels[:10])}.",
            fix="Use the order of the file.",
        )


def _json_object(path: Path, name: str) -> dict[str, object]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UnreadableModel(
            f"{name} is too large.", detail=f"At most {MAX_CONFIG_BYTES} bytes are read.", fix="Upload the model's own config.json."
        )
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"{name} is not JSON.", detail=str(error)[:200], fix="Upload the model's own config.json.") from error
    if not isinstance(document, dict):
        raise UnreadableModel(f"{name} is not a JSON object.", fix="Upload the model's own config.json.")
    return document
