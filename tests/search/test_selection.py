"""Which models a search considers: every reason to leave one out, counts, examples, label spaces, visibility, limits."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from accounts.models import Team, User, Visibility
from catalog.labels import label_key
from catalog.models import ModelVersion, RegisteredModel, VersionState
from search.candidates import outlook
from search.constraints import Constraints
from search.models import SampleSet
from search.selection import EXAMPLES, Exclusion, Selection, select
from tests.search.factories import LABELS, make_sampleset, make_version

pytestmark = pytest.mark.django_db


def names(selection: Selection) -> set[str]:
    return {version.model.name for version in selection.chosen}


def reasons(selection: Selection) -> dict[str, int]:
    return {item.key: item.count for item in selection.excluded}


def reason(selection: Selection, key: str) -> Exclusion:
    return next(item for item in selection.excluded if item.key == key)


@pytest.fixture
def samples(alice: User) -> SampleSet:
    return make_sampleset(alice)


@pytest.fixture
def good(alice: User, team: Team) -> ModelVersion:
    return make_version(alice, team, "good")


@pytest.mark.parametrize(
    ("key", "odd", "constraints", "told", "relax"),
    [
        ("labels", {"labels": ["yes", "no"]}, {"label_key": label_key(LABELS)}, "yes, no", "label_key"),
        ("licence", {"licence": "GPL-3.0"}, {"licences": ("MIT",)}, "GPL-3.0", "licences"),
        ("licence", {"licence": ""}, {"licences": ("MIT",)}, "no licence stated", "licences"),
        ("size", {"size_bytes": 3_000_000}, {"max_size_bytes": 2_000_000}, "3\xa0MB, limit 2\xa0MB", "max_size_bytes"),
        ("latency", {"latency_ms": 7.5}, {"max_latency_ms": 5.0}, "7.5 ms, limit 5 ms", "max_latency_ms"),
        ("latency", {"latency_ms": None}, {"max_latency_ms": 5.0}, "not measured", "max_latency_ms"),
    ],
    ids=["labels", "licence", "no licence", "size", "latency", "latency unknown"],
)
def test_each_constraint_leaves_out_and_says_why(
    alice: User, team: Team, samples: SampleSet, good: ModelVersion,
    key: str, odd: dict[str, Any], constraints: dict[str, Any], told: str, relax: str,
) -> None:  # fmt: skip
    make_version(alice, team, "odd", **odd)
    selection = select(alice, samples, Constraints(**constraints))
    assert names(selection) == {"good"}
    assert reasons(selection) == {key: 1}
    left = reason(selection, key)
    assert left.examples == (("vision/odd", told),)
    assert left.relax == relax and left.sentence


def test_task_team_and_memory(alice: User, team: Team, samples: SampleSet, good: ModelVersion) -> None:
    make_version(alice, team, "other-task")
    RegisteredModel.objects.filter(name="other-task").update(task="plants")
    selection = select(alice, samples, Constraints(tasks=("animals",)))
    assert (names(selection), reason(selection, "task").examples) == ({"good"}, (("vision/other-task", "plants"),))
    second = Team.objects.create(slug="second", name="Second")
    second.memberships.create(user=alice, role="publisher")
    make_version(alice, second, "elsewhere")
    selection = select(alice, samples, Constraints(teams=("second",)))
    assert (names(selection), reasons(selection)) == ({"elsewhere"}, {"team": 2})
    ModelVersion.objects.filter(model__name="good").update(memory_bytes=10_000_000)
    selection = select(alice, samples, Constraints(max_memory_bytes=5_000_000))
    assert "good" not in names(selection) and reason(selection, "memory").count == 1


def test_a_limit_is_met_exactly(alice: User, team: Team, samples: SampleSet, good: ModelVersion) -> None:
    limits = Constraints(max_latency_ms=good.latency_ms, max_size_bytes=good.size_bytes, max_memory_bytes=good.memory_bytes)
    assert names(select(alice, samples, limits)) == {"good"}


def test_input_that_does_not_fit(alice: User, team: Team) -> None:
    table = make_sampleset(
        alice,
        modality="table",
        meta={"modality": "table", "columns": [{"name": "age", "kind": "number"}, {"name": "dose", "kind": "number"}]},
    )
    fits = {"columns": [{"name": "Age", "kind": "number"}]}
    lacks = {"columns": [{"name": "age", "kind": "number"}, {"name": "weight", "kind": "number"}]}
    make_version(alice, team, "fits", modality="table", spec_input=fits)
    make_version(alice, team, "lacks", modality="table", spec_input=lacks)
    selection = select(alice, table, Constraints())
    assert names(selection) == {"fits"}
    left = reason(selection, "input")
    assert "weight" in left.examples[0][1] and left.relax == ""


def test_other_kinds_are_counted_only(alice: User, team: Team, samples: SampleSet, good: ModelVersion) -> None:
    make_version(alice, team, "pictures", modality="image")
    selection = select(alice, samples, Constraints())
    assert (names(selection), reasons(selection)) == ({"good"}, {"modality": 1})
    assert "text" in reason(selection, "modality").sentence


def test_a_model_counts_under_its_first_reason_only(alice: User, team: Team, samples: SampleSet, good: ModelVersion) -> None:
    make_version(alice, team, "wrong-in-every-way", labels=["yes", "no"], licence="GPL-3.0", latency_ms=99)
    selection = select(alice, samples, Constraints(label_key=label_key(LABELS), licences=("MIT",), max_latency_ms=5))
    assert reasons(selection) == {"labels": 1}


def test_label_spaces_largest_first(alice: User, team: Team, samples: SampleSet) -> None:
    for number in range(2):
        make_version(alice, team, f"pets-{number}", labels=["Cat", "dog "] if number else ["dog", "cat"])
    make_version(alice, team, "yes-no", labels=["yes", "no"])
    selection = select(alice, samples, Constraints())
    assert [(space.count, len(space.labels)) for space in selection.label_spaces] == [(2, 2), (1, 2)]
    assert selection.label_key == label_key(["cat", "dog"]), "without a wish the largest is searched"
    assert names(selection) == {"pets-0", "pets-1"}, "order, case and outer space make no other label space"
    other = select(alice, samples, Constraints(label_key=label_key(["no", "yes"])))
    assert names(other) == {"yes-no"} and sorted(other.labels) == ["no", "yes"]


def test_a_label_space_that_nobody_has(alice: User, samples: SampleSet, good: ModelVersion) -> None:
    selection = select(alice, samples, Constraints(label_key="0" * 64))
    assert (selection.chosen, selection.labels, reasons(selection)) == ((), (), {"labels": 1})


def test_examples_are_few_and_counts_are_whole(alice: User, team: Team, samples: SampleSet) -> None:
    for number in range(EXAMPLES + 3):
        make_version(alice, team, f"gpl-{number}", licence="GPL-3.0")
    left = reason(select(alice, samples, Constraints(licences=("MIT",))), "licence")
    assert (left.count, len(left.examples)) == (EXAMPLES + 3, EXAMPLES)


def test_no_more_than_a_search_can_run(alice: User, team: Team, samples: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SEARCH_MAX_CANDIDATES", 3)
    for number in range(5):
        make_version(alice, team, f"m{number}", accuracy=0.5 + number / 10)
    selection = select(alice, samples, Constraints())
    assert names(selection) == {"m2", "m3", "m4"}, "the most accurate by their own word come first"
    left = reason(selection, "limit")
    assert (left.count, {name for name, _ in left.examples}) == (2, {"vision/m0", "vision/m1"})


def test_only_what_a_person_may_see(people: dict[str, Any], team: Team, alice: User, samples: SampleSet) -> None:
    for visibility in (Visibility.PRIVATE, Visibility.TEAM, Visibility.PUBLIC):
        make_version(alice, team, str(visibility), visibility=visibility)
    seen = {who: names(select(user, samples, Constraints())) for who, user in people.items()}
    assert seen == {
        "owner": {"private", "team", "public"},
        "team mate": {"team", "public"},
        "outsider": {"public"},
        "anonymous": set(),
    }


def test_what_a_person_may_not_see_is_not_counted_either(charlie: User, alice: User, team: Team, samples: SampleSet) -> None:
    make_version(alice, team, "secret", licence="GPL-3.0", modality="image")
    make_version(alice, team, "hidden", licence="GPL-3.0")
    selection = select(charlie, samples, Constraints(licences=("MIT",)))
    assert (selection.chosen, selection.excluded, selection.label_spaces) == ((), (), ())


@pytest.mark.parametrize("state", [state for state in VersionState.values if state != VersionState.PUBLISHED])
def test_only_published_versions(alice: User, samples: SampleSet, good: ModelVersion, state: str) -> None:
    ModelVersion.objects.filter(pk=good.pk).update(state=state)
    assert select(alice, samples, Constraints()).chosen == ()


def test_nearest_miss_when_nothing_is_left(alice: User, team: Team, samples: SampleSet) -> None:
    make_version(alice, team, "slow", latency_ms=40.0)
    make_version(alice, team, "slower", latency_ms=90.0)
    found = outlook(alice, samples, Constraints(max_latency_ms=5, licences=("MIT",)))
    assert found.left_out == 2 and found.main is not None and found.main.key == "latency"
    assert [(item.constraint, item.gained, item.nearest) for item in found.relaxed] == [("max_latency_ms", 2, "Slow with 40 ms")]
    both = outlook(alice, samples, Constraints(max_latency_ms=5, licences=("BSD",)))
    assert [(item.constraint, item.gained) for item in both.relaxed] == [("", 2)], "no single one helps, all together do"


def test_queries_do_not_grow(alice: User, team: Team, samples: SampleSet, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        make_version(alice, team, f"m{number}", licence="GPL-3.0" if number % 2 else "MIT")
    with django_assert_max_num_queries(4):
        selection = select(alice, samples, Constraints(licences=("MIT",)))
        assert [str(version.model) for version in selection.chosen]
