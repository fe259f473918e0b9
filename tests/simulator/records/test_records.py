"""Records of training ImageNet: the file, the steps, the errors and the factors."""

import math

import pytest

from hwmodels.datafile import parse_toml
from simulator.calibration_data import load, load_constants
from simulator.collectives import binomial
from simulator.constants import Constants
from simulator.outcome.data import IMAGENET_IMAGES
from simulator.records import SYSTEMS, RecordError, Setup, SetupError, published_runs, record_step, timeline, waterfall
from simulator.records.published import read_runs
from simulator.records.setup import tree_through_hosts_s, with_kin
from simulator.report.records_text import COLUMNS, timeline_block, timeline_mapping, timeline_text, timeline_values
from simulator.stack import stack, stack_ids
from simulator.validation.record_files import recorded_runs

ENDS = ("firecaffe", "tpu-1024")
GOOD = """
[[runs]]
id = "a"
group = "A"
when = "2017-06"
what = "some"
model = "resnet50"
system = "big-basin"
chips = 8
stack = "caffe2-2017"
precision = "fp32"
phases = [{ epochs = 90, batch = 256 }]
length = "stated"
time_s = 100.0
clock = "all"
source = "s"
locator = "l"
marks = "m"
"""


@pytest.fixture(scope="module")
def found():
    """Every record, predicted once."""
    return timeline()


@pytest.fixture(scope="module")
def changes(found):
    return waterfall(found.rows)


def test_the_parts_of_every_error_add_up(found):
    for row in found.rows:
        assert row.error == pytest.approx(row.rate_error + row.length_error + row.clock_error, abs=1e-12)
        assert row.error == pytest.approx(math.log(row.predicted_s / row.measured_s))
        assert row.low_s <= row.predicted_s * (1 + 1e-12) <= row.high_s * (1 + 2e-12)


def test_only_runs_that_stop_at_a_target_have_an_error_of_length(found):
    for row in found.rows:
        assert (abs(row.length_error) > 1e-9) == bool(row.run.target), row.run.id


def test_a_predicted_time_is_the_steps_of_all_phases_rounded_up(found):
    row = found.of("fastai-128")
    steps = [math.ceil(s.epochs * IMAGENET_IMAGES / s.batch) for s in row.run.phases]
    assert len(steps) == 5
    assert row.predicted_s == pytest.approx(math.fsum(n * t for n, t in zip(steps, row.step_s, strict=True)))


def test_a_run_counts_as_seen_where_its_rows_are_among_the_fitted(found):
    fitted = "," + load().fitted_on["rows"] + ","
    assert ",17150," in fitted
    assert found.of("facebook-256").in_sample
    assert not found.of("pfn-1024").in_sample
    assert {row.run.id for row in found.rows if row.held_out_error is not None} <= {
        row.run.id for row in found.rows if row.in_sample
    }


def test_every_system_of_the_timeline_is_there_and_the_medians_are_what_readme_may_say(found):
    assert set(SYSTEMS) == set(found.group_errors()) - {"TPU v3"}
    assert len(SYSTEMS) == 11
    # Shipped constants alone, and with one printed step of each machine; both printed, neither hidden.
    assert found.median_error() <= 0.18
    assert found.median_error(anchored=True) <= 0.18
    assert found.group_errors()["TPU v3"] <= 0.16


def test_every_miss_beyond_fifteen_percent_is_explained_in_its_group(found):
    explained = {row.run.group for row in found.rows if row.run.explains} | {"TPU v3"}
    assert {group for group, error in found.group_errors().items() if error > 0.15} <= explained


def test_a_step_known_at_the_anchor_is_hit_exactly(found):
    row = found.of("facebook-8")
    assert row.is_anchor
    assert row.anchored_error == pytest.approx(0.0, abs=2e-3)


def test_the_factors_multiply_to_the_measured_whole(changes):
    assert changes.product == pytest.approx(37800 / 76.95, rel=1e-12)
    assert changes.factor == pytest.approx(37800 / 76.95, rel=1e-12)
    for before, after in zip(changes.changes, changes.changes[1:], strict=False):
        assert before.after_s == after.before_s


def test_the_waterfall_ends_where_the_timeline_does(found, changes):
    assert changes.changes[0].before_s == pytest.approx(found.of(ENDS[0]).predicted_s)
    assert changes.changes[-1].after_s == pytest.approx(found.of(ENDS[1]).predicted_s)
    assert len(changes.changes) >= 10


