"""Software stacks: every file that ships, what a file may say, and which stack a table's row ran on."""

from __future__ import annotations

import csv
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import simulator.stack as stacks
from hwmodels.datafile import DataFileError, read_toml
from simulator.stack import Stack, StackError, _read, resolve_stack, stack, stack_ids
from workloads.catalog import model, resolve_model
from workloads.optimizer import optimizer
from workloads.workload import FAMILIES

SMALLEST = {"id": "made", "name": "Made", "year": 2024, "framework": "none", "family": "made", "source": "by hand"}


def read(folder: Path, **changes: object) -> Stack:
    """A stack file with the smallest content and the changes; a value None leaves a key out."""
    lines = [
        f"{key} = {value!r}".replace("'", '"').replace("True", "true") for key, value in (SMALLEST | changes).items()
        if value is not None
    ]  # fmt: skip
    path = folder / "made.toml"
    path.write_text("\n".join(["schema = 1", *lines]) + "\n", "utf-8")
    return _read(read_toml(path))


def test_there_are_stacks_of_every_era() -> None:
    years = {stack(name).year for name in stack_ids()}
    assert len(stack_ids()) >= 50
    assert min(years) <= 2017
    assert max(years) >= 2024


@pytest.mark.parametrize("name", stack_ids())
def test_a_stack_is_named_after_its_file_and_says_where_it_is_from(name: str) -> None:
    one = stack(name)
    assert one.id == name
    assert (files("simulator") / "data" / "stacks" / f"{name}.toml").is_file()
    assert one.source
    assert 2012 <= one.year <= 2026
    assert all(len(match) in (2, 3) for match in one.matches)
    assert not one.optimizer or optimizer(one.optimizer)
    assert one.bucket_byte >= 0.0
    assert one.framework_reserve_byte >= 0.0


def test_an_unknown_stack_is_refused_with_the_nearest() -> None:
    with pytest.raises(StackError, match=r"no stack 'nanotrn' in .* Did you mean 'nanotron'"):
        stack("nanotrn")


def test_the_smallest_file_is_a_stack_with_the_defaults(tmp_path: Path) -> None:
    one = read(tmp_path)
    assert one == Stack(**SMALLEST)  # type: ignore[arg-type]
    assert read(tmp_path, bucket_byte=1).bucket_byte == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vector_launch_shar": 0.5},
            "made.toml:8: vector_launch_shar: unknown key. Did you mean 'vector_launch_share'",
        ),
        ({"year": "2024"}, "made.toml:4: year: '2024' is not a int"),
        ({"graph_capture": 1}, "graph_capture: 1 is not a bool"),
        ({"bucket_byte": True}, "bucket_byte: True is not a float"),
        ({"source": None}, "made.toml: source is missing"),
        ({"attention": "flash"}, "attention is 'flash'; legal: fused, unfused"),
        ({"sharding": "zero4"}, "sharding is 'zero4'; legal: none, zero1, zero2, zero3"),
        ({"vector_traffic_share": -1.0}, "vector_traffic_share is -1.0; a number from 0 to 10"),
    ],
)
def test_a_file_is_refused_with_what_is_legal(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataFileError) as refusal:
        read(tmp_path, **changes)
    assert message in str(refusal.value)


def test_all_problems_of_a_file_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(DataFileError) as refusal:
        read(tmp_path, year="x", fusion=True, id=None)
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("source", "software", "family", "expected"),
    [
        ("A paper", "PyTorch 1.0", "transformer", "plain"),
        ("A paper", "PyTorch 2.0", "transformer", "release"),
        ("A paper", "PyTorch 2.0", "convnet", "images"),
        ("A blog", "PyTorch 2.0", "convnet", ""),
        ("A paper", "MXNet", "convnet", ""),
    ],
)
def test_the_most_specific_stack_of_a_row_wins(
    monkeypatch: pytest.MonkeyPatch, source: str, software: str, family: str, expected: str
) -> None:
    matches = {
        "plain": (("paper", "PyTorch"),),
        "release": (("paper", r"PyTorch 2\.0"),),
        "images": (("nobody", "x"), ("paper", "PyTorch", "convnet")),
    }
    made = {name: replace(Stack(**SMALLEST), id=name, matches=m) for name, m in matches.items()}  # type: ignore[arg-type]
    monkeypatch.setattr(stacks, "_all", lambda: made)
    assert resolve_stack.__wrapped__(source, software, family) == expected


def test_matches_that_ship_are_bound_to_families_that_are() -> None:
    bound = {match[2] for name in stack_ids() for match in stack(name).matches if len(match) == 3}
    assert bound
    assert bound <= set(FAMILIES)


def test_shipped_runs_have_a_stack_of_their_own() -> None:
    text = (files("simulator") / "data" / "measured_runs.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    families = {name: model(resolve_model(name)).family for name in {row["model"] for row in rows}}
    unmatched = [
        row["source"] for row in rows if not resolve_stack(row["source"], row["software"], families[row["model"]])
    ]
    # These are priced as a default stack, which each of their predictions says: small tables whose program is not told.
    assert {source.split(" ")[0] for source in unmatched} == {
        "ROCm/tensorflow-upstream", "cemizm/tf-benchmark-gpu", "kakaobrain/torchgpipe", "msr-fiddle/pipedream",
        "tensorflow/benchmarks", "u39kun/deep-learning-benchmark",
    }  # fmt: skip
    assert len(unmatched) <= 0.016 * len(rows)


@pytest.mark.parametrize("name", ["attention", "attention_kernels", "gradient_exchange", "recompute", "sharding"])
def test_a_word_outside_its_list_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"Stack 'megatron-lm-2021': {name} is 'nonsense'; legal: "):
        replace(stack("megatron-lm-2021"), **{name: "nonsense"})  # type: ignore[arg-type]


def test_a_stack_calls_the_attention_of_its_year_unless_it_names_another() -> None:
    one = replace(stack("megatron-lm-2021"), year=2024)
    assert one.attention_library == "cudnn-9"
    assert replace(one, attention_kernels="flash-attention-2").attention_library == "flash-attention-2"


def test_what_ran_a_row_tells_compilers_apart() -> None:
    source = "NVIDIA/DeepLearningExamples"
    assert resolve_stack(source, "TensorFlow2 +XLA", "recommender") == "dle-tf-recommender-xla"
    assert resolve_stack(source, "TensorFlow2", "recommender") == "dle-tf-recommender"
    assert resolve_stack("NVIDIA/JAX-Toolbox", "Pax/T5X (JAX, XLA)", "transformer") == "pax-gpu"
    assert resolve_stack("NVIDIA/JAX-Toolbox", "T5X (JAX, XLA)", "transformer") == "jax-gpu"
