from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gpuworker.core.errors import Incompatible, SpecError, UnreadableSamples
from gpuworker.core.modalities import text
from gpuworker.core.modalities.batches import strings
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.protocols import ReadResult, SourceFile

from .build import parquet, real, reasons, source, spec_input

ROWS = [("great film", "pos"), ("dull, slow", "neg"), ("café ☕", "pos")]


def read(*files: SourceFile, caps: Caps = DEFAULT_CAPS, **options: object) -> ReadResult:
    return text.read(files, ReadOptions(**options), caps)  # type: ignore[arg-type]


def csv(delimiter: str = ",") -> str:
    return f"text{delimiter}label\n" + "".join(f'"{words}"{delimiter}{label}\n' for words, label in ROWS)


def jsonl() -> str:
    return "\n".join(json.dumps({"text": words, "label": label}) for words, label in ROWS)


def columns() -> dict[str, list[str]]:
    return {"text": [words for words, _ in ROWS], "label": [label for _, label in ROWS]}


@pytest.mark.parametrize(
    "file",
    [
        lambda: source("a.csv", csv()),
        lambda: source("a.csv", csv(";")),
        lambda: source("a.tsv", csv("\t")),
        lambda: source("a.csv", csv().replace("\n", "\r\n")),
        lambda: source("a.csv", b"\xef\xbb\xbf" + csv().encode()),
        lambda: source("a.tsv", csv("\t").encode("utf-16")),
        lambda: source("a.jsonl", jsonl()),
        lambda: source("a.parquet", parquet(columns())),
        lambda: source("a.parquet", parquet({"text": pa.array(columns()["text"]).dictionary_encode(), "label": columns()["label"]})),
    ],
)
def test_every_format_gives_the_same_rows(file: Callable[[], SourceFile]) -> None:
    opened = file()
    result = read(opened, columns=("text",), label_column="label")
    assert strings(result.batch, "text") == [words for words, _ in ROWS]
    assert list(result.label_names) == ["neg", "pos"] and result.labels is not None and result.labels.tolist() == [1, 0, 1]
    assert not result.problems
    assert not opened.stream.closed


def test_txt_has_one_text_per_line() -> None:
    result = read(source("a.txt", "one\n\n  \ntwo\r\nthree"))
    assert strings(result.batch, "text") == ["one", "two", "three"]
    assert result.labels is None


def test_the_label_column_is_read_only_when_chosen_and_never_as_text() -> None:
    long_labels = "review,label\nfine,a very long label that beats every review\nbad,another very long label\n"
    result = read(source("a.csv", long_labels))
    assert strings(result.batch, "text") == ["fine", "bad"]
    assert result.labels is None


def test_bad_csv_rows_are_named_and_skipped() -> None:
    rows = b'text,label\ngood,a\nonly one cell\ntoo,many,cells\n\xff\xfe bad bytes,a\n,a\nlate,a\n"unclosed,a\n'
    result = read(source("a.csv", rows), columns=("text",), label_column="label")
    assert strings(result.batch, "text") == ["good", "late"]
    assert reasons(result) == [
        ("a.csv", 2, "The row has 1 cells, expected 2."),
        ("a.csv", 3, "The row has 3 cells, expected 2."),
        ("a.csv", 4, "The row is not UTF-8."),
        ("a.csv", 7, "The row has 1 cells, expected 2."),
        ("a.csv", 5, "Column 'text' is empty."),
    ]


def test_legacy_encodings_are_read_when_chosen() -> None:
    raw = "text\ncafé au lait\n".encode("latin-1")
    with pytest.raises(UnreadableSamples, match="not UTF-8"):
        read(source("a.csv", raw))
    assert strings(read(source("a.csv", raw), encoding="latin-1").batch, "text") == ["café au lait"]


def test_bad_json_lines_are_named_and_skipped() -> None:
    lines = ['{"text": "fine"}', "{broken", "[1]", '{"text": {"a": 1}}', '{"text": "\\ud800"}', "[" * 100_000, '{"text": "last"}']
    result = read(source("a.jsonl", "\n".join(lines)))
    assert strings(result.batch, "text") == ["fine", "last"]
    assert [row for _, row, _ in reasons(result)] == [2, 3, 4, 5, 6]


