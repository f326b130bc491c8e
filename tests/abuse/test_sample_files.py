"""Hostile sample files on the whole path: each is named with its reason and passed over; a set of nothing but such says so."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pytest_django.fixtures import Settings

from search.models import SampleSetState
from tests.abuse.canaries import pickled
from tests.abuse.stage import GROWTH, Stage, problems, resident, told
from tests.conftest import client_for

pytestmark = pytest.mark.django_db(transaction=True)


def picture(kind: str = "PNG", side: int = 8, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that says it is so large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def zip_of(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npz_of(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy_saying(shape: tuple[int, ...], dtype: str = "|u1", body: bytes = b"") -> bytes:
    """An .npy whose header promises more than there is."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + body


def linked_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("fine.png", picture())
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    data = bytearray(zip_of({"secret.png": picture()}))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    return bytes(data)


GOOD = {"good/one.png": picture(seed=1), "good/two.jpg": picture("JPEG", seed=2)}
BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "huge.png": (png_of(60_000, 60_000), "pixels"),
    "bomb.png": (png_of(30_000, 30_000, bytes(30_000 * 3_751)), "pixels"),
    "cut.png": (picture()[:60], "broken"),
    "cut.jpg": (picture("JPEG", 64)[:300], "broken"),
    "cut.webp": (picture("WEBP", 64)[:100], "broken"),
    "cut.bmp": (picture("BMP")[:60], "broken"),
    "cut.tiff": (picture("TIFF")[:60], ""),
    "empty.png": (b"", "not a PNG"),
    "text.png": (b"hello", "not a PNG"),
    "script.svg": (b"<svg onload='alert(1)'/>", "no image file"),
    "page.png": (b"<html><script>alert(1)</script>", "not a PNG"),
    "pickle.png": (pickled.__module__.encode(), "not a PNG"),
    "rebuilt.zip": (zip_of({"../../../tmp/out.png": picture(), "/abs.png": picture(), "C:/win.png": picture()}), ""),
    "nested.zip": (zip_of({"inner.zip": zip_of(GOOD), "deep.tar.gz": b"x"}), ""),
    "linked.zip": (linked_zip(), ""),
    "locked.zip": (encrypted_zip(), ""),
    "swollen.zip": (zip_of({"zeros.bmp": bytes(40 << 20)}, zipfile.ZIP_DEFLATED), ""),
    "broken.zip": (zip_of(GOOD)[:-30], "not a readable zip"),
    "objects.npz": (npz_of(x=np.array([{"a": 1}], dtype=object)), "Python objects"),
    "lying.npz": (zip_of({"x.npy": npy_saying((10, 8, 8), body=bytes(64))}), "declares"),
    "endless.npz": (zip_of({"x.npy": npy_saying((64 << 10, 1 << 10, 1 << 10))}), "declares"),
    "shape.npz": (npz_of(x=np.zeros((2, 3, 4, 5, 6), np.uint8)), "wrong shape"),
    "nan.npz": (npz_of(x=np.full((2, 4, 4), np.nan, np.float32)), ""),
}
INSIDE = {
    "rebuilt.zip/../../../tmp/out.png": "leaves the archive",
    "rebuilt.zip//abs.png": "leaves the archive",
    "rebuilt.zip/C:/win.png": "leaves the archive",
    "nested.zip/inner.zip": "archive inside an archive",
    "nested.zip/deep.tar.gz": "archive inside an archive",
    "linked.zip/link.png": "link",
    "locked.zip/secret.png": "encrypted",
    "swollen.zip/zeros.bmp": "times its size",
    "nan.npz:1": "NaN",
}


def test_bad_images_are_named_and_the_good_ones_used(stage: Stage) -> None:
    before = resident()
    made = stage.read({**GOOD, **{name: data for name, (data, _) in BAD_IMAGES.items()}})
    found = problems(made)
    assert (made.state, made.modality) == (SampleSetState.READY, "image"), told(made)
    expected = {name: says for name, (_, says) in BAD_IMAGES.items() if says} | INSIDE
    wrong = {name: found.get(name, "not named") for name, says in expected.items() if says not in found.get(name, "not named")}
    assert wrong == {}
    assert made.n == 3, "two good files and the one beside the link"
    assert made.n_seen == made.n + made.n_problems
    assert resident() - before < GROWTH
    stage.goes_on()


