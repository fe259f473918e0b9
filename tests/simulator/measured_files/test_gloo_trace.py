"""Messages of a trace over gloo end with their mark, or where the thread that waits for them goes on."""

import json

import pytest

from simulator.errors import InputError
from simulator.measured_files.gloo_trace import read_exchange


def event(name, begin, length, kind="cpu_op"):
    return {"ph": "X", "name": name, "ts": begin, "dur": length, "cat": kind, "tid": 1}


@pytest.fixture
def trace(tmp_path):
    def write(*events):
        path = tmp_path / "trace.json"
        path.write_text(json.dumps({"traceEvents": list(events)}))
        return path

    return write


def test_a_marked_message_beside_compute_is_hidden_and_one_that_is_waited_for_is_not(trace):
    seen = read_exchange(
        trace(
            event("aten::mm", 0, 100), event("c10d::allreduce_", 10, 1),
            event("gloo:all_reduce", 11, 49, "user_annotation"), event("c10d::allreduce_", 100, 1),
            event("copy_bucket_to_grad", 102, 1), event("copy_bucket_to_grad", 150, 1),
        )
    )  # fmt: skip
    assert seen.messages == 2
    # The first from 10 to 60, all of it beside the product; the second from 100 to 150 beside a copy of 1.
    assert seen.exchange_s == pytest.approx(100e-6)
    assert seen.overlap_s == pytest.approx(51e-6)
    assert 0.0 <= seen.overlap_share <= 1.0


def test_a_trace_without_an_exchange_says_so(trace):
    with pytest.raises(InputError, match="no gradients were exchanged"):
        read_exchange(trace(event("aten::mm", 0, 100)))
