"""What can be checked without a browser: vendored sums, import map, message catalog, and the rules that the CSP rests on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
JS = ROOT / "static" / "js"
VENDORED = sorted([*(ROOT / "static" / "vendor").iterdir(), *(ROOT / "tests" / "vendor").iterdir()])
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted(JS.glob("*.js"))


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: folder.name)
def test_vendored_files_match_their_sums(folder: Path) -> None:
    listed = dict(reversed(line.split(maxsplit=1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"}
    assert set(listed) == present
    assert any(name.startswith("LICENSE") for name in present), "a vendored package carries its licence"
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def _import_map() -> dict[str, str]:
    text = (ROOT / "templates" / "_importmap.html").read_text()
    return dict(re.findall(r'"(ms/[\w/-]+)": "\{% static \'([^\']+)\' %\}"', text))


def test_import_map_names_every_module_and_every_import_is_in_it() -> None:
    entries = _import_map()
    for target in entries.values():
        assert (ROOT / "static" / target).is_file(), target
    modules = {f"ms/{path.stem}" for path in SCRIPTS} - {"ms/main", "ms/theme-init"}
    assert modules == {name for name in entries if not name.startswith("ms/vendor/")}
    for path in SCRIPTS:
        for name in re.findall(r'(?:from|import)\s*\(?\s*"([^"]+)"', path.read_text()):
            assert name in entries, f"{path.name} imports {name}"


def _catalog() -> dict[str, str]:
    text = (ROOT / "templates" / "_js_text.html").read_text()
    body = re.sub(
        r"\{% filter escapejs %\}\{% translate '(.*?)' %\}\{% endfilter %\}", r"\1", text[text.index("{\n") : text.rindex("}") + 1]
    )
    return dict(json.loads(body))


def test_every_string_of_a_script_is_in_the_catalog() -> None:
    catalog = _catalog()
    used: set[str] = set()
    for path in SCRIPTS:
        text = path.read_text()
        used |= set(re.findall(r'\bt\("([\w.]+)"', text))
        used |= set(re.findall(r'\? "([\w]+\.[\w]+)" : "[\w.]+"\)', text))
    used |= {f"board.state.{state}" for state in re.findall(r'(?:#show|stop)\("(\w+)"\)', (JS / "board-feed.js").read_text())}
    assert "board.state.polling" in used
    for key in used:
        assert key in catalog or {f"{key}.one", f"{key}.other"} <= set(catalog), key


def test_no_template_needs_an_inline_style_or_script() -> None:
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"\sstyle\s*=|<style|\son\w+\s*=|javascript:", text), path
        for tag in re.findall(r"<script\b[^>]*>", text):
            assert "src=" in tag or 'type="application/json"' in tag or ('type="importmap"' in tag and "nonce=" in tag), f"{path}: {tag}"


def test_every_stylesheet_and_icon_that_is_used_exists() -> None:
    linked = {name for path in TEMPLATES for name in re.findall(r"css/[\w-]+\.css", path.read_text())}
    assert linked == {f"css/{path.name}" for path in (ROOT / "static" / "css").glob("*.css")}
    icons = set(re.findall(r'<symbol id="([\w-]+)"', (ROOT / "static" / "img" / "icons.svg").read_text()))
    for path in TEMPLATES:
        for name in re.findall(r'components/icon\.html" with name="([\w-]+)"', path.read_text()):
            assert name in icons, f"{path}: {name}"


def test_every_custom_property_that_is_used_is_a_token() -> None:
    tokens = set(re.findall(r"(--[\w-]+):", (ROOT / "static" / "css" / "tokens.css").read_text()))
    for path in (ROOT / "static" / "css").glob("*.css"):
        text = path.read_text()
        assert set(re.findall(r"var\((--[\w-]+)", text)) <= tokens, path.name
        if path.name not in ("tokens.css", "print.css"):
            assert not re.search(r":\s*#[0-9a-f]{6}\b", text), f"{path.name} names a colour outside the tokens"