ALONE = {"script.svg": "known kind", "broken.zip": "The zip cannot be read"}


def test_each_bad_file_alone_leaves_a_failed_set_that_says_why(stage: Stage) -> None:
    wrong = {}
    for name, (data, says) in BAD_IMAGES.items():
        made = stage.read({name: data}, "image")
        if made.state != SampleSetState.FAILED and name != "linked.zip":
            wrong[name] = made.state
        elif made.state == SampleSetState.FAILED and not (
            ALONE.get(name, says) in told(made) and made.error_fix and "our side" not in told(made)
        ):
            wrong[name] = told(made)
    assert wrong == {}
    stage.goes_on()


def sheet_of(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


HEAD = b"text,label\n"
SHEETS: dict[str, tuple[bytes, str, str]] = {
    # file: content, the problem's place and reason, or "" and what the failed set says
    "nul.csv": (HEAD + b"fine,a\nwith\0nul,b\nfine too,a\n", "", ""),
    "mixed.csv": (HEAD + "grün,a\n".encode() + "grün,b\n".encode("latin-1") + b"plain,a\n", "mixed.csv:2", "not UTF-8"),
    "ragged.csv": (HEAD + b"one,a\none,a,b,c\ntwo,b\n", "ragged.csv:2", "4 cells, expected 2"),
    "quote.csv": (HEAD + b'fine,a\n"never closed,b\n' + b"x,y\n" * 50, "", ""),
    "cell.csv": (HEAD + b"fine,a\n" + b"x" * 200_000 + b",b\nfine too,c\n", "cell.csv:2", ""),
    "line.jsonl": (b'{"text": "fine"}\n{"text": \n[1, 2]\n{"text": {"deep": 1}}\n' + b"[" * 100_000 + b"\n", "line.jsonl:2", "not JSON"),
    "infinite.csv": (b"a,b\n1,2\ninf,3\nnan,4\n1e999,5\n" + b"6,7\n" * 40, "infinite.csv:2", "finite number"),
}


def test_bad_rows_are_named_and_the_others_used(stage: Stage) -> None:
    wrong = {}
    for name, (data, place, says) in SHEETS.items():
        made = stage.read({name: data}, "table" if name.startswith("infinite") else "text")
        found = problems(made)
        if made.state != SampleSetState.READY or made.n < 1 or (place and says not in found.get(place, "not named")):
            wrong[name] = (made.state, told(made), found)
    assert wrong == {}
    stage.goes_on()


HOSTILE_SHEETS: dict[str, tuple[bytes, str]] = {
    "wide.csv": (b",".join(b"c%d" % i for i in range(10**6)) + b"\n" + b",".join([b"1"] * 10**6) + b"\n", ""),
    "headless.csv": (b"\0\0\0\0\n1,2\n", "header row"),
    "twice.csv": (b"a,a\n1,2\n", "one name"),
    "empty.csv": (b"", "header row"),
    "zeros.parquet": (b"PAR1" + bytes(64) + b"PAR1", "cannot be read"),
    "cut.parquet": (sheet_of(text=["a", "b"])[:-20], "cannot be read"),
    "footer.parquet": (b"PAR1" + bytes(20) + struct.pack("<I", 0x7FFFFFFF) + b"PAR1", "cannot be read"),
    "pickle.npy": (npy_saying((1,), "|O", b"\x80\x04."), "objects"),
    "endless.npy": (npy_saying((1 << 20, 1 << 16), "<f8"), "declares"),
    "negative.npy": (npy_saying((-1, 4), "<f8"), ""),
    "text.npz": (b"hello", "not a readable zip"),
    "unknown.bin": (b"\x7fELF", "known kind"),
}


def test_sheets_and_arrays_that_cannot_be_read_fail_with_the_reason(stage: Stage) -> None:
    before, wrong = resident(), {}
    for name, (data, says) in HOSTILE_SHEETS.items():
        made = stage.read({name: data})
        if made.state != SampleSetState.FAILED or says not in told(made) or not made.error_fix or "our side" in told(made):
            wrong[name] = (made.state, told(made)[:300])
    assert wrong == {}
    assert resident() - before < GROWTH
    stage.goes_on()


def test_a_small_file_that_repeats_a_long_text_is_cut(stage: Stage) -> None:
    buffer = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(8_000, np.int32)), pa.array(["x" * 90_000]))
    pq.write_table(pa.table({"text": column}), buffer, compression="gzip")
    assert len(buffer.getvalue()) < 100_000
    made = stage.read({"bomb.parquet": buffer.getvalue()}, "text", {"limit": 5})
    assert (made.state, made.n) == (SampleSetState.READY, 5), told(made)
    assert "268435456 characters" in problems(made)["bomb.parquet:2983"]
    stage.goes_on()


