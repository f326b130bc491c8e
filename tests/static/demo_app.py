"""A small ASGI site for the browser tests: the kit's pages, a scripted board feed and a tus endpoint, under the product's CSP.

Run: python -m tests.static.demo_app --port 0 (prints the port). It has no database and none of the product's own views.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import mimetypes
import secrets
import socket
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import django
import uvicorn
from django import forms
from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.urls import include, path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
COLUMNS = [
    {"key": "accuracy", "label": "Predicted accuracy", "hidden": False},
    {"key": "best", "label": "P(best)", "hidden": False},
    {"key": "samples", "label": "Samples used", "hidden": False},
    {"key": "latency", "label": "Latency", "hidden": False},
    {"key": "memory", "label": "Memory", "hidden": True},
]


def _page(_request: Any) -> HttpResponse:
    return HttpResponse()


def _names(*names: str) -> list[Any]:
    return [path(f"{name}/", _page, name=name) for name in names]


urlpatterns = [
    *_names("home", "account_logout", "account_login"),
    path("models/", include((_names("model_list", "model_new", "review_queue"), "catalog"))),
    path("searches/", include((_names("search_list", "search_new", "sampleset_list"), "search"))),
    path("jobs/", include((_names("tray", "workers"), "jobs"))),
    path("accounts/", include((_names("settings"), "accounts"))),
]


class DemoForm(forms.Form):
    """One field of each kind, some of them wrong."""

    name = forms.CharField(help_text="Lower case, digits and dashes. It is part of the address.")
    latency = forms.FloatField(label="Latency limit", required=False)
    device = forms.ChoiceField(choices=[("laptop", "My laptop (8 cores, 16 GB)"), ("t4", "T4, 16 GB")])
    licence = forms.MultipleChoiceField(
        choices=[("apache", "Apache-2.0"), ("mit", "MIT"), ("cc", "CC BY-NC 4.0")], widget=forms.CheckboxSelectMultiple, required=False
    )
    visible = forms.ChoiceField(
        label="Who may see it",
        choices=[("private", "Only me"), ("team", "My team")],
        widget=forms.RadioSelect,
        help_text="You can change this later.",
    )
    notes = forms.CharField(widget=forms.Textarea, required=False)
    agree = forms.BooleanField(label="Delete the samples with everything derived from them after 30 days", required=False)


@dataclass(slots=True)
class Row:
    """One candidate as the board shows it; percentages are 0..100."""

    id: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    state: str = "running"
    rank: str = ""
    reason: str = ""
    tie: str = ""
    grade: str = "predicted"
    latency: float = 9.0
    points: str = "0,20 20,14 40,16 60,9 80,10 100,8"


def start_rows() -> list[Row]:
    return [
        Row("a", "vision/resnet18-fine", 86.4, 82.1, 90.3, rank="1–2", tie="first", latency=12.4),
        Row("b", "vision/vit-tiny-scans-and-a-rather-long-name", 85.9, 81.0, 90.0, rank="1–2", tie="last", latency=31.0),
        Row("c", "lab/mobilenet-v3", 79.2, 74.8, 83.3, rank="3", latency=4.1),
        Row("d", "lab/convnext-nano", 74.0, 60.2, 86.1, rank="4", grade="prior", state="queued", points=""),
        Row("e", "archive/lenet", 41.3, 36.0, 47.2, rank="5", state="eliminated", reason="97 % sure it is not the best"),
        Row("f", "ops/yolo-cls", None, None, None, state="failed", reason="Opset 9 is not supported", points=""),
        Row("g", "big/vit-huge", None, None, None, state="skipped", reason="needs 22 GB, the device has 16 GB", points=""),
    ]


@dataclass(slots=True)
class Feed:
    """What the board's server would hold: rows, order, sequence number, and how it behaves towards a browser."""

    rows: dict[str, Row] = field(default_factory=lambda: {row.id: row for row in start_rows()})
    seq: int = 7
    final: bool = False
    refuse: bool = False
    sockets: dict[int, asyncio.Queue[dict[str, Any] | None]] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def message(self, kind: str, ids: list[str]) -> dict[str, Any]:
        return {
            "type": kind,
            "seq": self.seq,
            "header": render_to_string("board_facts.html", {"seq": self.seq}),
            "rows": {key: render_to_string("board_row.html", {"row": self.rows[key]}) for key in ids},
            "order": list(self.rows),
            "summary": f"Update {self.seq}: {next(iter(self.rows.values())).name} leads",
            "final": self.final,
        }

    def since(self, after: int) -> dict[str, Any]:
        """All that came after a number, as one message."""
        missed = {key for entry in self.log if entry["seq"] > after for key in entry["ids"]}
        return self.message("update", [key for key in self.rows if key in missed])

    def tell(self, header: str) -> None:
        """What is no event: the number stays, the header is another."""
        for queue in self.sockets.values():
            queue.put_nowait(self.message("update", []) | {"header": header})

    def push(self, change: dict[str, Any]) -> None:
        self.seq += 1
        self.final = change.get("final", False)
        for key, values in change.get("rows", {}).items():
            row = self.rows.setdefault(key, Row(key, key, None, None, None))
            for name, value in values.items():
                setattr(row, name, value)
        if order := change.get("order"):
            self.rows = {key: self.rows[key] for key in order}
        self.log.append({"seq": self.seq, "ids": list(change.get("rows", {}))})
        for queue in self.sockets.values():
            queue.put_nowait(self.message("update", list(change.get("rows", {}))))