def test_what_is_printed_holds_every_run_its_clock_and_both_medians(found, changes):
    text = timeline_text(found, changes)
    assert max(map(len, text.splitlines())) <= 140
    medians = [f"{found.median_error(anchored=anchored):.1%}".replace("%", " %") for anchored in (False, True)]
    for words in ("no start-up", *medians, "491 times", "held out"):
        assert words in text
    block = timeline_block(found)
    assert all(row.run.what in block for row in found.rows)
    mapping = timeline_mapping(found, changes)
    assert [row["id"] for row in mapping["rows"]] == [run.id for run in published_runs()]
    assert tuple(timeline_values(found.rows[0])) == COLUMNS


def test_a_tree_through_hosts_is_two_copies_and_a_wire_at_every_level():
    seconds = tree_through_hosts_s(53e6, ranks=128, latency_s=2e-6, wire_byte_per_s=8e9, host_byte_per_s=8e9)
    assert seconds == pytest.approx(14 * (2e-6 + 53e6 * 3 / 8e9))
    assert tree_through_hosts_s(53e6, ranks=1, latency_s=1e-6, wire_byte_per_s=8e9, host_byte_per_s=8e9) == 0.0
    # With hosts that copy at once it is the binomial tree itself.
    alone = float(binomial.seconds("all_reduce", ranks=128, message_byte=53e6, latency_s=2e-6, byte_per_s=8e9))
    endless = tree_through_hosts_s(53e6, ranks=128, latency_s=2e-6, wire_byte_per_s=8e9, host_byte_per_s=1e30)
    assert endless == pytest.approx(alone)


def test_a_stack_that_nothing_was_fitted_to_has_the_mean_of_its_kin():
    constants = load_constants()
    fitted = {k.split(":")[1] for k in constants.values if k.startswith("stack:")}
    new = stack("chainermn-2017")
    assert new.id not in fitted
    kin = [s for s in fitted if s in stack_ids() and abs(stack(s).year - new.year) <= 1]
    logs = [math.log(constants.get("traffic_scale", s)) for s in kin]
    assert with_kin(constants, new).get("traffic_scale", new.id) == pytest.approx(math.exp(sum(logs) / len(logs)))
    old = stack("caffe2-2017")
    assert with_kin(constants, old) is constants
    assert with_kin(Constants(), new).values == {}


def test_a_batch_that_does_not_divide_or_fit_is_refused_with_the_nearest():
    setup = Setup(model="resnet50", system="big-basin", chips=8, stack="caffe2-2017")
    with pytest.raises(SetupError, match="batch 250 does not divide evenly; the nearest that does is 248"):
        record_step(setup, batch=250, constants=Constants())
    with pytest.raises(SetupError, match="do not fit into 17 GB"):
        record_step(setup, batch=8 * 4096, constants=Constants())
    many = Setup(model="resnet50", system="big-basin", chips=512, stack="caffe2-2017")
    with pytest.raises(SetupError, match="it has 256 chips"):
        record_step(many, batch=512, constants=Constants())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('length = "stated"', 'length = "stted"', "legal: stated, assumed"),
        ("time_s = 100.0", "tiem_s = 100.0", "Did you mean 'time_s'"),
        ("time_s = 100.0", "", "neither time_s nor rate_per_s"),
        ("time_s = 100.0", 'time_s = 1.0\ntarget = "75.9% top-1"', "target goes with"),
        ('stack = "caffe2-2017"', "", "stack is missing"),
        ("epochs = 90", "epoch = 90", "epoch"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_line(old, new, says):
    assert read_runs(parse_toml(GOOD, name="records.toml"))
    with pytest.raises(RecordError, match=says) as error:
        read_runs(parse_toml(GOOD.replace(old, new), name="records.toml"))
    assert all(problem.startswith("records.toml:") for problem in error.value.problems)


def test_rates_are_those_of_the_measured_runs_that_ship():
    shipped = recorded_runs()
    checked = 0
    for run in published_runs():
        if run.rate_row and run.rate_per_s:
            measured, metric = shipped[str(run.rate_row)].measured, shipped[str(run.rate_row)].row["metric"]
            rate = run.phases[0].batch / measured if metric == "step_time_s" else measured
            assert run.rate_per_s == pytest.approx(rate, rel=2e-3), run.id
            checked += 1
    assert checked >= 8
