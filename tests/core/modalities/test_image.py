from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities import image
from gpuworker.core.modalities.options import DEFAULT_CAPS, ReadOptions
from gpuworker.core.modalities.pixels import image_at
from gpuworker.core.protocols import ReadResult, SourceFile

from .build import npz, picture, real, reasons, source, spec_input, zipped


def read(*files: SourceFile, caps: object = DEFAULT_CAPS, **options: object) -> ReadResult:
    return image.read(files, ReadOptions(**options), caps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "ending", "exact"),
    [("PNG", "png", True), ("BMP", "bmp", True), ("TIFF", "tif", True), ("JPEG", "jpg", False), ("WEBP", "webp", False)],
)
def test_every_format_is_read(kind: str, ending: str, exact: bool) -> None:
    data = picture(kind)
    result = read(source(f"a.{ending}", data))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert result.batch.n == 1
    np.testing.assert_allclose(image_at(result.batch, 0), expected, atol=0 if exact else 1)


def test_images_of_different_sizes_keep_theirs() -> None:
    result = read(source("a.png", picture(size=(8, 6))), source("b.png", picture(size=(5, 9), mode="L")))
    assert [image_at(result.batch, i).shape for i in (0, 1)] == [(6, 8, 3), (9, 5, 1)]
    assert result.batch.meta == {"modality": "image", "max_side": 512, "channels": [1, 3], "height": [6, 9], "width": [5, 8]}


def test_large_images_are_scaled_down_and_the_side_shrinks_with_the_count() -> None:
    assert image_at(read(source("a.png", picture(size=(1024, 256)))).batch, 0).shape == (128, 512, 3)
    small = replace(DEFAULT_CAPS, decoded_bytes=2 * 128 * 128 * 3)
    result = read(source("a.png", picture(size=(200, 100))), source("b.png", picture(size=(200, 100))), caps=small)
    assert result.batch.meta["max_side"] == 128
    assert result.batch.n == 2


def test_transparent_pixels_lie_on_white_and_16_bit_grey_is_scaled() -> None:
    clear = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))
    wide = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    files = []
    for i, picture_ in enumerate((clear, wide)):
        out = io.BytesIO()
        picture_.save(out, "PNG")
        files.append(source(f"{i}.png", out.getvalue()))
    batch = read(*files).batch
    assert image_at(batch, 0).tolist() == [[[255, 255, 255], [10, 20, 30]]]
    assert image_at(batch, 1)[..., 0].tolist() == [[0, 1, 255]]


def test_camera_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (8, 4)).save(out, "JPEG", exif=exif)
    assert image_at(read(source("a.jpg", out.getvalue())).batch, 0).shape == (8, 4, 3)


def test_folders_are_labels_when_asked() -> None:
    files = [source("set/cat/1.png", picture(seed=1)), source("set/dog/1.png", picture(seed=2)), source("loose.png", picture(seed=3))]
    result = read(*files, labels_from="folder")
    assert list(result.label_names) == ["cat", "dog"]
    assert result.labels is not None and result.labels.tolist() == [0, 1]
    assert reasons(result) == [("loose.png", 1, "It has no label.")]
    assert read(*files).labels is None


