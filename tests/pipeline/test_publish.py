"""The check of a version, with the real sandbox and real small models."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from accounts.models import AuditEvent, Team, User
from catalog import services
from catalog.models import ModelVersion, ReferenceSample, Signature, Tensor, VersionState
from catalog.storage import blob_path, incoming_folder, probes_path, reference_folder
from gpuworker.core.errors import FormatRefused, SpecError
from gpuworker.core.modalities.batches import load_batch
from gpuworker.core.probesets.selection import kept_rows
from gpuworker.pipeline import publish, sandboxed, slices
from gpuworker.pipeline.arrays import load_arrays
from gpuworker.pipeline.lease import Cancelled, Lease, run_job
from jobs.models import Job, JobState
from tests.catalog.makers import LABELS, check, image_spec, make_model, make_version, onnx_bytes, pt2_bytes, reference_bytes, upload
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)


def bytes_on_disk(needle: bytes) -> list[Path]:
    """Files below the data folder that hold these bytes."""
    return [path for path in settings.DATA_DIR.rglob("*") if path.is_file() and needle in path.read_bytes()]


def test_onnx_is_published_end_to_end(team: Team, alice: User) -> None:
    content = onnx_bytes()
    version = check(make_version(make_model(team, alice), alice, content, reference=reference_bytes()))
    assert (version.state, version.error_title) == (VersionState.READY, "")
    assert version.parameters == 16 * 3 + 3
    assert version.architecture == "Linear"
    assert version.program is not None and version.program["opset"] >= 1
    assert version.latency_ms and version.latency_ms > 0
    assert version.facts["walls"] and version.facts["operators"]
    assert [step["key"] for step in version.checks] == ["model", "trial", "signature", "probes"]
    assert set(version.tensors.values_list("key", flat=True)) == {weight["key"] for weight in version.program["weights"]}
    file = version.files.get()
    assert blob_path(file.sha256).read_bytes() == content
    assert not incoming_folder(version.pk).exists()
    signature = version.signature
    arrays = load_arrays(signature.arrays)
    assert signature.n == 60
    assert signature.accuracy == pytest.approx(arrays["accuracy.correct"][0] / 60)
    assert sum(signature.summary["true_counts"]) == 60
    assert len(signature.summary["recalls"]) == 3


def test_pt2_is_published_end_to_end(team: Team, alice: User) -> None:
    version = check(make_version(make_model(team, alice), alice, pt2_bytes(), "model.pt2", reference=reference_bytes()))
    assert (version.state, version.error_title) == (VersionState.READY, "")
    assert version.format == "pt2"


def test_submits_itself_when_asked(team: Team, alice: User) -> None:
    version = check(make_version(make_model(team, alice), alice, submit=True))
    assert version.state == VersionState.IN_REVIEW
    assert AuditEvent.objects.filter(action="version.submit", object_id=version.pk, actor=alice).exists()


@pytest.mark.parametrize(
    ("content", "spec", "said"),
    [
        (onnx_bytes(classes=4), image_spec(), ("3 numbers", "[8, 4]")),
        (onnx_bytes(weights=np.full((16, 3), np.nan)), image_spec(), ("NaN",)),
        (onnx_bytes(), image_spec(output={"kind": "probabilities"}), ("probabilit",)),
        (onnx_bytes(), image_spec(input={"height": 5, "width": 5, "channels": 1, "layout": "flat"}), ("16", "25")),
        (onnx_bytes()[:-40], image_spec(), ()),
    ],
    ids=["label count", "NaN", "no probabilities", "input shape", "truncated"],
)
def test_what_does_not_fit_is_rejected_with_expected_and_found(
    team: Team, alice: User, content: bytes, spec: dict[str, object], said: tuple[str, ...]
) -> None:
    version = check(make_version(make_model(team, alice), alice, content, spec=spec, reference=reference_bytes()))
    told = " ".join((version.error_title, version.error_detail, version.error_fix))
    assert version.state == VersionState.REJECTED
    assert version.error_title and version.error_fix
    for part in said:
        assert part in told
    assert Job.objects.get(subject_id=version.pk).state == JobState.FAILED
    assert incoming_folder(version.pk).is_dir(), "nothing is lost: the file waits for a corrected spec"
    assert not Signature.objects.exists()


def test_a_pickle_is_refused_before_anything_is_made(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    sent = upload(alice, "model.onnx", b"\x80\x04\x95\x10\x00\x00\x00" + b"x" * 100)
    with pytest.raises(FormatRefused):
        services.version_create(model=model, files=[sent], spec=image_spec(), actor=alice)
    assert not ModelVersion.objects.exists()
    sent.refresh_from_db()
    assert not sent.claimed and sent.path.exists()


def test_a_broken_spec_is_refused_before_anything_is_made(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    sent = upload(alice, "model.onnx", onnx_bytes())
    with pytest.raises(SpecError, match="labels"):
        services.version_create(model=model, files=[sent], spec=image_spec() | {"labels": ["one"]}, actor=alice)
    assert Upload.objects.get().claimed is False


def test_a_rejected_version_is_corrected_without_a_second_upload(team: Team, alice: User) -> None:
    version = check(make_version(make_model(team, alice), alice, onnx_bytes(classes=4), reference=reference_bytes()))
    assert version.state == VersionState.REJECTED
    services.version_recheck(version=version, actor=alice, spec=image_spec([*LABELS, "owl"]))
    version = check(version)
    assert (version.state, version.error_title) == (VersionState.READY, "")
    assert version.labels == [*LABELS, "owl"]


def test_unknown_reference_labels_are_named(team: Team, alice: User) -> None:
    version = check(make_version(make_model(team, alice), alice, reference=reference_bytes(labels=["cat", "dog", "yak"])))
    assert version.state == VersionState.REJECTED
    assert "yak" in version.error_detail and "fox" in version.error_detail


def test_reference_labels_in_another_order_are_matched_by_name(team: Team, alice: User) -> None:
    weights = np.zeros((16, 3), np.float32)
    content = onnx_bytes(weights=weights)  # ties: arg-max is always the first label of the spec
    plain = check(make_version(make_model(team, alice, "one"), alice, content, reference=reference_bytes()))
    turned = check(make_version(make_model(team, alice, "two"), alice, content, spec=image_spec(LABELS[::-1]), reference=reference_bytes()))
    assert turned.signature.summary["true_counts"] == plain.signature.summary["true_counts"][::-1]
    assert plain.signature.accuracy == pytest.approx(plain.signature.summary["true_counts"][0] / 60)
    assert turned.signature.accuracy == pytest.approx(plain.signature.summary["true_counts"][2] / 60)


def test_raw_reference_rows_are_gone_from_the_disk(team: Team, alice: User) -> None:
    raw = reference_bytes(n=40, seed=20_240_501)
    row = np.load(io.BytesIO(raw))["x"][7].tobytes()
    version = make_version(make_model(team, alice), alice, reference=raw)
    assert bytes_on_disk(row), "the test looks for bytes that are there beforehand"
    version = check(version)
    assert version.state == VersionState.READY
    assert bytes_on_disk(row) == [], "neither as uploaded nor in any converted form"
    assert version.reference.raw_deleted is not None and version.reference.files == []


def test_probes_keep_a_capped_labelled_slice_until_withdrawn(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "kept_rows", lambda labels, hashes: kept_rows(labels, hashes, most=12))
    version = check(
        make_version(make_model(team, alice), alice, reference=reference_bytes(), choice={"choice": ReferenceSample.Choice.PROBES})
    )
    assert load_batch(probes_path(version.pk).read_bytes()).n == 12
    assert np.bincount(np.frombuffer(bytes(version.probe_slice.row_labels), "<u2")).tolist() == [4, 4, 4]
    assert not list(reference_folder(version.pk).glob("0*")), "the raw upload itself is gone"
    freed = services.reference_withdraw(version=version, actor=alice)
    assert freed > 0 and not reference_folder(version.pk).exists()
    version.reference.refresh_from_db()
    assert version.reference.choice == ReferenceSample.Choice.SIGNATURE_ONLY


def test_tensors_are_stored_once(team: Team, alice: User) -> None:
    first = check(make_version(make_model(team, alice, "one"), alice))
    count = Tensor.objects.count()
    second = check(make_version(make_model(team, alice, "two"), alice))
    assert Tensor.objects.count() == count
    assert second.facts["shared_tensors"] == second.facts["n_tensors"] == count
    assert first.program_hash == second.program_hash


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nothing of ours may catch it."""


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_kill_at_any_step_changes_nothing_in_the_end(
    team: Team, alice: User, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    undisturbed = check(make_version(make_model(team, alice, "twin"), alice, onnx_bytes(seed=write), reference=reference_bytes()))
    version = make_version(make_model(team, alice), alice, onnx_bytes(seed=write), reference=reference_bytes())
    job = Job.objects.get(subject_id=version.pk, state="queued")
    real, writes = Lease.write, []

    @contextmanager
    def dying(self: Lease) -> Iterator[None]:
        writes.append(1)
        with real(self):
            yield
            if len(writes) == write and not after:
                raise Killed
        if len(writes) == write:
            raise Killed

    monkeypatch.setattr(Lease, "write", dying)
    with pytest.raises(Killed):
        run_job(job.pk, job.attempt, publish.check_version, publish.version_ended)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING and job.requeue()
    job.refresh_from_db()
    run_job(job.pk, job.attempt, publish.check_version, publish.version_ended)
    version.refresh_from_db()
    assert (version.state, version.error_title) == (VersionState.READY, "")
    assert [step["key"] for step in version.checks] == ["model", "trial", "signature", "probes"]
    assert version.program == undisturbed.program
    assert version.signature.content_hash == undisturbed.signature.content_hash
    assert set(version.tensors.values_list("key")) == set(undisturbed.tensors.values_list("key"))
    assert not incoming_folder(version.pk).exists() and not list(reference_folder(version.pk).glob("*"))
    assert version.reference.raw_deleted is not None
    assert AuditEvent.objects.filter(action="version.check", object_id=version.pk).count() == 1


def test_tensors_purged_meanwhile_are_written_again(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_model(team, alice, "old")
    check(make_version(old, alice))
    version = make_version(make_model(team, alice, "new"), alice)
    real = sandboxed.store().write_pack
    purges = [lambda: services.model_purge(model=services.model_delete(model=old, actor=alice), actor=alice)]

    def write_pack(tensors: object) -> object:
        found = real(tensors)  # type: ignore[arg-type]
        if purges:
            purges.pop()()
        return found

    monkeypatch.setattr(sandboxed.store(), "write_pack", write_pack, raising=False)
    version = check(version)
    assert (version.state, version.error_title) == (VersionState.READY, "")
    assert all((settings.TENSOR_DIR / "packs" / f"{pack}.safetensors").exists() for pack in version.tensors.values_list("pack", flat=True))


def test_the_signature_is_recomputed_only_when_something_changed(team: Team, alice: User) -> None:
    version = check(
        make_version(make_model(team, alice), alice, reference=reference_bytes(), choice={"choice": ReferenceSample.Choice.PROBES})
    )
    before = version.signature.computed
    ModelVersion.objects.filter(pk=version.pk).update(
        state=VersionState.CHECKING, checks=[step for step in version.checks if step["key"] != "signature"]
    )
    row = version.reference
    reference_folder(version.pk).mkdir(parents=True, exist_ok=True)
    (reference_folder(version.pk) / "0").write_bytes(reference_bytes())
    row.files = [{"name": "ref.npz", "stored": "0", "size": 1}]
    row.save()
    Job.objects.create(kind="catalog.version_check", subject_id=version.pk, label="again", lease_until="2100-01-01T00:00:00Z")
    check(version)
    assert Signature.objects.get(version=version).computed == before


def test_a_cancelled_check_says_so(team: Team, alice: User) -> None:
    version = make_version(make_model(team, alice), alice)

    def cancelled(lease: Lease) -> None:
        raise Cancelled

    job = Job.objects.get(subject_id=version.pk)
    run_job(job.pk, job.attempt, cancelled, publish.version_ended)
    version.refresh_from_db()
    assert version.state == VersionState.REJECTED and "stopped" in version.error_title


def test_labels_in_another_order_than_the_file_are_refused() -> None:
    version = ModelVersion(labels=["dog", "cat"])
    with pytest.raises(SpecError, match="another order"):
        publish._check_labels(version, ["Cat ", "dog"])
    publish._check_labels(version, ["DOG", "cat"])
    publish._check_labels(version, ["LABEL_0", "LABEL_1"])
