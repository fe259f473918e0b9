"""Mask R-CNN against torchvision's count, PyTorch's counter on a network written out here, and laws."""

from typing import Any

import pytest

from workloads.op import WorkloadError
from workloads.two_stage import mask_rcnn_r50_fpn
from workloads.workload import Workload


def works(workload: Workload) -> dict[str, int]:
    return {layer.name: layer.repeat * layer.forward_flop for layer in workload.layers}


def test_parameters_are_torchvisions() -> None:
    # torchvision's weights list for maskrcnn_resnet50_fpn, 91 classes.
    assert mask_rcnn_r50_fpn(num_classes=91).parameters == 44_401_393


def test_flops_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    nn = torch.nn

    class Bottleneck(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, c_in: int, width: int, stride: int) -> None:
            super().__init__()
            self.convs = nn.Sequential(
                nn.Conv2d(c_in, width, 1, stride, bias=False), nn.Conv2d(width, width, 3, 1, 1, bias=False),
                nn.Conv2d(width, 4 * width, 1, bias=False),
            )  # fmt: skip
            shortcut = c_in != 4 * width
            self.shortcut = nn.Conv2d(c_in, 4 * width, 1, stride, bias=False) if shortcut else nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.convs(x) + self.shortcut(x)

    class MaskRcnn(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1))
            self.stages, c_in = nn.ModuleList(), 64
            for stage, count in enumerate((3, 4, 6, 3)):
                width, blocks = 64 * 2**stage, []
                for index in range(count):
                    blocks.append(Bottleneck(c_in, width, 2 if stage and index == 0 else 1))
                    c_in = 4 * width
                self.stages.append(nn.Sequential(*blocks))
            self.laterals = nn.ModuleList(nn.Conv2d(256 * 2**i, 256, 1) for i in range(4))
            self.smooths = nn.ModuleList(nn.Conv2d(256, 256, 3, padding=1) for _ in range(4))
            self.rpn = nn.Conv2d(256, 256, 3, padding=1)
            self.rpn_outputs = nn.ModuleList([nn.Conv2d(256, 3, 1), nn.Conv2d(256, 12, 1)])
            self.box = nn.Sequential(nn.Linear(256 * 49, 1024), nn.Linear(1024, 1024))
            self.box_outputs = nn.ModuleList([nn.Linear(1024, classes), nn.Linear(1024, 4 * classes)])
            self.mask = nn.Sequential(
                *(nn.Conv2d(256, 256, 3, padding=1) for _ in range(4)), nn.ConvTranspose2d(256, 256, 2, 2),
                nn.Conv2d(256, classes, 1),
            )  # fmt: skip

        def forward(self, x: Any) -> None:
            x, sums = self.stem(x), []
            for stage, lateral in zip(self.stages, self.laterals, strict=True):
                x = stage(x)
                sums.append(lateral(x))
            levels = [smooth(y) for smooth, y in zip(self.smooths, sums, strict=True)]
            levels.append(nn.functional.max_pool2d(levels[-1], 1, 2))
            for level in levels:
                y = self.rpn(level)
                for output in self.rpn_outputs:
                    output(y)
            y = self.box(torch.empty(512, 256 * 49))
            for output in self.box_outputs:
                output(y)
            self.mask(torch.empty(128, 256, 14, 14))

    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network = MaskRcnn(81)
        network(torch.empty(1, 3, 800, 1216))
    workload = mask_rcnn_r50_fpn()
    assert workload.forward_flop == counter.get_total_flops()
    assert workload.parameters == sum(p.numel() for p in network.parameters())


def test_sides_are_padded_to_multiples_of_32() -> None:
    assert works(mask_rcnn_r50_fpn(long_side=1333)) == works(mask_rcnn_r50_fpn(long_side=1344))
    assert mask_rcnn_r50_fpn(long_side=1200).layers == mask_rcnn_r50_fpn(long_side=1216).layers


def test_the_second_stage_does_not_depend_on_the_image() -> None:
    small, large = (works(mask_rcnn_r50_fpn(image_size=side, long_side=side)) for side in (800, 1600))
    second = ("box head", "mask head first", "mask head rest", "masks")
    assert [small[name] for name in second] == [large[name] for name in second]
    grown = [name for name in small if name not in (*second, "proposals level 6") and small[name]]
    assert all(large[name] == 4 * small[name] for name in grown)
    assert len(grown) > 10


def test_heads_grow_with_their_proposals() -> None:
    few = works(mask_rcnn_r50_fpn(box_proposals=256, mask_proposals=64))
    many = works(mask_rcnn_r50_fpn(box_proposals=512, mask_proposals=128))
    for name in ("box head", "mask head first", "masks"):
        assert many[name] == 2 * few[name]


def test_only_the_trained_part_is_kept() -> None:
    workload = mask_rcnn_r50_fpn()
    still = [layer for layer in workload.layers if not any(op.trainable for op in layer.ops)]
    assert [layer.name for layer in still] == ["stem", "stage1 first", "stage1 rest"]
    assert sum(layer.saved_elements for layer in still) == 0
    # Lateral of the finest level: the first stage needs no gradient of what it wrote.
    pyramid = next(layer for layer in workload.layers if layer.name == "pyramid")
    assert [op.input_needs_gradient for op in pyramid.ops[:4]] == [False, True, True, True]


def test_anchors_are_three_at_each_position() -> None:
    positions = 200 * 304 + 100 * 152 + 50 * 76 + 25 * 38 + 13 * 19
    assert mask_rcnn_r50_fpn().hyper["anchors"] == 3 * positions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_proposals": 600}, "mask_proposals is 600; from 1 to the 512"),
        ({"image_size": 800, "long_side": 700}, "long_side is 700, less than image_size 800"),
    ],
)
def test_impossible_questions_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        mask_rcnn_r50_fpn(**options)  # type: ignore[arg-type]
