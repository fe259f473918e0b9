"""Order and regret of layout sweeps: made-up sweeps whose answer is known, and the sweeps of the shipped runs."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simulator
from simulator.calibration_data import load
from simulator.parallelism import Parallelism
from simulator.validation.evaluate import job_table
from simulator.validation.rows import resolve
from simulator.validation.runs import Table, ValidationResult, predict, read_table
from simulator.validation.sent_byte import sent_byte
from simulator.validation.sweeps import (
    LEAST_LAYOUTS,
    NEAR,
    PREDICTED,
    YARDSTICKS,
    Order,
    order_of,
    order_record,
    summarise_sweeps,
    sweep_summary,
    sweeps_of,
)

SHIPPED = Path(simulator.__file__).parent / "data" / "measured_runs.csv"
ROW = {
    "source": "made up", "model": "GPT3-175B", "seq_len": "2048", "chip": "A100", "chip_memory_gb": "80",
    "num_chips": "512", "chips_per_node": "8", "intra_node_link": "NVLink3/NVSwitch",
    "inter_node_link": "HDR InfiniBand",
    "software": "Megatron-LM", "precision": "bf16", "global_batch": "512", "micro_batch": "1", "cp": "1",
    "recompute": "full", "metric": "step_time_s", "year": "2021", "schedule": "1F1B",
}  # fmt: skip
#: Tensor- and pipeline-parallel ranks of the made-up layouts.
LAYOUTS = ((8, 8), (8, 16), (4, 16), (8, 4), (4, 8), (2, 16))
times = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12).map(np.array)


def table(measured, layouts=LAYOUTS, **changes):
    """A table of one row per layout; ``changes`` are columns with one value a row."""
    rows = [
        ROW | {"tp": str(tp), "pp": str(pp), "value": str(value)} | {name: v[i] for name, v in changes.items()}
        for i, ((tp, pp), value) in enumerate(zip(layouts, measured, strict=True))
    ]
    jobs = {i: resolve(row) for i, row in enumerate(rows)}
    return Table(
        rows=tuple(rows), jobs=jobs, memory_jobs={}, refused={}, primary=tuple(jobs),
        measured_s=dict(enumerate(map(float, measured))),
    )  # fmt: skip


# --- the order of one sweep -----------------------------------------------------------------------------------------


def test_the_figures_of_a_sweep_worked_out_by_hand():
    # Near the best (up to 1.2) are the first three: of their pairs only (1.0, 1.1) stands right. We choose 1.15.
    found = order_of(np.array([1.0, 1.1, 1.15, 2.0]), np.array([10.0, 11.0, 9.0, 30.0]))
    assert found.pairs == 3
    assert found.ordered == pytest.approx(1 / 3)
    # Ranks 1 2 3 4 against 2 3 1 4: 1 - 6 (1 + 1 + 4) / (4 x 15).
    assert found.rank == pytest.approx(1 - 36 / 60)
    assert found.regret == pytest.approx(0.15)


def test_what_is_tied_counts_half_and_the_choice_is_the_mean_of_the_tied():
    found = order_of(np.array([1.0, 1.1, 3.0]), np.full(3, 7.0))
    assert found == Order(pairs=1, ordered=0.5, rank=0.0, regret=pytest.approx(5.1 / 3 - 1))


def test_layouts_measured_alike_are_no_pair():
    assert order_of(np.array([1.0, 1.0, 5.0]), np.array([1.0, 2.0, 3.0])) == Order(
        pairs=0, ordered=None, rank=pytest.approx(np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1]), regret=0.0
    )


def test_one_layout_has_no_order():
    with pytest.raises(ValueError, match="needs two or more"):
        order_of(np.ones(1), np.ones(1))


@given(measured=times, factor=st.floats(0.01, 100))
def test_predictions_off_by_one_factor_choose_as_well_as_the_measurements(measured, factor):
    found = order_of(measured, measured * factor)
    assert found.regret == pytest.approx(0.0, abs=1e-5)
    assert found.ordered is None or found.ordered >= 0.5


@given(data=st.data())
def test_the_bounds_of_every_figure_and_the_reversed_order(data):
    n = data.draw(st.integers(2, 10))
    # A lattice of 1 % keeps everything apart or tied, never nearly so.
    measured = 1.01 ** np.array(data.draw(st.lists(st.integers(0, 300), min_size=n, max_size=n)), dtype=float)
    predicted = 1.01 ** np.array(data.draw(st.lists(st.integers(0, 300), min_size=n, max_size=n)), dtype=float)
    there, back = order_of(measured, predicted), order_of(measured, 1.0 / predicted)
    assert 0.0 <= there.regret <= measured.max() / measured.min() - 1.0 + 1e-12
    assert -1.0 - 1e-12 <= there.rank <= 1.0 + 1e-12
    assert back.rank == pytest.approx(-there.rank)
    near = np.sum(measured <= NEAR * measured.min())
    assert there.pairs <= near * (near - 1) / 2
    if there.ordered is None:
        assert there.pairs == 0
    else:
        assert there.ordered + back.ordered == pytest.approx(1.0)


def test_the_record_counts_every_sweep_alike_and_its_ninth_decile_is_a_regret_that_was_seen():
    orders = [Order(pairs=1, ordered=1.0, rank=1.0, regret=0.01 * i) for i in range(10)]
    orders.append(Order(pairs=0, ordered=None, rank=-1.0, regret=0.5))
    record = order_record(orders)
    assert record.ordered == 1.0
    assert record.rank == pytest.approx(9 / 11)
    assert record.regret == pytest.approx(0.95 / 11)
    assert record.regret_p90 == pytest.approx(0.09)


# --- which runs are a sweep -----------------------------------------------------------------------------------------


def test_layouts_of_one_question_are_a_sweep_and_fewer_than_four_are_none():
    (sweep,) = sweeps_of(table((4.0, 3.0, 2.0, 1.0, 5.0, 6.0)))
    assert sweep.source == "made up"
    assert sweep.rows == tuple((i,) for i in range(6))
    assert np.allclose(sweep.measured_s, (4, 3, 2, 1, 5, 6))
    assert not sweeps_of(table((4.0, 3.0, 2.0), LAYOUTS[:3]))
    assert LEAST_LAYOUTS == 4


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("source", ("a", "b")),
        ("global_batch", ("512", "1024")),
        ("num_chips", ("512", "1024")),
        ("seq_len", ("2048", "1024")),
        ("precision", ("bf16", "fp16")),
        ("software", ("Megatron-LM", "NeMo 24.09")),
    ],
)
def test_whatever_makes_another_question_parts_a_sweep(column, values):
    six = table(np.arange(1.0, 7.0), **{column: [values[i % 2] for i in range(6)]})
    assert not sweeps_of(six)
    both = table(np.arange(1.0, 9.0), (*LAYOUTS[:4], *LAYOUTS[:4]), **{column: [values[i // 4] for i in range(8)]})
    assert [sweep.rows for sweep in sweeps_of(both)] == [((0,), (1,), (2,), (3,)), ((4,), (5,), (6,), (7,))]


def test_a_layout_measured_twice_counts_once_with_the_geometric_mean():
    (sweep,) = sweeps_of(table((1.0, 2.0, 3.0, 4.0, 9.0), (*LAYOUTS[:4], LAYOUTS[0])))
    assert sweep.rows[0] == (0, 4)
    assert sweep.measured_s[0] == pytest.approx(3.0)


# --- the summary ----------------------------------------------------------------------------------------------------


def test_predictions_that_are_the_measurements_are_a_perfect_record_beside_yardsticks_that_are_not():
    six = table((1.0, 1.05, 1.1, 1.15, 2.0, 3.0))
    summary = sweep_summary(six, six.measured_s, held_out=True)
    overall, by_source = summary.parts
    assert (overall.name, by_source.name) == ("all", "made up")
    assert (overall.sweeps, overall.layouts, overall.pairs) == (1, 6, 6)
    assert overall.by[PREDICTED].ordered == 1.0
    assert overall.by[PREDICTED].rank == pytest.approx(1.0)
    assert overall.by[PREDICTED].regret_p90 == 0.0
    flat = overall.by[YARDSTICKS[0]]
    # The same work on the same chips: constant utilisation cannot tell layouts apart.
    assert (flat.ordered, flat.rank) == (0.5, 0.0)
    assert flat.regret == pytest.approx(np.mean((1.0, 1.05, 1.1, 1.15, 2.0, 3.0)) - 1.0)


def test_sources_stand_apart():
    names = ["a"] * 4 + ["b"] * 4
    both = table((1.0, 1.1, 1.15, 2.0) * 2, (*LAYOUTS[:4], *LAYOUTS[:4]), source=names)
    right_then_wrong = {i: v if i < 4 else 1.0 / v for i, v in both.measured_s.items()}
    parts = {part.name: part for part in sweep_summary(both, right_then_wrong, held_out=False).parts}
    assert parts["a"].by[PREDICTED].ordered == 1.0
    assert parts["b"].by[PREDICTED].ordered == 0.0
    assert parts["b"].by[PREDICTED].regret == pytest.approx(1.0)
    assert parts["all"].by[PREDICTED].ordered == 0.5


def test_text_and_json_say_the_same():
    six = table((1.0, 1.05, 1.1, 1.15, 2.0, 3.0))
    summary = sweep_summary(six, six.measured_s, held_out=True)
    plain = json.loads(json.dumps(summary.mapping()))
    assert plain["held_out"] is True
    assert plain["parts"][0]["predicted"] == {"ordered": 1.0, "rank": 1.0, "regret": 0.0, "regret_p90": 0.0}
    assert plain["parts"][0]["constant_utilisation"]["ordered"] == 0.5
    text = summary.text()
    for words in ("cross-fitted", "100.0%", "by constant utilisation"):
        assert words in text
    assert sweep_summary(table((1.0,), LAYOUTS[:1]), {0: 1.0}, held_out=False).text() == ""


def test_predictions_in_the_unit_of_the_row_become_step_times():
    rate = table((4.0, 3.0, 2.0, 1.0), LAYOUTS[:4], metric=["samples_per_s"] * 4)
    constants = load("default")
    lines = predict(rate, constants=constants.constants, record=constants.record)
    result = ValidationResult(table=rate, predictions=lines, record=constants.record, held_out=False, constants=0)
    seen = summarise_sweeps(result).parts[0].by[PREDICTED]
    steps = job_table([rate.jobs[i] for i in range(4)]).step_s(constants.constants)
    assert seen == order_record([order_of(np.array([4.0, 3.0, 2.0, 1.0]), steps)])


def test_the_shipped_runs_have_sweeps_that_are_ordered_better_than_by_chance_and_by_either_yardstick():
    shipped = read_table(SHIPPED)
    sweeps = sweeps_of(shipped)
    assert len(sweeps) >= 20
    rows = [i for sweep in sweeps for layout in sweep.rows for i in layout]
    step_s = job_table([shipped.jobs[i] for i in rows]).step_s(load("default").constants)
    overall = sweep_summary(shipped, dict(zip(rows, step_s.tolist(), strict=True)), held_out=False).parts[0]
    assert overall.sweeps == len(sweeps)
    for yardstick in YARDSTICKS:
        assert overall.by[PREDICTED].ordered > overall.by[yardstick].ordered
        assert overall.by[PREDICTED].rank > overall.by[yardstick].rank
        assert overall.by[PREDICTED].regret < overall.by[yardstick].regret


# --- bytes sent -----------------------------------------------------------------------------------------------------


def job(**layout):
    """The made-up job with another layout."""
    base = resolve(ROW | {"tp": "8", "pp": "8", "value": "1"})
    chips = math.prod(layout.get(name, 1) for name in ("tp", "pp", "dp", "cp"))
    return replace(base, parallelism=Parallelism(**({"global_batch": 512, "recompute": "full"} | layout))), chips


def test_one_chip_sends_nothing():
    assert sent_byte([job()[0]]).tolist() == [0.0]


def test_data_parallel_ranks_send_twice_the_gradients_and_with_zero3_three_times():
    ranks = 64
    plain, sharded = (sent_byte([job(dp=ranks, sharding=word)[0]])[0] for word in ("zero1", "zero3"))
    one = job(dp=ranks)[0]
    width = one.context.stack.gradient_byte or one.context.recipe.gradient_byte
    assert plain == pytest.approx(2.0 * (1 - 1 / ranks) * one.workload.parameters * width, rel=0.01)
    assert sharded == pytest.approx(1.5 * plain)


@settings(max_examples=20)
@given(micro_batch=st.sampled_from((1, 2, 4, 8)))
def test_what_tensor_parallel_ranks_send_does_not_depend_on_the_micro_batch(micro_batch):
    found = sent_byte([job(tp=8, micro_batch=m)[0] for m in (1, micro_batch)])
    assert found[1] == pytest.approx(found[0])


def test_a_full_recomputation_repeats_the_forward_sums_and_pipelines_send_activations():
    whole, none = sent_byte([job(tp=8)[0], job(tp=8, recompute="none")[0]])
    assert whole == pytest.approx(1.5 * none, rel=0.01)
    piped = sent_byte([job(pp=8)[0]])[0]
    hidden = 12288
    assert piped == pytest.approx(512 * 2 * 2.0 * 2048 * hidden)


def test_jobs_are_priced_together_as_one_by_one():
    jobs = [job(tp=tp, pp=pp, dp=dp)[0] for tp, pp, dp in ((8, 8, 8), (1, 1, 64), (4, 16, 2), (2, 1, 1))]
    assert sent_byte(jobs).tolist() == [sent_byte([one])[0] for one in jobs]