@dataclass(slots=True)
class Upload:
    """A tus upload in memory. fail: how many PATCH requests from now on are cut off."""

    length: int
    metadata: str
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Site:
    feed: Feed = field(default_factory=Feed)
    uploads: dict[str, Upload] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fail_patches: int = 0
    jobs: int = 2

    # Pages

    def render(self, name: str, nonce: str) -> str:
        user = SimpleNamespace(is_authenticated=True, is_staff=True, get_username=lambda: "alice")
        form = DemoForm({"name": "", "latency": "x", "device": "t4", "licence": ["mit"], "visible": "team"})
        rows = list(self.feed.rows.values())
        return render_to_string(
            name,
            {
                "request": SimpleNamespace(user=user, csp_nonce=nonce),
                "csrf_token": "demo-token",
                "nav": "searches",
                "curates": True,
                "form": form,
                "rows": rows,
                "feed": self.feed,
                "columns": COLUMNS,
                "states": ["queued", "running", "eliminated", "finished", "failed", "stopped", "skipped"],
                "accept": ".png,.jpg,.csv",
                "messages": [],
            },
        )

    async def http(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
        self.requests.append(f"{scope['method']} {scope['path']}")
        status, extra, content, kind = self.answer(scope["method"], scope["path"], headers, query, body)
        base = {"content-type": kind, "cache-control": "no-store", **extra}
        await send({"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in base.items()]})
        await send({"type": "http.response.body", "body": content})

    def answer(
        self, method: str, url: str, headers: dict[str, str], query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes, str]:
        if url.startswith("/static/"):
            return 200, {}, (ROOT / url.lstrip("/")).read_bytes(), mimetypes.guess_type(url)[0] or "text/plain"
        if url.startswith("/uploads/"):
            status, extra = self.tus(method, url, headers, body)
            return status, {"tus-resumable": "1.0.0", **extra}, b"", "text/plain"
        if url == "/control/":
            return 200, {}, json.dumps(self.control(json.loads(body))).encode(), "application/json"
        if url == "/updates/":
            self.feed.asked.append(f"poll {query['after']}")
            return 200, {}, json.dumps(self.feed.since(int(query["after"]))).encode(), "application/json"
        if url == "/jobs/tray/":
            return 200, {}, render_to_string("tray.html", {"jobs": self.jobs}).encode(), "text/html"
        if url.startswith("/drawer/"):
            row = self.feed.rows[url.split("/")[2]]
            return 200, {}, render_to_string("drawer_body.html", {"row": row, "seq": self.feed.seq}).encode(), "text/html"
        if url in ("/", "/board/", "/upload/"):
            nonce = secrets.token_urlsafe(12)
            name = {"/": "kitchen_sink.html", "/board/": "board_page.html", "/upload/": "upload_page.html"}[url]
            policy = POLICY.format(nonce=nonce)
            return 200, {"content-security-policy": policy}, self.render(name, nonce).encode(), "text/html; charset=utf-8"
        return 404, {}, b"not here", "text/plain"

    def control(self, order: dict[str, Any]) -> dict[str, Any]:
        feed = self.feed
        match order["do"]:
            case "reset":
                for queue in feed.sockets.values():
                    queue.put_nowait(None)
                self.feed, self.uploads, self.requests, self.fail_patches = Feed(), {}, [], 0
            case "push":
                feed.push(order)
            case "tell":
                feed.tell(order["header"])
            case "cut":
                feed.refuse = order["refuse"]
                for queue in feed.sockets.values():
                    queue.put_nowait(None)
            case "fail-patches":
                self.fail_patches = order["count"]
        return {
            "seq": self.feed.seq,
            "sockets": len(self.feed.sockets),
            "asked": self.feed.asked,
            "requests": self.requests,
            "uploads": [
                {"sha256": hashlib.sha256(u.data).hexdigest(), "size": len(u.data), "metadata": u.metadata} for u in self.uploads.values()
            ],
        }

    # tus 1.0 with creation, checksum and termination

    def tus(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        if headers.get("x-csrftoken") != "demo-token":
            return 403, {}
        if method == "POST":
            key = uuid.uuid4().hex
            self.uploads[key] = Upload(int(headers["upload-length"]), headers.get("upload-metadata", ""))
            return 201, {"location": key}  # relative, as the product answers
        upload = self.uploads.get(url.rstrip("/").split("/")[-1])
        if upload is None:
            return 404, {}
        if method == "HEAD":
            return 200, {"upload-offset": str(len(upload.data)), "upload-length": str(upload.length)}
        if method == "DELETE":
            self.uploads = {key: value for key, value in self.uploads.items() if value is not upload}
            return 204, {}
        if self.fail_patches:
            self.fail_patches -= 1
            return 400, {}
        expected = "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode()
        if headers.get("upload-checksum") != expected:
            return 460, {}
        if int(headers["upload-offset"]) != len(upload.data):
            return 409, {}
        upload.data += body
        return 204, {"upload-offset": str(len(upload.data))}

    # The board's socket

    async def websocket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        after = int(parse_qs(scope["query_string"].decode())["after"][0])
        feed = self.feed
        feed.asked.append(f"socket {after}")
        if feed.refuse:
            await send({"type": "websocket.close", "code": 1011})
            return
        await send({"type": "websocket.accept"})
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        feed.sockets[id(queue)] = queue
        gone = asyncio.create_task(receive())
        try:
            await send({"type": "websocket.send", "text": json.dumps(feed.since(after) if after < feed.seq else {"type": "ping"})})
            while True:
                item = asyncio.create_task(queue.get())
                await asyncio.wait({item, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    item.cancel()
                    return
                message = item.result()
                if message is None:
                    await send({"type": "websocket.close", "code": 1012})
                    return
                await send({"type": "websocket.send", "text": json.dumps(message)})
        finally:
            gone.cancel()
            feed.sockets.pop(id(queue), None)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await (self.websocket if scope["type"] == "websocket" else self.http)(scope, receive, send)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    port = parser.parse_args().port
    settings.configure(
        ROOT_URLCONF="tests.static.demo_app",
        STATIC_URL="/static/",
        INSTALLED_APPS=["django_htmx"],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [ROOT / "templates", HERE / "templates"],
                "APP_DIRS": True,
            }
        ],
    )
    django.setup()
    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(Site(), log_level="warning", lifespan="off")).run([listener])


if __name__ == "__main__":
    main()
