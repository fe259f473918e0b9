"""Every bad file ends in one `DataFileError` that says where; no file ends in anything else."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.datafile import MAX_BYTE, DataFileError, did_you_mean, parse_toml, read_toml, unknown_name

EXAMPLE = '''\
# a comment with [brackets] and "quotes"
title = "x = 1"  # [not.a.table]

text = """
[looks.like.a.header]
key = 1
"""
raw = \'\'\'
[another] "\'\'\'
list = [
  "one ] bracket", # comment ]
  [2, 3],
]
after = 5

[memory]
bandwidth = { value = 3.35, unit = "TB/s" }
"quoted.key" = 1
a.b.c = 2

[memory.inner]
deep = 1

[[layers]]
name = "first"

[[layers]]
name = "second"
  [layers.shape]
  rows = 3
  [[layers.parts]]
  id = 1
  [[layers.parts]]
  id = 2
'''


@pytest.mark.parametrize(
    ("key", "content"),
    [
        (("title",), "title ="),
        (("text",), "text ="),
        (("raw",), "raw ="),
        (("list",), "list ="),
        (("list", 1), "list ="),
        (("after",), "after ="),
        (("memory",), "[memory]"),
        (("memory", "bandwidth"), "bandwidth ="),
        (("memory", "bandwidth", "unit"), "bandwidth ="),
        (("memory", "quoted.key"), '"quoted.key" ='),
        (("memory", "a", "b", "c"), "a.b.c ="),
        (("memory", "missing"), "[memory]"),
        (("memory", "inner", "deep"), "deep ="),
        (("layers", 0, "name"), 'name = "first"'),
        (("layers", 1, "name"), 'name = "second"'),
        (("layers", 1, "shape", "rows"), "rows ="),
        (("layers", 1, "parts", 0, "id"), "id = 1"),
        (("layers", 1, "parts", 1, "id"), "id = 2"),
    ],
)
def test_line_of_a_key_is_where_it_stands(key: tuple[str | int, ...], content: str) -> None:
    file = parse_toml(EXAMPLE, name="x.toml")
    line = file.line_of(key)
    assert line is not None
    assert EXAMPLE.splitlines()[line - 1].strip().startswith(content)


def test_line_of_an_escaped_key_is_found() -> None:
    assert parse_toml('\n"a\\u0042\\\\" = 1', name="x.toml").line_of(("aB\\",)) == 2


def test_line_of_an_unknown_key_at_the_top_is_none() -> None:
    assert parse_toml(EXAMPLE, name="x.toml").line_of(("nothing",)) is None


def test_problem_names_file_line_and_key() -> None:
    file = parse_toml(EXAMPLE, name="x.toml")
    assert file.problem(("layers", 1, "name"), "is wrong.") == "x.toml:28: layers[1].name: is wrong."
    assert file.problem(("nothing",), "is missing.") == "x.toml: nothing: is missing."


KEYS = st.text(alphabet="abcxyz_-09", min_size=1, max_size=4)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(-9, 9), min_size=1, max_size=4), max_size=5))
def test_line_of_finds_every_key_of_a_generated_file(tables: dict[str, dict[str, int]]) -> None:
    lines: list[str] = []
    expected = {}
    for table, items in tables.items():
        lines += ["", f"[{table}]"]
        for key, value in items.items():
            lines.append(f"{key} = {value}")
            expected[table, key] = len(lines)
    file = parse_toml("\n".join(lines), name="x.toml")
    assert file.data == tables
    assert {key: file.line_of(key) for key in expected} == expected


HOSTILE = {
    "not utf-8": (b"a = 1\nb = \xff\n", "x.toml:2: not UTF-8 text"),
    "utf-16": ("a = 1".encode("utf-16"), "x.toml:1: not UTF-8 text"),
    "nul": (b"a = \x00", "x.toml:1: not TOML"),
    "syntax": (b"a = 1\nb = = 2\n", "x.toml:2: not TOML: Invalid value (column 5)"),
    "end": (b"a = 1\nb = [1,", "x.toml:2: not TOML"),
    "twice": (b"a = 1\na = 2", "x.toml:2: not TOML: Cannot overwrite a value"),
    "brackets": (b"a = " + b"[" * 100_000, "x.toml: nested too deeply"),
    "braces": (b"a = " + b"{a=" * 100_000, "x.toml: nested too deeply"),
    "balanced": (b"a = " + b"[" * 200 + b"]" * 200, "nested too deeply"),
    "dotted key": (b"\na" + b".a" * 100_000 + b" = 1", "x.toml:2: a dotted key with more than 32 parts"),
    "dotted header": (b"[a" + b".a" * 100_000 + b"]", "x.toml:1: a dotted key with more than 32 parts"),
    "dotted inline": (b"x = {a" + b".a" * 100_000 + b" = 1}", "x.toml:1: a dotted key with more than 32 parts"),
    "forty parts": (b"a" + b".a" * 40 + b" = 1", "nested too deeply; at most 32 levels"),
    "huge integer": (b"a = 1" + b"0" * 5000, "x.toml: holds an integer beyond 64 bits"),
    "large integer": (b"\na = 9223372036854775808", "x.toml:2: a: an integer beyond 64 bits"),
    "nan": (b"[t]\na = nan", "x.toml:2: t.a: nan is not a finite number"),
    "inf": (b"a = [1.0, -inf]", "x.toml:1: a[1]: -inf is not a finite number"),
    "overflow": (b"a = 1e999", "x.toml:1: a: inf is not a finite number"),
    "too large": (b"#" * (MAX_BYTE + 1), "x.toml: larger than 10 MiB"),
    "long word": (b"a" * 1_000_000, "x.toml:1: not TOML"),
    "yaml": (b"a:\n  - 1\n", "x.toml:1: not TOML"),
    "date": (b"a = 2024-13-45", "x.toml:1: not TOML"),
}


@pytest.mark.parametrize(("content", "problem"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_refused_with_its_place(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as refusal:
        read_toml(path, name="x.toml")
    assert problem in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"nowhere\.toml: there is no such file"):
        read_toml(tmp_path / "nowhere.toml")


def test_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="this is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "a.toml/b.toml"])
def test_impossible_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.toml").write_text("a = 1")
    with pytest.raises(DataFileError):
        read_toml(str(tmp_path / name))


def test_file_is_called_by_the_path_as_given(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("a = [nan]")
    with pytest.raises(DataFileError, match=r"job\.toml:1: a\[0\]: nan"):
        read_toml(path)
    assert str(path) in DataFileError(f"{path}: x").problems[0]


def test_all_bad_values_are_reported_together() -> None:
    with pytest.raises(DataFileError) as refusal:
        parse_toml("a = nan\nb = 1\nc = inf\n", name="x.toml")
    assert refusal.value.problems == (
        "x.toml:1: a: nan is not a finite number.",
        "x.toml:3: c: inf is not a finite number.",
    )
    assert str(refusal.value) == "\n".join(refusal.value.problems)


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DataFileError("one", "two")))
    assert error.problems == ("one", "two")


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf[t]\r\na = 1\r\nb = 2\r\n")
    file = read_toml(path)
    assert file.data == {"t": {"a": 1, "b": 2}}
    assert file.line_of(("t", "b")) == 3


def test_prose_with_dots_is_not_taken_for_a_dotted_key() -> None:
    text = "word. " * 60 + "Version 1.2.3 of a.b.c.d"
    assert parse_toml(f'note = "{text}"', name="x.toml").data == {"note": text}


@given(st.text(alphabet=st.sampled_from("ab=[]{}\"'.,#\n \\1-"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        file = parse_toml(text, name="x.toml")
    except DataFileError as error:
        problems = error.problems
    else:
        problems = ("x.toml",)
        assert all(file.line_of((key,)) is not None for key in file.data)
    assert problems
    assert all(problem.startswith("x.toml") for problem in problems)


@pytest.mark.parametrize(
    ("word", "known", "answer"),
    [
        ("bandwith", ["bandwidth", "capacity"], " Did you mean 'bandwidth'?"),
        ("BANDWIDTH", ["bandwidth"], " Did you mean 'bandwidth'?"),
        ("v1000", ["v100-sxm2-16gb", "h100-sxm5", "tpu-v2"], " Did you mean 'v100-sxm2-16gb'?"),
        ("zebra", ["bandwidth", "capacity"], ""),
        ("x", [], ""),
        ("", ["bandwidth"], ""),
    ],
)
def test_nearest_known_word_is_offered(word: str, known: list[str], answer: str) -> None:
    assert did_you_mean(word, known) == answer


def test_unknown_name_lists_what_is_known() -> None:
    assert unknown_name("chip", "h10", ["v100", "h100"]) == (
        "no chip 'h10' in the catalogue. Did you mean 'h100'? Known: h100, v100."
    )


def test_unknown_name_stays_short_for_long_input() -> None:
    assert len(unknown_name("chip", "x" * 10**6, [f"chip-{i}" for i in range(1000)])) < 1000
