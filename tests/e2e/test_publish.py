"""A model from its file to the candidates of a search, through the author's and the curator's hands."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.acts import drop, new_search_form, uploads_done
from tests.e2e.people import Desk, ready

MODEL_ZONE = "[data-uploader][data-purpose=model]"
REFERENCE_ZONE = "[data-uploader][data-purpose=reference]"
NAME = "digits-second-hand"
TITLE = "Digits, second hand"


def describe(page: Page, spec: object, *, name: str, title: str) -> None:
    page.get_by_text("Paste JSON", exact=True).click()
    page.get_by_label("Input spec (JSON)").fill(json.dumps(spec))
    page.locator("#id_team").select_option("demo")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Title").fill(title)
    page.get_by_label("Task").fill("digits")
    page.get_by_label("Licence").fill("CC-BY-4.0")
    page.get_by_label("Note to the curator").fill("Trained on the same scans, saved anew.")


def test_publish_review_and_be_found(desk: Desk, seed_files: Path, manifest: dict[str, list[dict[str, object]]]) -> None:
    known = next(model for model in manifest["models"] if model["name"] == "digits-linear")
    author = desk.open("author")
    ready(author, "/models/new/")
    drop(author, {"model.onnx": (seed_files / str(known["file"])).read_bytes()}, uploader=MODEL_ZONE)
    uploads_done(author, 1, uploader=MODEL_ZONE)
    expect(author.locator("#detected")).to_contain_text("ONNX")
    drop(author, {"reference.npz": (seed_files / str(known["reference"])).read_bytes()}, uploader=REFERENCE_ZONE)
    uploads_done(author, 1, uploader=REFERENCE_ZONE)
    describe(author, known["spec"], name=NAME, title=TITLE)
    author.get_by_role("main").get_by_role("button", name="Publish").click()
    author.wait_for_url(f"**/models/demo/{NAME}/versions/1/")
    expect(author.locator("#version")).to_contain_text("In review", timeout=60_000)  # the page follows the check by itself
    expect(author.locator("#version")).to_contain_text("Waiting for a curator")

    curator = desk.open("curator")
    ready(curator, "/")
    curator.get_by_role("link", name="Open the queue").click()
    card = curator.locator("article", has_text=NAME)
    expect(card).to_contain_text("Trained on the same scans")
    expect(card).to_contain_text("computes the same")  # the nearest in the catalog is the model it copies
    expect(card).to_contain_text("digits-linear")
    card.get_by_role("button", name="Approve and publish").click()
    expect(curator.locator("article", has_text=NAME)).to_have_count(0)

    author.reload()
    expect(author.locator("#version")).to_contain_text("Published")
    expect(author.locator("#version")).to_contain_text("approved")
    ready(author, "/models/?q=second+hand")
    expect(author.get_by_role("link", name=TITLE)).to_be_visible()
    ready(author, "/searches/new/")
    author.get_by_role("link", name="Digits from a night camera").click()
    new_search_form(author)
    expect(author.locator("#selection .count-line")).to_contain_text("12 candidates")


def test_a_pickle_is_refused_with_the_reason_and_the_way_out(desk: Desk) -> None:
    page = desk.open("author", expected=("status of 422",))
    ready(page, "/models/new/")
    drop(page, {"model.pkl": pickle.dumps({"weights": [1.0]})}, uploader=MODEL_ZONE)
    refused = page.locator(f"{MODEL_ZONE} .file[data-state=refused]")
    expect(refused).to_contain_text("Opening a pickle runs whatever code its author put in.")
    expect(refused).to_contain_text("torch.onnx.export")

    # The same bytes under an accepted name are looked at by the server, and a form does not leave without them.
    drop(page, {"model.pt2": pickle.dumps({"weights": [1.0]})}, uploader=MODEL_ZONE)
    failed = page.locator(f"{MODEL_ZONE} .file[data-state=failed]")
    expect(failed).to_contain_text("Opening a pickle runs whatever code its author put in.")
    expect(failed).to_contain_text("torch.onnx.export")
    spec = {"modality": "image", "input": {"height": 4, "width": 4, "channels": 1}, "output": {"kind": "logits"}, "labels": ["a", "b"]}
    describe(page, spec, name="smuggled", title="Smuggled")
    page.get_by_role("main").get_by_role("button", name="Publish").click()
    expect(failed.get_by_role("button", name="Retry")).to_be_focused()
    assert page.url.endswith("/models/new/")