def test_bad_files_are_named_and_skipped() -> None:
    good = picture()
    result = read(
        source("good.png", good),
        source("cut.png", good[: len(good) // 2]),
        source("text.png", b"hello"),
        source("empty.png", b""),
        source("notes.doc", b"x"),
        source("gif.png", picture("GIF", mode="L")),
    )
    assert result.batch.n == 1
    assert [(name, reason.split(":")[0]) for name, _, reason in reasons(result)] == [
        ("cut.png", "The image is broken"),
        ("text.png", "It is not a PNG, JPEG, WebP, BMP or TIFF image."),
        ("empty.png", "It is not a PNG, JPEG, WebP, BMP or TIFF image."),
        ("notes.doc", "It is no image file; expected .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff."),
        ("gif.png", "It is not a PNG, JPEG, WebP, BMP or TIFF image."),
    ]


def test_nothing_usable_is_an_error_that_quotes_the_reason() -> None:
    with pytest.raises(UnreadableSamples) as caught:
        read(source("a.png", b"x"))
    assert "a.png: It is not a PNG" in caught.value.detail
    assert caught.value.fix


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9_000, 9_000), (12_000, 12_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    result = read(source("good.png", picture()), source("bomb.png", png_claiming(*size)))
    assert result.batch.n == 1
    (problem,) = result.problems
    assert problem.name == "bomb.png" and "pixels" in problem.reason


def encrypted(data: bytes) -> bytes:
    raw = bytearray(zipped({"a.png": data}, zipfile.ZIP_STORED))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + place] |= 1
    return bytes(raw)


def test_zip_entries_are_checked_one_by_one() -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO(zipped({
        "cats/1.png": picture(seed=1), "../up.png": picture(), "/root.png": picture(), "a/../../b.png": picture(), "C:/x.png": picture(),
        "inner.zip": zipped({"a.png": picture()}), "zero.png": bytes(1_000_000), "__MACOSX/._1.png": b"x", "notes.txt": b"x",
    }))  # fmt: skip
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    result = read(source("set.zip", out.getvalue()), source("locked.zip", encrypted(picture())), labels_from="folder")
    assert result.batch.n == 1 and list(result.label_names) == ["cats"]
    assert {name: reason for name, _, reason in reasons(result)} == {
        "set.zip/../up.png": "Its path leaves the archive.",
        "set.zip//root.png": "Its path leaves the archive.",
        "set.zip/a/../../b.png": "Its path leaves the archive.",
        "set.zip/C:/x.png": "Its path leaves the archive.",
        "set.zip/inner.zip": "It is an archive inside an archive.",
        "set.zip/zero.png": "It unpacks to more than 200 times its size.",
        "set.zip/notes.txt": "It is no image file; expected .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff.",
        "set.zip/link.png": "It is a link.",
        "locked.zip/a.png": "It is encrypted.",
    }


def test_zips_with_too_much_in_them_are_refused_whole() -> None:
    many = zipped({f"{i}.png": b"x" for i in range(5)})
    for caps, words in (
        (replace(DEFAULT_CAPS, entries=4), "too many files"),
        (replace(DEFAULT_CAPS, inflated_bytes=4), "too large unpacked"),
    ):
        with pytest.raises(UnreadableSamples, match=words):
            read(source("many.zip", many), caps=caps)
    with pytest.raises(UnreadableSamples, match="not a readable zip"):
        read(source("broken.zip", many[:-30]))


def test_npz_layouts_give_the_same_images() -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    variants = [
        npz(x=x),
        npz(X=x),
        npz(x=x / 255.0),
        npz(x=x.transpose(0, 3, 1, 2)),
        npz(x=np.asfortranarray(x)),
        npz(x=x.astype(np.int64)),
    ]
    for data in variants:
        np.testing.assert_array_equal(image.values(read(source("a.npz", data)).batch), x)
    grey = image.values(read(source("a.npz", npz(x=x[..., 0]))).batch)
    np.testing.assert_array_equal(grey, x[..., :1])


def test_npz_labels_and_names() -> None:
    x = np.zeros((3, 4, 4), np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None]
    named = read(source("a.npz", npz(x=x, y=np.array([2, 0, 2]), label_names=np.array(["a", "b", "c"]))))
    assert list(named.label_names) == ["a", "b", "c"] and named.labels is not None and named.labels.tolist() == [2, 0, 2]
    plain = read(source("a.npz", npz(x=x, y=np.array([10.0, 9.0, 10.0]))))
    assert list(plain.label_names) == ["9", "10"] and plain.labels is not None and plain.labels.tolist() == [1, 0, 1]
    assert read(source("a.npz", npz(x=x, y=np.array([2, 0, 2]))), labels_from="none").labels is None
    with pytest.raises(UnreadableSamples, match="2 labels, 3 images"):
        read(source("a.npz", npz(x=x, y=np.array([1, 2]))))


def test_npz_rows_with_bad_numbers_are_named() -> None:
    x = np.full((4, 2, 2), 0.5)
    x[1, 0, 0], x[2, 0, 0], x[3, 0, 0] = np.nan, 3.0, np.inf
    result = read(source("a.npz", npz(x=x)))
    assert image_at(result.batch, 0)[..., 0].tolist() == [[128, 128], [128, 128]]
    assert [(row, reason.split(",")[0]) for _, row, reason in reasons(result)] == [
        (2, "The image holds NaN or infinite values."),
        (3, "The image holds values 0.5 to 3"),
        (4, "The image holds NaN or infinite values."),
    ]


def test_npz_with_python_objects_never_opens_a_pickle() -> None:
    with pytest.raises(UnreadableSamples, match="never Python objects"):
        read(source("a.npz", npz(x=np.array([{"a": 1}], dtype=object))))
    with pytest.raises(UnreadableSamples, match="never Python objects"):
        read(source("a.npz", npz(x=np.zeros(2, [("a", "f4"), ("b", "O")]))))


def lying_npz(shape: tuple[int, ...]) -> bytes:
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    return zipped({"x.npy": head + bytes(16)})


def test_npz_headers_are_checked_before_inflating() -> None:
    with pytest.raises(UnreadableSamples, match="declares"):
        read(source("a.npz", lying_npz((1_000_000, 1_000, 1_000))))
    with pytest.raises(UnreadableSamples, match="too large"):
        read(source("a.npz", npz(x=np.zeros((100, 64, 64), np.uint8))), caps=replace(DEFAULT_CAPS, inflated_bytes=400_000))
    with pytest.raises(UnreadableSamples, match="x.npy"):
        read(source("a.npz", zipped({"x.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65_535})))


def test_limit_and_decoded_cap_stop_early() -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    assert read(source("a.npz", npz(x=x)), limit=3).batch.n == 3
    capped = read(source("a.npz", npz(x=x)), caps=replace(DEFAULT_CAPS, decoded_bytes=300))
    assert capped.batch.n == 4
    assert "Only the first 4 images" in capped.problems[-1].reason


def test_exact_and_near_duplicates_are_counted_apart() -> None:
    base = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    nudged = base.copy()
    nudged[0, 0] = 255 - nudged[0, 0] // 2
    other = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    result = read(source("a.npz", npz(x=np.stack([base, base, nudged, other]))))
    assert (result.exact_duplicates, result.near_duplicates) == (1, 1)


GOLDEN = np.array([[[[0], [255]], [[51], [102]]]], np.uint8)


def encoded(pixels: np.ndarray, **fields: object) -> np.ndarray:
    batch = read(source("a.npz", npz(x=pixels))).batch
    return image.encode(batch, 0, len(pixels), spec_input("image", **fields), ["data"])["data"]


def test_encode_scaling_by_hand() -> None:
    size = {"height": 2, "width": 2, "channels": 1}
    np.testing.assert_allclose(encoded(GOLDEN, **size), [[[[0, 1], [0.2, 0.4]]]], atol=1e-7)
    np.testing.assert_allclose(encoded(GOLDEN, **size, invert=True), [[[[1, 0], [0.8, 0.6]]]], atol=1e-7)
    np.testing.assert_allclose(encoded(GOLDEN, **size, range=[-1, 1]), [[[[-1, 1], [-0.6, -0.2]]]], atol=1e-6)
    np.testing.assert_allclose(encoded(GOLDEN, **size, mean=[0.5], std=[0.25]), [[[[-2, 2], [-1.2, -0.4]]]], atol=1e-6)
    raw = encoded(GOLDEN, **size, dtype="uint8", mean=[9])
    assert raw.dtype == np.uint8 and raw.tolist() == [[[[0, 255], [51, 102]]]]
    assert encoded(GOLDEN, **size, dtype="float16").dtype == np.float16


def test_encode_layouts_and_channels() -> None:
    rgb = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    size = {"height": 2, "width": 3, "channels": 3, "range": [0, 255]}
    np.testing.assert_array_equal(encoded(rgb, **size, layout="NHWC"), rgb)
    np.testing.assert_array_equal(encoded(rgb, **size), rgb.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(encoded(rgb, **size, layout="flat"), rgb.transpose(0, 3, 1, 2).reshape(2, -1))
    np.testing.assert_array_equal(encoded(rgb, **size, mean=[0, 1, 2])[:, 2], rgb[..., 2].astype(float) - 2)
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert encoded(red, height=2, width=2, channels=1, range=[0, 255]).ravel().tolist() == [76] * 4
    assert encoded(GOLDEN, height=2, width=2, channels=3, range=[0, 255])[0, :, 0, 1].tolist() == [255, 255, 255]


def test_encode_resize_modes() -> None:
    wide = np.zeros((1, 2, 4, 1), np.uint8)
    wide[0, :, :2] = 255
    options = {"height": 2, "width": 2, "channels": 1, "interpolation": "nearest", "range": [0, 255]}
    assert encoded(wide, **options)[0, 0].tolist() == [[255, 0], [255, 0]]
    assert encoded(wide, **options, resize="crop")[0, 0].tolist() == [[255, 0], [255, 0]]
    tall = {**options, "height": 4, "width": 4}
    assert encoded(wide, **tall, resize="fit")[0, 0].tolist() == [[0] * 4, [255, 255, 0, 0], [255, 255, 0, 0], [0] * 4]
    # Padding stays 0 when the picture is inverted.
    assert encoded(wide, **tall, resize="fit", invert=True)[0, 0].tolist() == [[0] * 4, [0, 0, 255, 255], [0, 0, 255, 255], [0] * 4]


def test_features_do_not_depend_on_other_rows_and_stay_golden() -> None:
    x = np.stack([np.full((32, 32, 3), 128), np.tile(np.arange(0, 256, 8)[:, None, None], (1, 32, 3))]).astype(np.uint8)
    batch = read(source("a.npz", npz(x=x))).batch
    found = image.features(batch)
    assert found.shape == (2, 398) and found.dtype == np.float32
    alone = image.features(read(source("a.npz", npz(x=x[1:]))).batch)
    np.testing.assert_allclose(found[1:], alone, atol=1e-6)
    # A flat image has no edges; a vertical ramp has all of them in the middle orientation of each cell.
    np.testing.assert_allclose(found[0, :128], 0)
    assert (found[1, :128].reshape(16, 8).argmax(1) == 4).all()
    np.testing.assert_allclose(found[1, 192:206], GOLDEN_RAMP, atol=2e-4)
    np.testing.assert_allclose([found[1, 206:334].sum(), found[1, 334:366].sum(), found[1, 366:].sum()], GOLDEN_RESPONSES, atol=2e-3)


GOLDEN_RAMP = [0.486274] * 3 + [0.289666] * 3 + [0, 8 / 255, 62 / 255, 124 / 255, 186 / 255, 240 / 255, 8 / 255, 0.289666]
GOLDEN_RESPONSES = [1.49905, 12.0, 1.03413]


def test_values_resize_only_what_does_not_share_a_shape() -> None:
    mixed = read(source("a.png", picture(size=(8, 6))), source("b.png", picture(size=(5, 9))))
    assert image.values(mixed.batch).shape == (2, 32, 32, 3)


def test_preview_is_a_small_png() -> None:
    shown = image.preview(read(source("a.png", picture(size=(500, 100)))).batch, 0)
    head, data = shown["src"].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (256, 51) == (shown["width"], shown["height"])


@pytest.mark.parametrize(("name", "n", "shape"), [("digits_usps", 9298, (28, 28, 1)), ("pacs_photo", 1339, (32, 32, 3))])
def test_real_sets(name: str, n: int, shape: tuple[int, ...]) -> None:
    result = read(real(f"image/{name}.npz"))
    assert result.batch.n == n and not result.problems
    assert image.values(result.batch).shape == (n, *shape)
    assert result.labels is not None and len(set(result.labels.tolist())) == len(result.label_names)


def test_real_jpeg_bytes_and_original_files() -> None:
    result = read(real("image/objects_cifar10.npz"), limit=50)
    assert result.batch.n == 50 and result.batch.meta["height"] == [32, 32]
    names = ["art_painting_dog_0.jpg", "art_painting_dog_1.jpg", "art_painting_elephant_0.jpg"]
    originals = read(*(real(f"image/originals_pacs/{name}") for name in names))
    assert originals.batch.n == 3 and originals.batch.meta["width"] == [227, 227]
