"""Two-stage detectors: Mask R-CNN on ResNet-50 with a feature pyramid.

One sample is one image. The second stage's work per image is fixed by how many proposals are sampled, so an image's
cost depends on its size in the first stage only. Data-dependent ops carry the launches of the batched kernels and of
one image; the launches that every further image of a micro-batch adds, because the reference implementation loops over
images, are in ``hyper["launches_per_image"]``. Left out: drawing the mask targets from polygons, which the reference
does on the host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.pyramid import Body, top_down
from workloads.workload import Workload

#: Anchors at each position of each level: three shapes.
ANCHORS: Final = 3
#: Proposals that enter suppression, per level at most.
BEFORE_SUPPRESSION: Final = 2000
#: Mean number of labelled objects of a COCO image (7.3), rounded.
OBJECTS_PER_IMAGE: Final = 8
#: Launches of one image's loops: suppression on five levels, matching, encoding and sampling for both stages, masks.
IMAGE_LAUNCHES: Final = {"suppression": 75, "first stage": 55, "second stage": 55, "masks": 15}


def mask_rcnn_r50_fpn(
    *,
    image_size: int = 800,
    long_side: int = 1216,
    num_classes: int = 81,
    box_proposals: int = 512,
    mask_proposals: int = 128,
    stride_in_first: bool = True,
) -> Workload:
    """Mask R-CNN R50-FPN: frozen norms; the stem and the first stage are not trained [1]_, [2]_.

    ``image_size`` is the short side; both sides are padded to multiples of 32. The default long side is the mean of a
    micro-batch of 4 COCO images scaled to a short side of 800 and a long side of at most 1333, padded to the longest.
    ``mask_proposals`` is the most that can be positive, a quarter of the sampled. With 91 classes it has torchvision's
    44,401,393 parameters.

    References
    ----------
    .. [1] He et al., Mask R-CNN, 2017, arXiv:1703.06870
    .. [2] NVIDIA/DeepLearningExamples PyTorch/Segmentation/MaskRCNN, configs/e2e_mask_rcnn_R_50_FPN_1x.yaml

    Raises
    ------
    WorkloadError
        When more proposals get a mask than are sampled, or the long side is the shorter.
    """
    if not 1 <= mask_proposals <= box_proposals:
        raise WorkloadError(
            f"mask-rcnn: mask_proposals is {mask_proposals}; from 1 to the {box_proposals} of box_proposals."
        )
    if long_side < image_size:
        raise WorkloadError(
            f"mask-rcnn: long_side is {long_side}, less than image_size {image_size}. Try long_side = {image_size}."
        )
    hw = (-(-image_size // 32) * 32, -(-long_side // 32) * 32)
    layers, stages = Body(norm="frozen", stride_in_first=stride_in_first, frozen_stages=2).layers(image_of(3, hw))
    pyramid, levels = top_down(stages)
    layers.append(pyramid)
    proposal_layers, anchors = _proposals([*levels, _coarsest(levels[-1])])
    layers += proposal_layers
    read_once = sum(level.elements for level in levels)
    layers.append(_boxes(read_once, num_classes, box_proposals))
    layers += _masks(read_once, num_classes, mask_proposals)
    workload = image_workload(
        "mask-rcnn-r50-fpn",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1703.06870; NVIDIA/DeepLearningExamples PyTorch/Segmentation/MaskRCNN",
        long_side=long_side,
        anchors=anchors,
        box_proposals=box_proposals,
        mask_proposals=mask_proposals,
        launches_per_image=sum(IMAGE_LAUNCHES.values()),
    )
    return replace(workload, family="detector")


def _coarsest(x: Tensor) -> Tensor:
    """Every second position: the sixth level. The copy is too small to be an op of its own."""
    return Tensor(x.channels, (-(-x.hw[0] // 2), -(-x.hw[1] // 2)))


def _proposals(levels: list[Tensor]) -> tuple[list[Layer], int]:
    """The region proposal network on every level, its loss, and the choice of proposals; and the number of anchors."""
    layers = []
    for index, level in enumerate(levels):
        ops = PredictionOps()
        with ops.shared(again=index > 0):
            x = ops.unit(level, 256, 3, bias=True, norm="none")
            ops.conv(x, ANCHORS, 1, bias=True)
            ops.conv(x, 4 * ANCHORS, 1, bias=True)
        layers.append(ops.layer(f"proposals level {index + 2}", "head"))
    anchors = sum(ANCHORS * level.hw[0] * level.hw[1] for level in levels)
    ops = PredictionOps()
    # Sigmoid and a radix sort of every level's scores, decoding of the best, pairwise suppression.
    kept = len(levels) * BEFORE_SUPPRESSION
    pairs = len(levels) * BEFORE_SUPPRESSION**2 // 64
    ops.select(
        "choose proposals", reads=24 * anchors + 16 * kept + pairs, writes=20 * anchors + 16 * kept + pairs,
        launches=12 * len(levels), sample_launches=IMAGE_LAUNCHES["suppression"],
    )  # fmt: skip
    overlaps = anchors * OBJECTS_PER_IMAGE
    ops.select(
        "match anchors", reads=20 * overlaps, writes=12 * overlaps, launches=20,
        sample_launches=IMAGE_LAUNCHES["first stage"],
    )  # fmt: skip
    # Scores and offsets of all anchors are gathered in fp32; the loss is of 256 of them.
    ops.loss("proposal loss", reads=10 * anchors, writes=10 * anchors, saved=0.0, launches=4 * len(levels) + 12)
    layers.append(ops.layer("proposals", "head"))
    return layers, anchors


def _aligned(ops: PredictionOps, read_once: int, proposals: int, side: int) -> int:
    """RoIAlign of ``proposals`` to side x side: four samples of four taps each, mostly cached; elements written.

    The pyramid is read at most once, or as much as the samples touch; each level has its own kernel and index ops.
    """
    out = 256 * side * side * proposals
    ops.loss(f"align {side}x{side}", reads=min(4 * out, read_once + out), writes=2 * out, launches=34)
    return out


def _boxes(read_once: int, num_classes: int, proposals: int) -> Layer:
    ops = PredictionOps()
    pairs = proposals * 4 * OBJECTS_PER_IMAGE
    ops.select(
        "sample proposals", reads=20 * pairs, writes=12 * pairs, launches=20,
        sample_launches=IMAGE_LAUNCHES["second stage"],
    )  # fmt: skip
    aligned = _aligned(ops, read_once, proposals, 7)
    width = 1024
    ops.rows("dense", proposals, width, aligned // proposals, saved=float(aligned))
    hidden = proposals * width
    ops.loss("relu", reads=hidden, writes=hidden, saved=float(hidden))
    ops.rows("dense", proposals, width, width, saved=0.0)
    ops.loss("relu", reads=hidden, writes=hidden, saved=float(hidden))
    ops.rows("classes", proposals, num_classes, width, saved=0.0)
    ops.rows("boxes", proposals, 4 * num_classes, width, saved=0.0)
    outputs = proposals * 5 * num_classes
    ops.loss("box loss", reads=3 * outputs, writes=3 * outputs, saved=2.0 * proposals * num_classes, launches=30)
    return ops.layer("box head", "head")


def _masks(read_once: int, num_classes: int, proposals: int) -> list[Layer]:
    """The proposals of an image are stacked along the height: a 3 x 3 padded window does the same products there."""
    side = 14
    ops = PredictionOps()
    _aligned(ops, read_once, proposals, side)
    x = Tensor(256, (side * proposals, side))
    layers = [ops.layer("mask align", "head")]
    ops = PredictionOps()
    x = ops.unit(x, 256, 3, bias=True, norm="none")
    # The same block again: its input is kept by the ReLU before it, so only the first layer's own input is extra.
    layers.append(ops.layer("mask head first", "head"))
    ops = PredictionOps()
    x = ops.unit(x, 256, 3, bias=True, norm="none")
    layers.append(ops.layer("mask head rest", "head", repeat=3))
    ops = PredictionOps()
    x = ops.relu(ops.up_conv(x, 256, 2))
    x = ops.conv(x, num_classes, 1, bias=True)
    picked = x.elements // num_classes
    ops.loss(
        "mask loss", reads=x.elements + 8 * picked, writes=x.elements + 6 * picked, saved=4.0 * picked,
        launches=20 + IMAGE_LAUNCHES["masks"],
    )  # fmt: skip
    layers.append(ops.layer("masks", "head"))
    return layers


NETWORKS: Final = {"mask_rcnn_r50_fpn": mask_rcnn_r50_fpn}
