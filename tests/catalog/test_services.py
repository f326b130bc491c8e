"""Writes over catalog rows: states, reviews, aliases, deletion and what comes free."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db.models import Model
from django.utils import timezone

from accounts.models import AuditEvent, Team, User
from catalog import services
from catalog.errors import NameTaken, NotYours, WrongState
from catalog.labels import label_key
from catalog.models import Alias, ModelVersion, RegisteredModel, Review, Tensor, VersionFile, VersionState
from catalog.services.models import ModelDetails
from catalog.services.reclaim import PACK_GRACE_SECONDS
from catalog.storage import blob_path, incoming_folder, pack_path
from gpuworker.core.errors import SpecError
from jobs.models import Job
from search.models import Candidate, SampleSet, Search
from tests.catalog.makers import LABELS, image_spec, make_model, make_version, onnx_bytes, published_row, upload
from uploads.errors import NotClaimable
from uploads.models import Upload

pytestmark = pytest.mark.django_db


def ready(model: RegisteredModel, actor: User) -> ModelVersion:
    """A version as the checks leave it."""
    version = make_version(model, actor)
    ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.READY, parameters=7, architecture="MLP", latency_ms=0.5)
    return ModelVersion.objects.get(pk=version.pk)


def actions(subject: Model) -> list[str]:
    """What the audit log says of one row; numbers of other tables may be the same."""
    about = AuditEvent.objects.filter(object_type=subject._meta.model_name, object_id=str(subject.pk))
    return list(about.order_by("id").values_list("action", flat=True))


def test_label_key_ignores_order_case_and_outer_spaces() -> None:
    assert label_key(["Cat", " dog"]) == label_key(["DOG ", "cat"]) != label_key(["cat"])
    assert label_key(["a", "b"]) != label_key(["a,b"]), "names are not run together"


def test_a_name_is_taken_once(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    with pytest.raises(NameTaken, match="already"):
        make_model(team, alice)
    services.model_delete(model=model, actor=alice)
    with pytest.raises(NameTaken) as caught:
        make_model(team, alice)
    assert "restored until" in caught.value.detail
    assert make_model(alice.personal_team, alice).name == model.name


def test_a_version_takes_its_files_over(team: Team, alice: User) -> None:
    content = onnx_bytes()
    version = make_version(make_model(team, alice), alice, content)
    file = version.files.get()
    assert (incoming_folder(version.pk) / str(file.pk)).read_bytes() == content
    assert not Upload.objects.exists()
    assert version.state == VersionState.CHECKING and version.number == 1
    assert Job.objects.get().url == version.get_absolute_url()
    assert make_version(version.model, alice).number == 2
    assert actions(version) == ["version.create"]


def test_a_refused_version_leaves_the_uploads_alone(team: Team, alice: User, bob: User) -> None:
    model = make_model(team, alice)
    own, foreign = upload(alice, "m.onnx", onnx_bytes()), upload(bob, "n.onnx", onnx_bytes())
    for files, spec, error in (
        ([own], {"modality": "image"}, SpecError),
        (
            [own],
            {"modality": "text", "input": {"kind": "hashed_ngrams", "features": 8}, "output": {"kind": "logits"}, "labels": ["a", "b"]},
            SpecError,
        ),
        ([own, foreign], image_spec(), NotClaimable),
    ):
        with pytest.raises(error):
            services.version_create(model=model, files=files, spec=spec, actor=alice)
    own.refresh_from_db()
    assert not own.claimed and own.path.exists()
    assert not ModelVersion.objects.exists() and not Job.objects.exists()


def test_submit_review_publish(team: Team, alice: User, dan: User, carol: User) -> None:
    version = ready(make_model(team, dan), dan)
    services.version_submit(version=version, actor=dan, comment="Look")
    review = services.review_decide(version=version, decision=Review.Decision.APPROVE, reason="", actor=carol)
    version.refresh_from_db()
    model = version.model
    assert (version.state, model.published_version_id) == (VersionState.PUBLISHED, version.pk)
    assert (model.parameters, model.architecture, model.n_labels, model.label_key) == (7, "MLP", 3, label_key(LABELS))
    assert RegisteredModel.objects.filter(text="fox").exists(), "labels are part of the full text"
    told = Job.objects.get(kind="catalog.review")
    assert told.owner == dan and told.url == version.get_absolute_url() and "approved" in told.label
    assert actions(version) == ["version.create", "version.submit", "review.decide"]
    assert review.reviewer == carol
    with pytest.raises(WrongState):
        services.review_decide(version=version, decision=Review.Decision.REJECT, reason="x", actor=carol)


@pytest.mark.parametrize(
    ("decision", "state"), [(Review.Decision.ASK, VersionState.READY), (Review.Decision.REJECT, VersionState.REJECTED)]
)
def test_asking_and_rejecting_need_a_reason_the_author_sees(team: Team, dan: User, carol: User, decision: str, state: str) -> None:
    version = services.version_submit(version=ready(make_model(team, dan), dan), actor=dan)
    with pytest.raises(WrongState, match="reason"):
        services.review_decide(version=version, decision=decision, reason="  ", actor=carol)
    services.review_decide(version=version, decision=decision, reason="Which data?", actor=carol)
    version.refresh_from_db()
    assert version.state == state
    assert Job.objects.get(kind="catalog.review").progress_text == "Which data?"


def test_who_may_review(team: Team, alice: User, dan: User, carol: User, operator: User) -> None:
    own = services.version_submit(version=ready(make_model(team, carol), carol), actor=carol)
    for person in (carol, dan):
        with pytest.raises(NotYours):
            services.review_decide(version=own, decision="approve", reason="", actor=person)
    services.review_decide(version=own, decision="approve", reason="", actor=alice)
    personal = services.version_submit(version=ready(make_model(carol.personal_team, carol), carol), actor=carol)
    services.review_decide(version=personal, decision="approve", reason="", actor=carol)
    assert AuditEvent.objects.get(action="review.decide", object_id=str(personal.pk)).after["own"] is True
    by_operator = services.version_submit(version=ready(make_model(team, operator, "x"), operator), actor=operator)
    services.review_decide(version=by_operator, decision="approve", reason="", actor=operator)


def test_archiving_the_published_version_falls_back(team: Team, alice: User, carol: User) -> None:
    model = make_model(team, alice)
    versions = []
    for parameters in (10, 20):
        version = services.version_submit(version=ready(model, alice), actor=alice)
        services.review_decide(version=version, decision="approve", reason="", actor=carol)
        ModelVersion.objects.filter(pk=version.pk).update(parameters=parameters)
        versions.append(version)
    services.alias_set(model=model, name="production", version=ModelVersion.objects.get(pk=versions[1].pk), actor=alice)
    services.version_archive(version=versions[1], actor=alice)
    model.refresh_from_db()
    assert model.published_version_id == versions[0].pk and model.parameters == 10
    assert not Alias.objects.exists()
    services.version_archive(version=versions[0], actor=alice)
    model.refresh_from_db()
    assert model.published_version is None and model.parameters is None


def test_aliases_move_and_are_audited(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    one, two = ready(model, alice), ready(model, alice)
    services.alias_set(model=model, name="production", version=one, actor=alice)
    alias = services.alias_set(model=model, name="production", version=two, actor=alice)
    assert Alias.objects.get().version == two
    assert AuditEvent.objects.filter(action="alias.set").latest("id").before == {"version": 1}
    services.alias_delete(alias=alias, actor=alice)
    with pytest.raises(WrongState):
        services.alias_set(model=model, name="production", version=make_version(model, alice), actor=alice)


def test_model_update_audits_only_what_changed(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    same = ModelDetails(title=model.title, task=model.task)
    services.model_update(model=model, details=same, actor=alice)
    assert actions(model) == ["model.create"]
    services.model_update(model=model, details=ModelDetails(title="Zebras", task=model.task), actor=alice)
    assert AuditEvent.objects.get(action="model.update").after == {"title": "Zebras"}
    assert RegisteredModel.objects.filter(text="zebra").exists()


def store(version: ModelVersion, keys: list[str], pack: str) -> None:
    """Tensor rows of a version in one pack file of 100 bytes each."""
    path = pack_path(pack)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"0" * 100 * len(keys))
    for place, key in enumerate(keys):
        tensor, _ = Tensor.objects.get_or_create(
            key=key * 64, defaults={"dtype": "float32", "shape": [25], "nbytes": 100, "pack": pack, "offset": 100 * place}
        )
        version.tensors.add(tensor)


def test_purging_gives_bytes_back_and_spares_what_others_use(team: Team, alice: User) -> None:
    goes, stays = published_row(team, alice, "goes"), published_row(team, alice, "stays")
    one, two = goes.versions.get(), stays.versions.get()
    store(one, ["a", "b"], "1" * 64)
    store(two, ["b"], "1" * 64)
    store(one, ["c"], "2" * 64)
    for version, sha, size in ((one, "d" * 64, 40), (one, "e" * 64, 50), (two, "e" * 64, 50)):
        VersionFile.objects.create(version=version, name="f", size=size, sha256=sha)
        blob_path(sha).write_bytes(b"0" * size)
    assert services.reclaimable_bytes(goes) == 100 + 100 + 40
    services.model_delete(model=goes, actor=alice)
    assert services.model_purge(model=goes, actor=alice) == 100 + 40, "pack 1 still holds a tensor in use, blob e another file"
    assert set(Tensor.objects.values_list("key", flat=True)) == {"b" * 64}
    assert pack_path("1" * 64).exists() and not pack_path("2" * 64).exists()
    assert blob_path("e" * 64).exists() and not blob_path("d" * 64).exists()
    assert not RegisteredModel.objects.filter(name="goes").exists()
    services.model_delete(model=stays, actor=alice)
    assert services.model_purge(model=stays, actor=alice) == 200 + 50
    assert not Tensor.objects.exists()


def test_a_purged_model_stays_readable_in_old_searches(team: Team, alice: User) -> None:
    model = published_row(team, alice, "seen")
    version = model.versions.get()
    store(version, ["a"], "1" * 64)
    samples = SampleSet.objects.create(owner=alice, name="s")
    search = Search.objects.create(owner=alice, sample_set=samples, name="q")
    Candidate.objects.create(search=search, version=version)
    services.model_delete(model=model, actor=alice)
    assert services.model_purge(model=model, actor=alice) == 100
    version.refresh_from_db()
    assert version.state == VersionState.ARCHIVED and version.model.title == "Seen" and version.program is None
    assert not RegisteredModel.objects.deleted_of(alice).exists() and not RegisteredModel.objects.visible_to(alice).exists()
    make_model(team, alice, "seen")


def test_restoring_brings_everything_back(team: Team, alice: User) -> None:
    model = published_row(team, alice, "back")
    services.model_delete(model=model, actor=alice)
    assert not RegisteredModel.objects.visible_to(alice).filter(name="back").exists()
    services.model_restore(model=model, actor=alice)
    assert RegisteredModel.objects.visible_to(alice).get(name="back").published_version is not None
    assert actions(model)[-2:] == ["model.delete", "model.restore"]


def test_the_sweep_purges_what_is_overdue_and_what_nobody_refers_to(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young = published_row(team, alice, "old"), published_row(team, alice, "young")
    for model, days in ((old, 15), (young, 13)):
        services.model_delete(model=model, actor=alice)
        RegisteredModel.objects.filter(pk=model.pk).update(deleted=timezone.now() - timedelta(days=days))
    version = make_version(make_model(team, alice), alice)
    ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.REJECTED, created=timezone.now() - timedelta(days=8))
    orphan = pack_path("f" * 64)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"0" * 10)
    services.catalog_sweep()
    assert orphan.exists(), "a fresh pack may belong to a check that has not committed yet"
    monkeypatch.setattr("catalog.services.reclaim.PACK_GRACE_SECONDS", -1)
    assert services.catalog_sweep() >= 10
    assert not orphan.exists()
    assert not incoming_folder(version.pk).exists()
    assert set(RegisteredModel.objects.exclude(deleted=None).values_list("name", flat=True)) == {"young"}
    assert PACK_GRACE_SECONDS > 3600


def test_packs_of_live_tensors_survive_the_sweep(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    version = published_row(team, alice, "kept").versions.get()
    store(version, ["a"], "9" * 64)
    monkeypatch.setattr("catalog.services.reclaim.PACK_GRACE_SECONDS", -1)
    services.catalog_sweep()
    assert pack_path("9" * 64).exists()


def test_files_stay_below_the_data_folder(team: Team, alice: User) -> None:
    version = make_version(make_model(team, alice), alice, name="../../etc/passwd.onnx")
    assert Path(settings.BLOB_DIR) in (incoming_folder(version.pk) / "x").parents
    assert [path.name for path in incoming_folder(version.pk).iterdir()] == [str(version.files.get().pk)]