@pytest.mark.slow
def test_a_zip_of_a_hundred_thousand_entries_is_refused_unopened(stage: Stage) -> None:
    made = stage.read({"many.zip": zip_of({f"{i}.png": b"" for i in range(100_000)})}, "image")
    assert made.state == SampleSetState.FAILED and "100000, allowed 20000" in told(made), told(made)
    stage.goes_on()


@pytest.mark.slow
def test_five_thousand_files_make_one_set(stage: Stage) -> None:
    made = stage.read({f"folder/{i:04}.png": picture(side=4, seed=i) for i in range(5_000)})
    assert (made.state, made.n, made.n_problems) == (SampleSetState.READY, 5_000, 0), told(made)
    stage.goes_on()


def test_more_single_files_than_the_worker_may_open_are_refused_with_a_way_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 640))
    made = stage.read({f"{i}.png": picture(side=4, seed=i) for i in range(70)})
    assert made.state == SampleSetState.FAILED and "70 files" in told(made) and "one zip" in made.error_fix, told(made)


NAMES = ["a\u202egnp.exe.png", "<script>alert(1)</script>.png", "bell\x07\x1b[31m.png", "n" * 300 + ".png", "zero\u200bwidth.png"]


def test_names_are_shown_without_what_could_deceive_or_run(stage: Stage) -> None:
    made = stage.read({"odd.zip": zip_of(dict.fromkeys(NAMES, b"no image") | {"fine.png": picture()})})
    assert made.state == SampleSetState.READY and made.n_problems == len(NAMES), told(made)
    text = json.dumps(made.problems, ensure_ascii=False)
    assert "\u202e" not in text and "\\u0007" not in text and "\u200b" not in text and "zero\ufffdwidth" in text
    page = client_for(stage.owner).get(made.get_absolute_url()).content.decode()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert(1)" not in page


@pytest.mark.parametrize("kind", ["table", "text", "pair"])
def test_column_names_and_cells_that_a_database_cannot_hold(stage: Stage, kind: str) -> None:
    rows = [{"left_a\0": "x\0y", "right_a\0": "\ud800", "text\ud800": "one\0", "number": i, "a\0b": i * 2} for i in range(5)]
    rows.append({"left_a\0": "x", "right_a\0": "y", "text\ud800": "two", "number": 9, "a\0b": 1})
    made = stage.read({"odd.jsonl": "\n".join(json.dumps(row) for row in rows).encode()}, kind)
    assert made.state in (SampleSetState.READY, SampleSetState.FAILED)
    assert "our side" not in told(made), told(made)
    stage.goes_on()


def test_a_set_that_needs_more_memory_than_allowed_fails_and_the_next_is_read(stage: Stage, settings: Settings) -> None:
    settings.SANDBOX_MEMORY_MB = 256
    made = stage.read({"large.npz": npz_of(x=np.zeros((60_000, 64, 64), np.uint8))})
    assert made.state == SampleSetState.FAILED and "memory" in told(made) and made.error_fix, told(made)
    settings.SANDBOX_MEMORY_MB = 1024
    stage.goes_on()
