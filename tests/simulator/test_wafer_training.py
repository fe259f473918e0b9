"""Training at batch one on a wafer: against the schedule's own tasks, and laws over wafers and networks."""

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from simulator.kernels.settings import Setting
from simulator.kernels.wafer import MEASURED_ROWS, WaferError, pipeline
from simulator.schedules import fine_grained
from simulator.wafer_training import PASSES, train_on_wafer, wafer_layers
from workloads import catalog

WAFERS = [name for name in chip_ids() if chip(name).kind == "wafer"]
NETWORKS = ("alexnet", "vgg16", "resnet50-v1.5")
each_wafer = pytest.mark.parametrize("wafer", WAFERS)
each_network = pytest.mark.parametrize("network", NETWORKS)


@each_network
def test_the_stages_hold_all_of_the_network_and_nothing_twice(network):
    workload = catalog.model(network)
    layers = wafer_layers(workload, element_byte=2.0)
    assert layers.flop.sum() == pytest.approx(PASSES * workload.forward_flop)
    assert layers.weight_byte.sum() == pytest.approx(2 * 2.0 * workload.parameters)
    assert np.all(layers.flop > 0)


@each_network
def test_a_stage_holds_the_activations_that_the_schedule_says(network):
    workload = catalog.model(network)
    layers = wafer_layers(workload, element_byte=2.0)
    count = len(layers.flop)
    saved = sum(layer.repeat * layer.saved_elements for layer in workload.layers) * 2.0
    held = layers.activation_byte * np.arange(count, 0, -1)
    own = held / [fine_grained.activations_in_flight(i, count, 1) for i in range(count)]
    assert own.sum() == pytest.approx(saved)


@each_wafer
@each_network
def test_no_wafer_trains_faster_than_its_bound(wafer, network):
    found = train_on_wafer(catalog.model(network), chip(wafer))
    assert 0 < found.samples_per_s <= found.bound_samples_per_s
    assert 0 < found.utilisation <= 0.7 + 1e-9  # the share of a core's peak is a guess of 0.7
    assert 0 < found.held_share < 1
    assert found.latency_s >= found.stages / found.samples_per_s / found.stages
    assert found.measured_rows == MEASURED_ROWS == 0


def test_samples_leave_as_often_as_the_tasks_of_the_schedule_do():
    """A list of events: every stage runs its tasks in order, each once its neighbour has handed over."""
    workload, machine = catalog.model("alexnet"), chip("wse-1")
    found = train_on_wafer(workload, machine)
    laid = pipeline(
        wafer_layers(workload, element_byte=2.0), Setting(chip=machine, precision="fp16", library=""), rate=0.7
    )
    stages, rounds = found.stages, 40
    orders = [list(fine_grained.order(i, stages, rounds)) for i in range(stages)]
    done, free, place = {}, [0.0] * stages, [0] * stages
    while any(p < len(order) for p, order in zip(place, orders, strict=True)):
        for i, order in enumerate(orders):
            if place[i] == len(order):
                continue
            task = order[place[i]]
            forth = task.kind == "forward"
            need = (i - 1 if forth else i + 1, task.kind, task.micro_batch)
            first = i == 0 if forth else i == stages - 1
            if not first and need not in done:
                continue
            start = max(free[i], 0.0 if first else done[need])
            free[i] = done[i, task.kind, task.micro_batch] = start + laid.stage_s[i] * (1 / 3 if forth else 2 / 3)
            place[i] += 1
    ends = [done[0, "backward", j] for j in range(rounds)]
    assert (ends[-1] - ends[-11]) / 10 == pytest.approx(1 / found.samples_per_s, rel=1e-9)


def test_every_stage_but_the_last_updates_late_and_the_first_the_latest():
    found = train_on_wafer(catalog.model("vgg16"), chip("wse-2"))
    assert found.late_updates.tolist() == [2.0 * (15 - i) for i in range(16)]


def test_zeros_in_the_weights_are_skipped_on_a_wafer():
    workload, machine = catalog.model("vgg16"), chip("wse-2")
    dense, half = train_on_wafer(workload, machine), train_on_wafer(workload, machine, density=0.5)
    assert half.samples_per_s == pytest.approx(2 * dense.samples_per_s, rel=0.05)


def test_a_network_that_does_not_fit_and_a_chip_that_is_no_wafer_are_refused():
    with pytest.raises(WaferError, match="the layers need at least"):
        train_on_wafer(catalog.model("bert-large"), chip("wse-1"))
    with pytest.raises(WaferError, match="is of kind gpu"):
        train_on_wafer(catalog.model("alexnet"), chip("v100-sxm2-16gb"))
