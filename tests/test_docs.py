"""The docs say what is so: settings, commands, events, examples, links, and every table that follows from the code."""

from __future__ import annotations

import ast
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from django.core.management import call_command

from docs import generate
from gpuworker.core import input_spec
from gpuworker.core.modalities.options import Caps
from gpuworker.core.sandbox.lock import OMITTABLE
from search.events import Kind

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + generate.pages()
READERS = ("env", "env_bool", "env_int", "env_float", "env_list")
SETTINGS_FILES = ("config/settings.py", "config/postgres.py", "config/embedded.py", "dev", "modelshop/cli.py")
# Set for child processes or by other programs, not by a person.
NOT_SETTINGS = {"TMPDIR", "DJANGO_SETTINGS_MODULE", "PYTHONUNBUFFERED"}
COMPOSE_ONLY = {"POSTGRES_PASSWORD"}
# Read on a publisher's machine, not by an instance.
CLIENT_SETTINGS = {"MODELSHOP_URL", "MODELSHOP_TOKEN"}


def variables_read(source: str) -> set[str]:
    """Names of environment variables that a module reads: env*("X"), os.environ.get("X"), os.environ["X"]; constants are followed."""
    tree = ast.parse(source)
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        argument: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func)
            if called in READERS or called.endswith("environ.get") or called.endswith("os.getenv"):
                argument = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
            argument = node.slice
        if isinstance(argument, ast.Name):
            argument = ast.Constant(constants.get(argument.id))
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            found.add(argument.value)
    return found


def first_column(text: str, heading: str | None = None) -> set[str]:
    """Code words in the first column of the tables of a page, or of those under one heading."""
    if heading is not None:
        text = re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links and images whose file or heading is not there."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _read_by_code() -> set[str]:
    files = [ROOT / name for name in SETTINGS_FILES if (ROOT / name).exists()]
    return set().union(*(variables_read(file.read_text()) for file in files)) - NOT_SETTINGS


def test_variables_are_found_in_every_form() -> None:
    source = 'NAME = "C"\nenv("A")\nenv_int("B", 1)\nos.environ.get(NAME)\nos.environ["D"]\nself.environ.get("E")\nx.get("F")\nenv(other)'
    assert variables_read(source) == {"A", "B", "C", "D", "E"}


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    page = (DOCS / "reference" / "settings.md").read_text()
    documented = {name for name in first_column(page) if "." not in name}
    assert len(_read_by_code()) > 20
    assert documented == _read_by_code() | COMPOSE_ONLY


def test_the_example_file_lists_the_same() -> None:
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == (_read_by_code() | COMPOSE_ONLY) - CLIENT_SETTINGS


def test_compose_sets_nothing_unknown() -> None:
    text = (ROOT / "compose.yaml").read_text()
    known = _read_by_code() | COMPOSE_ONLY | {"POSTGRES_USER", "POSTGRES_DB"}
    used = set(re.findall(r"\b([A-Z][A-Z0-9_]{3,})(?=:)", text)) - {"TORCH"}
    assert used <= known
    assert set(re.findall(r"\$\{(\w+)", text)) <= known


def test_checks_on_settings_are_listed() -> None:
    identities = set(re.findall(r'"(modelshop\.[EW]\d+)"', (ROOT / "config" / "checks.py").read_text()))
    listed = first_column((DOCS / "reference" / "settings.md").read_text(), "Checks on settings")
    assert identities == listed


def test_generated_parts_are_up_to_date() -> None:
    stale = [page.relative_to(ROOT).as_posix() for page in generate.pages() if generate.rendered(page.read_text()) != page.read_text()]
    assert not stale, "run ./dev docs and commit what it wrote"


def test_every_generated_part_is_on_a_page_and_a_changed_one_is_seen() -> None:
    text = "\n".join(page.read_text() for page in generate.pages())
    assert {name for _, name, _ in generate.BLOCK.findall(text)} == set(generate.BLOCKS)
    page = (DOCS / "reference" / "formats.md").read_text()
    typed = page.replace("| ONNX |", "| ONNX by hand |")
    assert typed != page and generate.rendered(typed) == page


def test_every_command_of_dev_is_listed() -> None:
    commands = {name.split()[1] for name in first_column((DOCS / "reference" / "commands.md").read_text()) if name.startswith("./dev ")}
    assert commands == set(runpy.run_path(str(ROOT / "dev"))["COMMANDS"])


def test_every_management_command_is_listed() -> None:
    ours = {path.stem for path in ROOT.glob("*/management/commands/*.py") if path.stem != "__init__"}
    assert ours == first_column((DOCS / "reference" / "commands.md").read_text(), "`manage.py`")


def test_every_kind_of_event_is_listed() -> None:
    assert set(get_args(Kind)) == first_column((DOCS / "reference" / "events.md").read_text(), "Kinds")


def test_every_wall_is_listed() -> None:
    assert OMITTABLE | {"bubblewrap"} == first_column((DOCS / "reference" / "limits.md").read_text(), "The sandbox")


def test_every_cap_has_words() -> None:
    assert set(Caps.__dataclass_fields__) == set(generate.CAP_WORDS)


CHECKS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "json spec": lambda text: input_spec.parse(json.loads(text)),
    "python": lambda text: compile(text, "docs", "exec"),
}
EXAMPLES = [
    (page.relative_to(ROOT).as_posix(), " ".join([language, more]).strip(), body)
    for page in PAGES
    if page.exists()
    for language, more, body in re.findall(r"^```(json|python) checked ?(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(
    ("kind", "body"), [(kind, body) for _, kind, body in EXAMPLES], ids=[f"{name}-{kind}" for name, kind, _ in EXAMPLES]
)
def test_examples_hold(kind: str, body: str) -> None:
    CHECKS[kind](body)


def test_every_json_and_python_example_is_checked() -> None:
    for page in PAGES:
        plain = re.findall(r"^```(?:json|python)$", page.read_text(), re.MULTILINE)
        assert not plain, f"{page.name}: mark the block as `checked`"
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(file: Path) -> None:
    assert not broken_links(file, file.read_text())


def test_a_broken_link_is_seen() -> None:
    page = DOCS / "index.md"
    assert broken_links(page, "[a](nowhere.md) [b](index.md#no-such-heading) [c](https://example.org) ![d](img/none.png)") == [
        "nowhere.md",
        "index.md#no-such-heading",
        "img/none.png",
    ]


def test_every_page_can_be_reached_from_the_index() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in generate.pages()
        for target in re.findall(r"\]\(([^)\s:]+\.md[^)\s]*)\)", page.read_text())
    }
    assert {page for page in generate.pages() if page.name != "index.md"} <= linked


def test_the_two_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = runpy.run_path(str(ROOT / "dev"))["COMMANDS"]
    used = re.findall(r"\./dev (\w+)", readme)
    assert {"up", "test"} <= set(used) <= set(commands)


def test_the_module_table_names_what_exists() -> None:
    page = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w]+\.py)`", page))
    missing = {name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"*/{name}"))}
    assert len(named) > 30 and not missing


def test_the_module_table_names_every_room() -> None:
    page = (DOCS / "architecture.md").read_text()
    rooms = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")} | {"templates/", "static/"}
    rooms |= {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "gpuworker").glob("*/__init__.py")}
    rooms |= {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "gpuworker" / "core").glob("*/__init__.py")}
    assert not [room for room in rooms if f"`{room}" not in page]


def test_the_api_schema_is_whole(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "schema.yaml"))
