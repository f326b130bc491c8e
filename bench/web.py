"""How long a person waits: prior order, first measured row, a search of 64 candidates x 1,000 samples, the catalog, a paint.

Starts an instance of its own (`./dev up` on a temporary folder), so nothing else should run. The peer of the search is a
plain loop in one process: the same models and samples through the same interpreter, without sandbox, rows or sockets.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import numpy as np
import torch
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect

from bench.report import write_report
from gpuworker.core import input_spec
from gpuworker.core.formats import read_model
from gpuworker.core.modalities import image
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.protocols import SourceFile
from gpuworker.core.work.execution import encode, predict
from tests.system import System, wait_until

ROOT = Path(__file__).resolve().parent.parent
SEED = ROOT / "gpuworker" / "seed" / "files"
CANDIDATES, SAMPLES, MODELS = 64, 1_000, 10_000
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]

PAINT = """
window.paints = [];
document.addEventListener("board:updated", (event) => requestAnimationFrame(() => requestAnimationFrame(() => {
  window.paints.push([event.detail.seq, Date.now()]);
})));
"""


def samples_file() -> bytes:
    """1,000 images: the night camera's, with other noise each time round."""
    x = np.load(SEED / "night-camera.npz")["x"]
    rng = np.random.default_rng(0)
    rounds = [np.clip(x + rng.normal(0, 12, x.shape), 0, 255).astype(np.uint8) for _ in range(-(-SAMPLES // len(x)))]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.concatenate(rounds)[:SAMPLES])
    return buffer.getvalue()


def upload(client: httpx.Client, content: bytes) -> int:
    """A ready sample set, through tus and REST as a script of a user would do it."""
    metadata = "filename c2FtcGxlcy5ucHo=,purpose c2FtcGxlcw=="
    made = client.post("/uploads/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content)), "Upload-Metadata": metadata})
    made.raise_for_status()
    place = httpx.URL(made.request.url).join(made.headers["Location"])
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    client.patch(place, content=content, headers=headers).raise_for_status()
    answer = client.post("/api/sample-sets/", json={"name": "bench", "uploads": [place.path.rstrip("/").rsplit("/", 1)[-1]]})
    answer.raise_for_status()
    pk = answer.json()["id"]
    while (state := client.get(f"/api/sample-sets/{pk}/").json()["state"]) == "checking":
        time.sleep(0.05)
    if state != "ready":
        raise RuntimeError(f"the sample set ended {state}")
    return int(pk)


def search(client: httpx.Client, sample_set: int) -> dict[str, float]:
    """Seconds from the request to the prior order, to the first measured row, and to the final board in a socket; of the last all that
    models did not spend on samples; and of that the worker's part, from taking the search up to its end."""
    started = time.time()
    answer = client.post("/api/searches/", json={"sample_set": sample_set})
    answer.raise_for_status()
    pk = answer.json()["id"]
    address = str(client.base_url).replace("http", "ws", 1).rstrip("/") + f"/ws/searches/{pk}/"
    with connect(address, additional_headers=_session(client), max_size=None) as socket:
        while not json.loads(socket.recv(timeout=300)).get("final"):
            pass
    total = time.time() - started
    detail = client.get(f"/api/searches/{pk}/").json()
    if detail["state"] != "finished":
        raise RuntimeError(f"the search ended {detail['state']}")
    names = ("started", "prior_at", "first_row_at", "finished")
    since = {name: datetime.fromisoformat(detail[name]).timestamp() - started for name in names}
    models = detail["compute_seconds"]
    return {
        "prior_s": since["prior_at"],
        "first_row_s": since["first_row_at"],
        "search64_s": total,
        "search64_besides_models_s": total - models,
        "search64_worker_besides_models_s": since["finished"] - since["started"] - models,
    }


def _session(client: httpx.Client) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items()), "Origin": str(client.base_url).rstrip("/")}


def settle(system: System) -> None:
    """Wait until the workers have nothing left to do: all candidates have answered the probes, costs and calibrations are measured."""
    wait_until(
        lambda: system.python("from bench.web_data import work_left; print(work_left())") == "0", 900, "the workers' rest", every=2.0
    )


@torch.inference_mode()
def plain_loop(content: bytes) -> float:
    """Seconds for the same work in one process: encode and run each of the 64 models on the 1,000 samples, one thread."""
    torch.set_num_threads(1)
    batch = image.read([SourceFile("x.npz", io.BytesIO(content), len(content))], ReadOptions()).batch
    digits = [item for item in json.loads((SEED / "manifest.json").read_text())["models"] if item["task"] == "digits"]
    models = []
    for item in (digits[number % len(digits)] for number in range(CANDIDATES)):
        with (SEED / item["file"]).open("rb") as file:
            models.append((read_model(item["file"].rsplit(".", 1)[1], {item["file"]: file}), input_spec.parse(item["spec"])))
    started = time.perf_counter()
    for model, spec in models:
        predict(model.program, model.tensors, encode(batch, spec, model.program, 0, batch.n), spec, "cpu")
    return time.perf_counter() - started


def list_times(client: httpx.Client) -> list[float]:
    """Milliseconds of 120 catalog pages over 10,000 models: facets, words, every order, following pages."""
    queries = ["", "?modality=image", "?q=sensor", "?q=retina+leaf", "?architecture=CNN&licence=MIT", "?modality=text&task=red"]
    queries += [f"?sort={key}" for key in ("name", "-parameters", "size", "-accuracy", "latency", "-updated")]
    times: list[float] = []
    for _ in range(10):
        for query in queries:
            started = time.perf_counter()
            client.get(f"/models/{query}").raise_for_status()
            times.append((time.perf_counter() - started) * 1000)
    return times


def admin_times(client: httpx.Client) -> list[float]:
    """The peer of the catalog page: Django's own list of the same rows."""
    times: list[float] = []
    for _ in range(30):
        started = time.perf_counter()
        client.get("/admin/catalog/registeredmodel/").raise_for_status()
        times.append((time.perf_counter() - started) * 1000)
    return times


def paint_times(system: System, account: dict[str, str], sample_set: int) -> list[float]:
    """Milliseconds from the commit of an event to the frame that shows it, in headless Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=which("chromium"), args=CHROMIUM)
        page = browser.new_page()
        page.add_init_script(PAINT)
        page.goto(f"{system.url}/accounts/login/")
        page.fill("input[name=login]", account["username"])
        page.fill("input[name=password]", account["password"])
        page.press("input[name=password]", "Enter")
        page.wait_for_load_state()
        found: list[float] = []
        for _ in range(6):
            page.goto(f"{system.url}/searches/new/?samples={sample_set}")
            page.click("[data-start-search], button[type=submit]:has-text('Start')")
            page.wait_for_url("**/searches/*/")
            page.wait_for_selector("[data-board][data-final=true], [data-board-connection]:has-text('final')", timeout=120_000)
            pk = page.url.rstrip("/").rsplit("/", 1)[1]
            paints = dict(page.evaluate("window.paints"))
            events = page.evaluate(f"fetch('/api/searches/{pk}/events/?after=0').then(r => r.json())")["events"]
            at = {event["seq"]: datetime.fromisoformat(event["at"]).timestamp() * 1000 for event in events}
            found += [painted - at[seq] for seq, painted in paints.items() if seq in at]
        browser.close()
    return found


@contextmanager
def signed_in(system: System, account: dict[str, str]) -> Iterator[httpx.Client]:
    """A browser-like session: sockets and pages know people by their cookie."""
    with httpx.Client(base_url=system.url, timeout=120, follow_redirects=True) as client:
        client.get("/accounts/login/").raise_for_status()
        form = {"login": account["username"], "password": account["password"], "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        client.post("/accounts/login/", data=form, headers={"Referer": f"{system.url}/accounts/login/"}).raise_for_status()
        client.headers.update({"X-CSRFToken": client.cookies["csrftoken"], "Referer": system.url})
        yield client


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))


def measure(say: Callable[[str], None]) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
    with tempfile.TemporaryDirectory(prefix="modelshop-bench-") as folder:
        system = System(Path(folder), seed=True)
        try:
            system.wait_ready()
            accounts = {row["username"]: row for row in json.loads((Path(folder) / "demo-accounts.json").read_text())}
            system.python(f"from bench.web_data import more_candidates; more_candidates({CANDIDATES})")
            content = samples_file()
            with signed_in(system, accounts["demo"]) as client:
                sample_set = upload(client, content)
                settle(system)
                search(client, sample_set)  # a warm worker, and calibrations that only a search asks for
                settle(system)
                search(client, sample_set)  # with them
                runs = [search(client, sample_set) for _ in range(5)]
                loops = [plain_loop(content) for _ in range(3)]
                say("searches done")
                paints = paint_times(system, accounts["demo"], sample_set)
                say("paints done")
                system.python(f"from bench.web_data import fill_catalog; fill_catalog({MODELS})")
                pages = list_times(client)
            with signed_in(system, accounts["operator"]) as client:
                admin = admin_times(client)
        finally:
            system.stop()
    figures = {f"web.{name}": round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
    figures |= {
        "web.plain_loop_s": round(statistics.median(loops), 4),
        "web.search64_vs_plain_loop": round(figures["web.search64_s"] / statistics.median(loops), 3),
        "web.list_p95_ms": round(p95(pages), 1),
        "web.admin_list_p95_ms": round(p95(admin), 1),
        "web.list_vs_admin": round(p95(pages) / p95(admin), 3),
        "web.event_to_paint_p95_ms": round(p95(paints), 1),
        "web.event_to_paint_p50_ms": round(float(np.median(paints)), 1),
        "web.paints": len(paints),
    }
    return figures, {"searches": [{name: round(value, 4) for name, value in run.items()} for run in runs]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    figures, tables = measure(lambda text: print(text, flush=True))
    write_report(options.out, "web", figures, tables)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    return 0