def test_caps_on_rows_cells_lines_and_columns() -> None:
    five = source("a.txt", "\n".join("abcde"))
    capped = read(five, caps=replace(DEFAULT_CAPS, rows=3))
    assert strings(capped.batch, "text") == ["a", "b", "c"]
    assert reasons(capped) == [("a.txt", 4, "Only the first 3 rows of the set are used.")]
    long = read(source("a.csv", "text\nok\n" + "x" * 300 + "\n"), caps=replace(DEFAULT_CAPS, cell_chars=200))
    assert reasons(long) == [("a.csv", 2, "A cell is longer than 200 characters.")]
    with pytest.raises(UnreadableSamples, match="too many columns"):
        read(source("a.csv", "a," * 1_000_000 + "b\n"))
    with pytest.raises(UnreadableSamples, match="line is too long"):
        read(source("a.csv", "a" * 5_000_000))
    with pytest.raises(UnreadableSamples, match="too large"):
        read(source("a.txt", "x"), caps=replace(DEFAULT_CAPS, file_bytes=0))


def test_a_parquet_bomb_is_refused_by_its_footer() -> None:
    bomb = parquet({"text": pa.array(["x" * 1_000] * 100_000)}, use_dictionary=False, compression="zstd")
    assert len(bomb) < 1_000_000
    with pytest.raises(UnreadableSamples, match="too large unpacked"):
        read(source("a.parquet", bomb), caps=replace(DEFAULT_CAPS, inflated_bytes=10_000_000))


def test_broken_parquet_is_named() -> None:
    data = parquet(columns())
    result = read(source("ok.txt", "fine"), source("cut.parquet", data[:-20]), source("no.parquet", b"PAR1"))
    assert [name for name, _, _ in reasons(result)] == ["cut.parquet", "no.parquet"]
    damaged = bytearray(data)
    damaged[8:60] = bytes(52)
    with pytest.raises(UnreadableSamples):
        read(source("damaged.parquet", bytes(damaged)))


def test_columns_that_are_missing_or_hold_lists_are_named() -> None:
    with pytest.raises(UnreadableSamples, match="no column 'body'.*text, label"):
        read(source("a.csv", csv()), columns=("body",))
    with pytest.raises(UnreadableSamples, match="expected text or numbers"):
        read(source("a.parquet", parquet({"tokens": [["a"], ["b"]]})), columns=("tokens",))
    with pytest.raises(UnreadableSamples, match="one column"):
        read(source("a.csv", csv()), columns=("text", "label"))
    with pytest.raises(UnreadableSamples, match="Two columns have one name"):
        read(source("a.csv", "a,a\n1,2\n"))


def test_labels_stored_names_wanted_names_and_unknown_ones() -> None:
    data = parquet({"text": ["a", "b", "c"], "label": pa.array([1, 0, -1])}, {"label_names": '["negative", "positive"]'})
    result = read(source("a.parquet", data), label_column="label")
    assert list(result.label_names) == ["negative", "positive"] and result.labels is not None and result.labels.tolist() == [1, 0]
    assert reasons(result) == [("a.parquet", 3, "'-1' is none of the labels.")]
    wanted = read(source("a.csv", csv()), columns=("text",), label_column="label", label_names=("pos", "neg", "mixed"))
    assert list(wanted.label_names) == ["pos", "neg", "mixed"] and wanted.labels is not None and wanted.labels.tolist() == [0, 1, 0]


def test_where_keeps_matching_rows_and_limit_counts_usable_ones() -> None:
    data = "text,split\na,train\nb,test\n,test\nc,test\nd,test\n"
    kept = read(source("a.csv", data), columns=("text",), where_column="split", where_value="test", limit=2)
    assert strings(kept.batch, "text") == ["b", "c"]


def test_duplicates() -> None:
    result = read(source("a.txt", "Good film.\nGood film.\ngood  film\nother"))
    assert (result.exact_duplicates, result.near_duplicates) == (1, 1)


def test_words_drop_stop_words_and_case() -> None:
    assert text.words(read(source("a.txt", "The CAFÉ isn't on Route 66")).batch) == [["café", "isn't", "route", "66"]]


def ngrams(lines: str, **fields: object) -> np.ndarray:
    spec = spec_input("text", kind="hashed_ngrams", **fields)
    batch = read(source("a.txt", lines)).batch
    return text.encode(batch, 0, batch.n, spec, ["x"])["x"]


