"""How far back a touch lies is how much else was touched since; steps follow each other."""

import numpy as np
import pytest

from simulator.bench.calls import StepCall, Touched
from simulator.bench.reuse import BLOCK_BYTE, traffic_of_step


def call(*stretches):
    touched = tuple(Touched(begin=b * BLOCK_BYTE, byte=n * BLOCK_BYTE, written=w) for b, n, w in stretches)
    return StepCall(word="x", suite="training", kind="add", lengths={}, touched=touched)


def test_what_one_call_alone_touches_comes_again_after_all_of_it():
    (traffic,) = traffic_of_step([call((0, 8, False))])
    assert traffic.byte.sum() == 8 * BLOCK_BYTE
    assert traffic.distance_byte == pytest.approx(8 * BLOCK_BYTE)


def test_what_was_touched_just_now_is_nearer_than_what_a_large_call_lies_between():
    small, large = (0, 4, False), (100, 400, False)
    first, again, _, after = traffic_of_step([call(small), call(small), call(large), call(small)])
    assert again.distance_byte.max() == pytest.approx(4 * BLOCK_BYTE)
    assert after.distance_byte.min() >= 400 * BLOCK_BYTE
    # The last call of a step is the one before the first of the next.
    assert first.distance_byte.max() == pytest.approx(4 * BLOCK_BYTE)


def test_a_tensor_that_is_named_twice_is_read_once_and_one_written_over_counts_twice():
    read = traffic_of_step([call((0, 4, False), (0, 4, False))])[0]
    over = traffic_of_step([call((0, 4, False), (0, 4, True))])[0]
    assert read.byte.sum() == 4 * BLOCK_BYTE
    assert over.byte.sum() == 8 * BLOCK_BYTE
    assert over.written.any()


def test_no_distance_exceeds_what_the_step_touches_and_every_byte_is_counted():
    rng = np.random.default_rng(1)
    calls = [call(*((int(b), int(n), bool(n % 2)) for b, n in rng.integers(1, 50, (3, 2)))) for _ in range(40)]
    blocks = {x for c in calls for t in c.touched for x in range(t.begin, t.begin + t.byte, BLOCK_BYTE)}
    for traffic in traffic_of_step(calls):
        assert (traffic.distance_byte <= len(blocks) * BLOCK_BYTE).all()


def test_a_step_that_touches_nothing_has_no_traffic():
    (traffic,) = traffic_of_step([call()])
    assert traffic.byte.size == 0
