"""Ops: shapes make FLOPs, windows make sizes, and impossible pieces are refused in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, conv, gemm, window_output
from workloads.workload import Workload

SIDES = st.integers(1, 12)


@given(m=SIDES, n=SIDES, k=SIDES)
def test_a_product_costs_two_flops_per_multiply_and_add(m: int, n: int, k: int) -> None:
    assert gemm(name="x", m=m, n=n, k=k).forward_flop == 2 * m * n * k


def test_a_bias_adds_one_parameter_per_output() -> None:
    assert gemm(name="x", m=1, n=7, k=5, bias=True).parameters == 5 * 7 + 7


def test_a_hand_worked_convolution() -> None:
    # 3 x 3, stride 2, padding 1 on 8 x 10: (8 + 2 - 3) // 2 + 1 = 4 by (10 + 2 - 3) // 2 + 1 = 5.
    op = conv(name="x", in_hw=(8, 10), c_in=6, c_out=4, kernel=(3, 3), stride=(2, 2), padding=(1, 1), groups=2)
    assert op.out_hw == (4, 5)
    assert (op.m, op.n, op.k, op.batch) == (20, 2, 27, 2)
    assert op.parameters == 4 * 3 * 9
    assert op.forward_flop == 2 * 20 * 2 * 27 * 2
    assert (op.read_elements, op.write_elements, op.saved_elements) == (6 * 80, 4 * 20, 6 * 80)


@given(size=st.integers(1, 60), kernel=st.integers(1, 9), stride=st.integers(1, 4), padding=st.integers(0, 4))
def test_a_window_visits_as_many_places_as_can_be_counted(size: int, kernel: int, stride: int, padding: int) -> None:
    # Counted one by one: starts from -padding on, while the window still ends inside the padded input.
    places = sum(1 for start in range(-padding, size + padding, stride) if start + kernel <= size + padding)
    arguments = {"in_hw": (size, size), "kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
    if places == 0:
        with pytest.raises(WorkloadError, match="does not fit"):
            window_output(name="x", **arguments)
    else:
        assert window_output(name="x", **arguments) == (places, places)


def test_attention_counts_both_products_in_full_also_under_a_causal_mask() -> None:
    shape = {"name": "x", "heads": 4, "kv_heads": 2, "head_dim": 8, "seq_len": 16, "context": 16, "dropout": False}
    causal, full = attention(causal=True, **shape), attention(causal=False, **shape)
    assert causal.forward_flop == full.forward_flop == 2 * (2 * 16 * 16 * 8) * 4
    assert causal.softmax_elements == 4 * 16 * 16


def test_grouped_queries_shrink_what_attention_keeps_but_not_its_work() -> None:
    shape = {"name": "x", "heads": 8, "head_dim": 4, "seq_len": 16, "context": 16, "dropout": False, "causal": True}
    grouped, full = attention(kv_heads=2, **shape), attention(kv_heads=8, **shape)
    assert grouped.forward_flop == full.forward_flop
    assert full.saved_elements - grouped.saved_elements == 2 * 6 * 4 * 16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "matmul"}, r"kind is 'matmul'. Legal: gemm, conv"),
        ({"kind": "vector", "split": "rows"}, r"split is 'rows'. Legal: none, column"),
        ({"kind": "vector", "read_elements": -1}, "read_elements is -1"),
        ({"kind": "vector", "saved_elements": float("nan")}, "saved_elements is nan"),
        ({"kind": "gemm", "m": 2, "n": 3, "k": 4, "forward_flop": 24}, "its gemm shape makes 48"),
        ({"kind": "vector", "forward_flop": 5}, "its vector shape makes 0"),
    ],
)
def test_an_impossible_op_is_refused_by_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message) as caught:
        Op(name="the culprit", **fields)
    assert "the culprit" in str(caught.value)


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(WorkloadError, match="3 groups must divide 6 input and 4 output channels"):
        conv(name="x", in_hw=(8, 8), c_in=6, c_out=4, kernel=(1, 1), groups=3)


def test_an_empty_layer_and_a_layer_repeated_never_are_refused() -> None:
    with pytest.raises(WorkloadError, match="has no ops"):
        Layer(name="x", kind="block", ops=())
    with pytest.raises(WorkloadError, match="repeat is 0"):
        Layer(name="x", kind="block", ops=(gemm(name="x", m=1, n=1, k=1),), repeat=0)


def test_repeating_a_layer_is_writing_it_out() -> None:
    layer = {"name": "x", "kind": "block", "ops": (gemm(name="x", m=3, n=5, k=7, bias=True),)}
    repeated = Workload(name="x", family="convnet", sample="image", layers=(Layer(**layer, repeat=4),))
    written_out = Workload(name="x", family="convnet", sample="image", layers=(Layer(**layer),) * 4)
    assert repeated.parameters == written_out.parameters == 4 * 40
    assert repeated.forward_flop == written_out.forward_flop
    assert repeated.num_blocks == written_out.num_blocks == 4


def test_a_workload_of_an_unknown_family_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"family is 'rnn'. Legal: convnet, detector, transformer"):
        Workload(name="x", family="rnn", sample="image", layers=())
