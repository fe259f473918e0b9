"""A question is read whole or refused whole: every mistake is named with file, line, key and what is legal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.query import PlanQuery, QueryError, query_from_mapping, read_query

GOOD = {
    "job": {"model": '"gpt3-175b"', "system": '"selene"', "chips": "1024", "global_batch": "1536", "tokens": '"300e9"'},
    "strategy": {"tp": "8"},
}
IMAGES = {"model": '"resnet50"', "system": '"dgx1-v100"', "chips": "64", "global_batch": "8192", "tokens": None}


def text_of(job, strategy):
    """TOML text with one key a line; a value of None leaves the key out."""
    lines = []
    for table, values in (("job", job), ("strategy", strategy)):
        lines.append(f"[{table}]")
        lines += [f"{key} = {value}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def problems_of(path, text):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QueryError) as caught:
        read_query(path)
    return caught.value.problems


@pytest.fixture
def file(tmp_path):
    return tmp_path / "job.toml"


def test_a_good_file_is_read_with_the_catalogues_own_names(file):
    file.write_text(text_of(GOOD["job"], GOOD["strategy"]), encoding="utf-8")
    assert read_query(file) == PlanQuery(
        model="GPT3-175B", system="selene", chips=1024, global_batch=1536, tokens=300e9, fixed=(("tp", 8),)
    )


def test_chips_left_out_mean_the_whole_system():
    query = query_from_mapping(
        {"job": {"model": "gpt3-175b", "system": "nvidia-selene", "global_batch": 1792}}, where="here"
    )
    assert (query.system, query.chips) == ("selene", 0)


def test_pins_are_kept_in_a_fixed_order_and_of_their_own_type():
    strategy = {"sequence_parallel": "true", "recompute": "full", "tp": "4", "pp": 2}
    job = {"model": "gpt3-175b", "system": "selene", "chips": 64, "global_batch": 64}
    query = query_from_mapping({"strategy": strategy, "job": job}, where="here")
    assert query.fixed == (("tp", 4), ("pp", 2), ("recompute", "full"), ("sequence_parallel", True))


def test_a_name_in_another_spelling_is_the_same_question():
    job = {"model": "BERT_large", "system": "tpu-v3-pod", "chips": 8, "global_batch": 64, "precision": "BF16"}
    query = query_from_mapping({"job": job}, where="here")
    assert (query.model, query.precision) == ("BERT-Large", "bf16_mixed")


# (table, key, value, words that must stand in the message); every case changes one key of the good file.
MISTAKES = [
    # names
    ("job", "model", '"gpt3-175"', ["Did you mean 'GPT3-175B'", "Known:"]),
    ("job", "model", '""', ["legal: a name in quotes"]),
    ("job", "model", "175", ["is 175", "legal: a name in quotes"]),
    ("job", "model", '["a"]', ["is a list"]),
    ("job", "system", '"selen"', ["Did you mean 'selene'", "dgx1-v100"]),
    ("job", "system", "true", ["is true", "legal:"]),
    ("job", "stack", '"megatron-lm-2020"', ["Did you mean 'megatron-lm-20"]),
    ("job", "precision", '"bf17"', ["Did you mean 'bf16'", "fp8"]),
    ("job", "precision", '"fp8"', ["a100-sxm4-80gb has no rate for fp8", "legal: fp64, fp32, tf32, fp16_mixed"]),
    ("job", "optimizer", '"adamm"', ["Did you mean 'adam'", "lamb"]),
    # whole numbers
    ("job", "chips", "0", ["is 0", "whole number from 1"]),
    ("job", "chips", "-8", ["is -8", "whole number from 1"]),
    ("job", "chips", "12.0", ["is 12.0", "Write 12."]),
    ("job", "chips", "true", ["is true", "whole number"]),
    ("job", "chips", '"many"', ["is 'many'", "whole number"]),
    ("job", "chips", "999999999999", ["is 999999999999", "to 100_000_000"]),
    ("job", "chips", "4488", ["has 4480 chips", "legal: 1 to 4480"]),
    ("job", "chips", "12", ["legal: a multiple of 8", "Nearest: 8 or 16"]),
    ("job", "chips", "{ count = 8 }", ["is a table", "whole number"]),
    ("job", "global_batch", "0", ["is 0", "whole number from 1"]),
    ("job", "global_batch", "1536.5", ["is 1536.5", "whole number"]),
    ("job", "global_batch", '"1,536"', ["Write 1536."]),
    ("job", "global_batch", '"1.5k"', ["'k' can be read in more than one way", "write 1500"]),
    ("job", "global_batch", '"1536 samples"', ["without a unit"]),
    ("job", "global_batch", "1e3", ["is 1000.0", "Write 1000."]),
    ("job", "seq_len", "0", ["is 0", "whole number"]),
    ("job", "seq_len", '"2k"', ["write 2000"]),
    ("job", "seq_len", "1e20", ["is 1e+20", "whole number"]),
    ("job", "image_size", "224", ["one sequence", "leave it out"]),
    ("job", "top", "0", ["is 0", "to 1_000"]),
    ("job", "top", "1001", ["to 1_000"]),
    # amounts
    ("job", "tokens", '"300B"', ["'B' can be read in more than one way", "write 300e9"]),
    ("job", "tokens", '"300 billion"', ["write 300e9"]),
    ("job", "tokens", '"1.5T"', ["write 1.5e12"]),
    ("job", "tokens", '"300,000"', ["Write 300000."]),
    ("job", "tokens", "0", ["is 0", "above 0"]),
    ("job", "tokens", "-1.0", ["is -1.0", "above 0"]),
    ("job", "tokens", "1e30", ["is 1e+30", "at most 1e18"]),
    ("job", "tokens", '"1e999"', ["is '1e999'", "at most 1e18"]),
    ("job", "tokens", "false", ["is false", "a number above 0"]),
    ("job", "tokens", "2024-01-01", ["legal: a number above 0"]),
    ("job", "samples", "1000", ["together with tokens", "one of tokens, samples, epochs"]),
    ("job", "epochs", "3", ["together with tokens", "one of tokens, samples, epochs"]),
    ("job", "dataset_samples", "100", ["without epochs", "legal: with epochs"]),
    # unknown keys
    ("job", "modell", '"x"', ["not a known key", "Did you mean 'model'"]),
    ("job", "gpus", "8", ["not a known key", "Did you mean 'chips'"]),
    ("job", "batch_size", "8", ["Did you mean 'global_batch'"]),
    ("job", "micro_batch_size", "8", ["Did you mean 'micro_batch', in [strategy]"]),
    ("job", "tp", "8", ["does not belong in [job]", "below [strategy]"]),
    ("strategy", "chips", "8", ["does not belong in [strategy]", "below [job]"]),
    ("strategy", "tensor_model_parallel_size", "8", ["Did you mean 'tp'"]),
    ("strategy", "tpp", "8", ["not a known key", "legal: tp, pp, dp"]),
    # pins
    ("strategy", "tp", "0", ["is 0", "whole number from 1"]),
    ("strategy", "tp", "true", ["is true", "whole number"]),
    (
        "strategy",
        "tp",
        "7",
        ["tp=7 leaves 5 of 96 heads over", "(rule tensor:", "legal: tp 1, 2, 4, 8", "Nearest: tp=8."],
    ),
    ("strategy", "pp", "3", ["tp x pp = 24", "the job has 1024 chips", "legal: pp 1, 2, 4", "Nearest: tp=8 pp=4."]),
    ("strategy", "pp", "128", ["pp=128 exceeds 96 blocks", "Nearest: tp=8 pp=32."]),
    ("strategy", "dp", "1024", ["dp=1024 leaves 512 of 1536 samples over", "legal: dp 1, 2, 4"]),
    ("strategy", "micro_batch", "7", ["micro_batch=7 leaves 3 of 1536 samples over", "Nearest: tp=8 micro_batch=6."]),
    ("strategy", "schedule", '"1F1B"', ["legal: gpipe, 1f1b, interleaved", "Did you mean '1f1b'"]),
    ("strategy", "recompute", '"selectiv"', ["legal: none, selective, full", "Did you mean 'selective'"]),
    ("strategy", "recompute", "true", ["is true", "legal: none, selective, full"]),
    ("strategy", "sharding", '"zero4"', ["legal: none, zero1, zero2, zero3"]),
    ("strategy", "sharding", "3", ["is 3", "zero3"]),
    ("strategy", "sequence_parallel", "1", ["is 1", "legal: true, false"]),
    ("strategy", "sequence_parallel", '"yes"', ["is 'yes'", "legal: true, false"]),
]


def test_there_are_at_least_sixty_seeded_mistakes():
    assert len(MISTAKES) >= 60


@pytest.mark.parametrize(("table", "key", "value", "words"), MISTAKES, ids=lambda x: str(x)[:30])
def test_a_mistake_is_named_with_file_line_key_and_what_is_legal(file, table, key, value, words):
    tables = {name: dict(values) for name, values in GOOD.items()}
    tables[table][key] = value
    text = text_of(tables["job"], tables["strategy"])
    problems = problems_of(file, text)
    rows = text.split("\n")
    line = 1 + next(n for n, row in enumerate(rows) if row.startswith(f"{key} =") and n > rows.index(f"[{table}]"))
    start = f"{file}:{line}: {table}.{key}: "
    mine = [problem for problem in problems if problem.startswith(start)]
    assert mine, problems
    assert any(all(word in problem for word in words) for problem in mine), mine
    assert all("\n" not in problem for problem in problems)


PAIRS = [
    ({"virtual_stages": "2", "pp": "1"}, "virtual_stages", ["with pp = 1"]),
    (
        {"virtual_stages": "2", "schedule": '"1f1b"'},
        "virtual_stages",
        ["legal: virtual_stages 1, or schedule interleaved"],
    ),
    (
        {"tp": "1", "sequence_parallel": "true"},
        "sequence_parallel",
        ["tp above 1", "legal: sequence_parallel false, or tp 2"],
    ),
    (
        {"sharding": '"zero3"', "pp": "2"},
        "sharding",
        ["goes without a pipeline", "legal: sharding none, zero1, zero2, or pp 1."],
    ),
    ({"tp": "8", "pp": "8", "dp": "8", "cp": "1"}, "dp", ["= 512", "the job has 1024 chips", "legal: dp 16, or cp 2"]),
    ({"dp": "16", "micro_batch": "128"}, "micro_batch", ["dp x micro_batch = 2048"]),
]


@pytest.mark.parametrize(("strategy", "key", "words"), PAIRS, ids=lambda x: str(x)[:30])
def test_pins_that_do_not_go_together_are_refused(file, strategy, key, words):
    problems = problems_of(file, text_of(GOOD["job"], strategy))
    assert len(problems) == 1
    assert f": strategy.{key}: " in problems[0]
    assert all(word in problems[0] for word in words), problems[0]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"global_batch": "32"}, "global_batch", ["64 chips cannot share evenly", "legal: a multiple of 64"]),
        ({"global_batch": "1000"}, "global_batch", ["Nearest: 960 or 1024"]),
        ({"tokens": "1e9"}, "tokens", ["takes images", "samples or epochs"]),
        ({"seq_len": "128"}, "seq_len", ["one image", "image_size"]),
        ({"model": '"alexnet"', "image_size": "9"}, "image_size", ["Try a larger image_size"]),
        ({"precision": '"bf16"'}, "precision", ["no rate for bf16", "fp16_mixed"]),
    ],
)
def test_what_an_image_network_cannot_do_is_refused(file, changes, key, words):
    problems = problems_of(file, text_of({**IMAGES, **changes}, {}))
    assert len(problems) == 1
    assert f": job.{key}: " in problems[0]
    assert all(word in problems[0] for word in words), problems[0]


def test_an_image_network_is_only_cut_by_data(file):
    problems = problems_of(file, text_of(IMAGES, {"tp": "8"}))
    assert len(problems) == 1
    assert "strategy.tp: tp=8, but no product of resnet50-v1.5 is split" in problems[0]
    assert problems[0].endswith("legal: tp 1. Nearest: tp=1.")


def test_epochs_of_sequences_need_the_size_of_the_data():
    job = {"model": "gpt3-175b", "system": "selene", "chips": 64, "global_batch": 64, "epochs": 1}
    with pytest.raises(QueryError, match="needs dataset_samples"):
        query_from_mapping({"job": job}, where="here")
    assert query_from_mapping({"job": {**job, "dataset_samples": 1e6}}, where="here").epochs == 1.0


def test_a_large_model_needs_a_batch_that_some_number_of_replicas_shares():
    # 12 blocks on 8 chips a server can be cut 8 x 12 x 8 = 768 ways; 1,024 chips with an odd batch leave one replica.
    job = {"model": "bert-base", "system": "selene", "chips": 1024, "global_batch": 1001}
    with pytest.raises(QueryError, match=r"legal: a multiple of 2\. Nearest: 1000 or 1002"):
        query_from_mapping({"job": job}, where="here")
    assert query_from_mapping({"job": {**job, "global_batch": 1000}}, where="here").global_batch == 1000


def test_all_mistakes_of_a_file_are_reported_at_once(file):
    text = (
        "top_level = 1\n[job]\nmodel = 'gpt3-175'\nsystem = 'selen'\nchips = 0\nglobal_batch = 1.5\ntokens = '300B'\n"
        "gpus = 3\noptimizer = 'adamm'\n[strategy]\ntp = -1\nschedule = 'x'\n[other]\na = 1\n"
    )
    problems = problems_of(file, text)
    lines = sorted(int(re.match(rf"{re.escape(str(file))}:(\d+): ", p)[1]) for p in problems)
    assert lines == [1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13]


def test_every_missing_key_is_named(file):
    problems = problems_of(file, "[strategy]\ntp = 8\n")
    assert [re.search(r"job\.(\w+): is missing; legal: ", p)[1] for p in problems] == [
        "model",
        "system",
        "global_batch",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("job = 3\n", ["job.toml:1: job: is 3", "[job]"]),
        ("[[job]]\nmodel = 'x'\n", ["job.toml:1: job: is a list"]),
        ("model = 'gpt3-175b'\n", ["job.toml:1: model: stands outside its table", "[job]"]),
        ("[jobs]\nmodel = 'x'\n", ["jobs: is not a known table", "Did you mean 'job'"]),
        ("[job\nmodel = 1\n", ["job.toml:1: not TOML"]),
        ("[job]\nmodel = 'a'\nmodel = 'b'\n", ["job.toml:3: not TOML"]),
        ("[job]\nchips = nan\n", ["job.toml:2: job.chips", "not a finite number"]),
        ("[job]\ntokens = inf\n", ["job.toml:2: job.tokens", "not a finite number"]),
        ("[job]\ntokens = 1e999\n", ["job.toml:2: job.tokens", "not a finite number"]),
        (f"[job]\nchips = {'9' * 5000}\n", ["beyond 64 bits"]),
        (f"[job]\nchips = {'9' * 30}\n", ["beyond 64 bits"]),
        (f"x = {'[' * 100_000}{']' * 100_000}\n", ["nested too deeply"]),
        (f"[job]\n{'.'.join('a' * 1000)} = 1\n", ["dotted key"]),
        (f"[job]\nmodel = '{'x' * 100_000}'\n", ["no model 'xxx"]),
        ('[job]\n"\\u001b[2J" = 1\n', ["is not a known key"]),
        ("\ufeff[job]\nchips = 0\n", ["job.toml:2: job.chips: is 0"]),
        ("", ["job.model: is missing"]),
    ],
    ids=lambda x: str(x)[:20],
)
def test_hostile_or_broken_toml_ends_in_one_short_error(file, text, words):
    problems = problems_of(file, text)
    joined = "\n".join(problems)
    assert all(word in joined for word in words), joined[:500]
    assert all(len(problem) < 3000 for problem in problems)


def test_a_directory_a_missing_file_and_binary_data_are_refused(tmp_path):
    with pytest.raises(QueryError, match="this is a directory"):
        read_query(tmp_path)
    with pytest.raises(QueryError, match="there is no such file"):
        read_query(tmp_path / "none.toml")
    with pytest.raises(QueryError, match="cannot be read"):
        read_query("a\0b")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QueryError, match="not UTF-8"):
        read_query(tmp_path / "x.toml")


def test_a_number_in_digits_of_another_script_is_not_read():
    job = {"model": "gpt3-175b", "system": "selene", "chips": "\u0661\u0662\u0668", "global_batch": 128}
    with pytest.raises(QueryError, match=r"job\.chips: is '\\u0661"):
        query_from_mapping({"job": job}, where="here")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(["model", "system", "chips", "global_batch", "tokens", "seq_len", "tp", "dp", "schedule", "x"])


@given(job=st.dictionaries(_KEYS, _VALUES) | _VALUES, strategy=st.dictionaries(_KEYS, _VALUES) | _VALUES)
def test_any_mapping_is_a_question_or_a_query_error(job, strategy):
    problems = ()
    try:
        query_from_mapping({"job": job, "strategy": strategy}, where="here")
    except QueryError as error:
        problems = error.problems
    assert all(problem.startswith("here: ") for problem in problems)
    assert problems or "model" in job
