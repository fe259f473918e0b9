"""What several readers of one tensor, and windows that overlap, move beside the ops' own elements."""

import pytest

from workloads.catalog import model
from workloads.image_ops import ImageOps, Tensor


def moved(ops: ImageOps) -> tuple[int, int]:
    return sum(op.window_elements for op in ops.ops), sum(op.sum_elements for op in ops.ops)


@pytest.mark.parametrize("readers", [2, 3, 4])
def test_gradients_of_many_readers_are_each_read_once_and_their_sum_is_written(readers: int) -> None:
    ops, x = ImageOps(), Tensor(64, (28, 28))
    ops.fork(x, readers)
    assert moved(ops) == (0, (readers + 1) * x.elements)


def test_one_reader_has_nothing_to_add_up() -> None:
    ops = ImageOps()
    ops.fork(Tensor(64, (28, 28)), 1)
    assert ops.ops == []


@pytest.mark.parametrize(("kernel", "stride", "again"), [(2, 2, 0), (1, 1, 0), (3, 1, 8)])
def test_windows_read_again_what_they_share(kernel: int, stride: int, again: int) -> None:
    x = Tensor(64, (28, 28))
    for pool in ("max_pool", "average_pool"):
        ops = ImageOps()
        getattr(ops, pool)(x, kernel, stride=stride, padding=kernel // 2 if stride == 1 else 0)
        assert moved(ops) == (again * x.elements, 0)


@pytest.mark.parametrize("name", ["inception-v1", "inception-v3", "inception-v4", "densenet121", "squeezenet1_0"])
def test_a_network_of_branches_adds_up_gradients_and_a_chain_does_not(name: str) -> None:
    assert any(op.sum_elements for layer in model(name).layers for op in layer.ops)
    assert not any(op.sum_elements for layer in model("vgg16").layers for op in layer.ops)
    # What is forward work stays as it was: the sum is no op of the forward pass, and stands first in no layer.
    assert all(not layer.ops[0].sum_elements for layer in model(name).layers)
