"""Every house rule is shown a violation and must see it, and something harmless and must let it be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.architecture import rules

VIOLATIONS: list[tuple[Callable[[str], list[str]], str]] = [
    (rules.unsafe_loading, "import pickle"),
    (rules.unsafe_loading, "from joblib import load"),
    (rules.unsafe_loading, "import torch\ntorch.load(path)"),
    (rules.unsafe_loading, "import torch as t\nload = t.export.load"),
    (rules.unsafe_loading, "from torch.export import load as read\nread(path)"),
    (rules.unsafe_loading, "from torch import jit\njit.load(path)"),
    (rules.unsafe_loading, "eval(text)"),
    (rules.unsafe_loading, "import numpy as np\nnp.load(path, allow_pickle=True)"),
    (rules.unsafe_loading, "import numpy as np\nnp.load(path, allow_pickle=flag)"),
    (rules.signal_receivers, "from django.dispatch import receiver"),
    (rules.signal_receivers, "from django.db.models import signals\nfrom django.db.models.signals import post_save"),
    (rules.signal_receivers, "from allauth.account.signals import user_signed_up"),
    (rules.save_overrides, "class A(models.Model):\n    def save(self, *args): ..."),
    (rules.save_overrides, "class A(models.Model):\n    async def delete(self): ..."),
    (rules.late_imports, "def f():\n    import torch"),
    (rules.late_imports, "class A:\n    async def f(self):\n        if self:\n            from a import b"),
    (rules.environment_reads, "import os\nos.environ['X']"),
    (rules.environment_reads, "from os import getenv\ngetenv('X')"),
    (rules.inline_code, '<p style="color: red">'),
    (rules.inline_code, "<STYLE>p {}</STYLE>"),
    (rules.inline_code, "<button onclick=go()>"),
    (rules.inline_code, '<a href="javascript:go()">'),
    (rules.inline_code, "<script>go()</script>"),
    (rules.inline_code, '<script type="module">go()</script>'),
    (rules.unescaped, "{% autoescape off %}"),
    (rules.unescaped, "{{ name |safe }}"),
    (rules.unescaped, "return mark_safe(text)"),
    (rules.left_overs, "x = 1  # TODO later"),
    (rules.left_overs, "raise NotImplementedError"),
]

HARMLESS: list[tuple[Callable[[str], list[str]], str]] = [
    (rules.unsafe_loading, "import json\njson.load(file)"),
    (rules.unsafe_loading, "import torch\ntorch.export.save(program, path)\nmodel.eval()"),
    (rules.unsafe_loading, "from safetensors.torch import load\nload(data)"),
    (rules.unsafe_loading, "import numpy as np\nnp.load(path, allow_pickle=False)"),
    (rules.signal_receivers, "from celery import signals\nimport signal"),
    (rules.save_overrides, "class A(models.Model):\n    def archive(self):\n        self.save(update_fields=['state'])"),
    (rules.late_imports, "import torch\nif TYPE_CHECKING:\n    from a import b"),
    (rules.environment_reads, "import os\nos.getpid()"),
    (rules.inline_code, '<script src="/static/a.js"></script><p class="a" data-on="x">'),
    (rules.inline_code, '<script type="importmap" nonce="{{ request.csp_nonce }}">'),
    (rules.inline_code, "{% with position=1 %}{% endwith %}"),
    (rules.unescaped, "{{ name }} is safe"),
    (rules.unescaped, "format_html('<p>{}</p>', text)"),
    (rules.left_overs, "class NotImplementedErrorPage: ..."),
]


@pytest.mark.parametrize(("rule", "source"), VIOLATIONS, ids=lambda value: getattr(value, "__name__", None))
def test_a_violation_is_seen(rule: Callable[[str], list[str]], source: str) -> None:
    assert rule(source)


@pytest.mark.parametrize(("rule", "source"), HARMLESS, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_harmless_passes(rule: Callable[[str], list[str]], source: str) -> None:
    assert not rule(source)
