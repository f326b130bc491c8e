"""House rules as functions: source in, findings out. `test_rules.py` shows each one a violation, `test_tree.py` the product."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "accounts", "jobs", "uploads", "catalog", "search", "gpuworker", "modelshop")
MAX_LINES = 400

UNSAFE_MODULES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
UNSAFE_CALLS = ("torch.load", "torch.export.load", "torch.jit.load", "torch.package.PackageImporter", "eval", "exec", "sympy.sympify")
SIGNAL_MODULES = ("django.dispatch", "django.db.models.signals", "django.core.signals", "django.contrib.auth.signals")
VAGUE_NAMES = ("utils.py", "util.py", "helpers.py", "misc.py", "common.py")
_SCRIPT_NEEDS = ("src=", 'type="application/json"')


def product_files(suffix: str = ".py") -> list[Path]:
    """Every file of our own packages, migrations left out."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob(f"*{suffix}"))
    return sorted(path for path in found if "migrations" not in path.parts and "__pycache__" not in path.parts)


def templates() -> list[Path]:
    return sorted((ROOT / "templates").rglob("*.html"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def unsafe_loading(source: str) -> list[str]:
    """Ways to run what a file says: unpickling, torch's loaders, eval. Names are followed through `import ... as ...`."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    found = [f"line {line}: imports {module}" for line, module in _imported_modules(tree) if module.split(".")[0] in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
            dotted = _dotted(node, names)
            if dotted in UNSAFE_CALLS:
                found.append(f"line {node.lineno}: uses {dotted}")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.append(f"line {node.value.lineno}: allow_pickle is not False")
    return found


def signal_receivers(source: str) -> list[str]:
    """Django signals: a change of a row must be readable where it is made."""
    modules = _imported_modules(ast.parse(source))
    return [
        f"line {line}: imports {module}"
        for line, module in modules
        if module.startswith(SIGNAL_MODULES) or re.fullmatch(r"allauth\.\w+\.signals.*", module)
    ]


def save_overrides(source: str) -> list[str]:
    """`save` or `delete` defined on a class of a models module."""
    return [
        f"line {item.lineno}: {node.name}.{item.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and item.name in ("save", "delete")
    ]


def late_imports(source: str) -> list[str]:
    """An import inside a function means a wrong layer."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [
        f"line {inner.lineno}" for function in functions for inner in ast.walk(function) if isinstance(inner, (ast.Import, ast.ImportFrom))
    ]


def environment_reads(source: str) -> list[str]:
    """Settings come from the environment in one place; elsewhere a variable would be undocumented."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Name)))
    return [f"line {node.lineno}" for node in nodes if _dotted(node, names) in ("os.environ", "os.getenv")]


def inline_code(template: str) -> list[str]:
    """What the content security policy would block: style attributes and blocks, on... handlers, scripts without src or nonce."""
    found = [match.group().strip() for match in re.finditer(r"\sstyle\s*=|<style\b|\son\w+\s*=|javascript:", template, re.IGNORECASE)]
    for tag in re.findall(r"<script\b[^>]*>", template, re.IGNORECASE):
        if not any(need in tag for need in _SCRIPT_NEEDS) and "nonce=" not in tag:
            found.append(tag)
    return found


def unescaped(source: str) -> list[str]:
    """Text that reaches a page without escaping; for templates and Python alike."""
    return re.findall(r"\{%\s*autoescape\s+off|\|\s*safe(?:seq)?\b|\bmark_safe\(|\bSafeString\(", source)


def left_overs(source: str) -> list[str]:
    return re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b|raise NotImplementedError", source)


def _imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Local name > what it stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