def test_hashed_ngrams_weighting_and_norm_by_hand() -> None:
    counted = ngrams("good good bad", features=64, norm="none")
    assert counted.dtype == np.float32 and sorted(counted[counted > 0].tolist()) == [1, 2]
    assert sorted(ngrams("good good bad", features=64, weighting="binary", norm="none").ravel()[-64:][counted[0] > 0].tolist()) == [1, 1]
    logged = ngrams("good good bad", features=64, weighting="log", norm="none")
    np.testing.assert_allclose(sorted(logged[logged > 0]), [math.log(2), math.log(3)], atol=1e-6)
    unit = ngrams("good good bad", features=64)
    np.testing.assert_allclose(sorted(unit[unit > 0]), [1 / math.sqrt(5), 2 / math.sqrt(5)], atol=1e-6)
    np.testing.assert_allclose(ngrams("good good bad", features=64, norm="l1").sum(), 1, atol=1e-6)


def test_hashed_ngrams_columns_never_move() -> None:
    assert np.flatnonzero(ngrams("good", features=4096)).tolist() == [65]
    assert np.flatnonzero(ngrams("Good", features=4096, lowercase=False)).tolist() != [65]


def test_hashed_ngrams_are_the_documented_vectorizer() -> None:
    lines = ["never ever again", "Ångström naïve"]
    expected = (
        HashingVectorizer(n_features=512, analyzer="char_wb", ngram_range=(2, 4), alternate_sign=False, norm="l2")
        .transform(lines)
        .toarray()
    )
    np.testing.assert_allclose(ngrams("\n".join(lines), features=512, analyzer="char_wb", ngrams=[2, 4]), expected, atol=1e-6)


def tokenizer_json() -> dict[str, object]:
    tokenizer = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "good": 3, "film": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)])
    return dict(json.loads(tokenizer.to_str()))


def test_token_ids_padding_truncation_and_masks() -> None:
    batch = read(source("a.txt", "good film\ngood good good bad")).batch
    spec = spec_input("text", kind="tokenizer", tokenizer=tokenizer_json(), max_length=5, pad_id=9)
    ids = text.encode(batch, 0, 2, spec, ["ids"])["ids"]
    assert ids.dtype == np.int64 and ids.tolist() == [[0, 3, 4, 1, 9], [0, 3, 3, 3, 1]]
    named = {**spec, "inputs": {"a": "ids", "m": "attention_mask", "t": "type_ids"}, "dtype": "int32"}
    fed = text.encode(batch, 0, 1, named, ["a", "m", "t"])
    assert fed["m"].tolist() == [[1, 1, 1, 1, 0]] and fed["t"].tolist() == [[0] * 5] and fed["a"].dtype == np.int32


def test_token_inputs_must_be_those_of_the_model() -> None:
    batch = read(source("a.txt", "good")).batch
    spec = spec_input("text", kind="tokenizer", tokenizer=tokenizer_json(), max_length=5)
    with pytest.raises(Incompatible, match="more than one input"):
        text.encode(batch, 0, 1, spec, ["a", "b"])
    with pytest.raises(Incompatible, match="Spec: a; model: b"):
        text.encode(batch, 0, 1, {**spec, "inputs": {"a": "ids"}}, ["b"])
    with pytest.raises(SpecError, match="tokenizer cannot be read"):
        text.encode(batch, 0, 1, {**spec, "tokenizer": {"model": 1}}, ["a"])


def test_features_do_not_depend_on_other_rows_and_stay_golden() -> None:
    lines = "a good film about bad men\nthe camera broke after one week\n☕"
    found = text.features(read(source("a.txt", lines)).batch)
    assert found.shape == (3, 1024) and found.dtype == np.float32
    np.testing.assert_allclose(found[:1], text.features(read(source("a.txt", lines.split("\n")[0])).batch), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[:2], axis=1), math.sqrt(2), atol=0.25)
    np.testing.assert_allclose([found[0, :512].sum(), found[0, 512:].sum(), found[0, 7], found[1, 100]], GOLDEN, atol=1e-4)


GOLDEN = [0.632456, 0.862662, 0.0, 0.171499]


def test_preview_says_when_it_is_cut() -> None:
    batch = read(source("a.txt", "x" * 3_000 + "\nshort")).batch
    assert text.preview(batch, 0) == {"kind": "text", "text": "x" * 2_000, "cut": True}
    assert text.preview(batch, 1) == {"kind": "text", "text": "short", "cut": False}


def test_real_reviews() -> None:
    result = read(real("text/reviews_books.parquet"), label_column="label")
    assert result.batch.n == 1982 and list(result.label_names) == ["negative", "positive"] and not result.problems
    assert result.batch.meta["column"] == "text"
    assert read(real("text/reviews_books.parquet"), where_column="split", where_value="test").batch.n < 600
