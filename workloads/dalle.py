"""Mini DALL-E: a transformer that continues a text with the codes of an image, which a frozen network makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from workloads.diffusion_ops import DenoiserOps
from workloads.image_ops import Tensor
from workloads.layer import Layer
from workloads.mobile_blocks import group_norm
from workloads.op import Op, WorkloadError, attention, embedding, gemm, product, vector
from workloads.prediction_ops import image_of
from workloads.transformer_blocks import check_sizes, feed_forward, norm, table_sum, vocabulary
from workloads.workload import Workload

#: Channels of the levels of the image encoder; each halves the image but the last (CompVis/taming-transformers, the
#: ImageNet model with 1024 codes of 16 x 16 pixels; recalled).
ENCODER_LEVELS: Final = (128, 128, 256, 256, 512)
#: Residual blocks a level, and width of a code.
ENCODER_BLOCKS: Final = 2
CODE_WIDTH: Final = 256
DOWN: Final = 2 ** (len(ENCODER_LEVELS) - 1)


def mini_dalle(
    *,
    layers: int = 16,
    full_layers: int = 2,
    hidden: int = 512,
    heads: int = 16,
    head_dim: int = 64,
    text_len: int = 80,
    text_vocab: int = 8192,
    codes: int = 1024,
    image_size: int = 256,
) -> Workload:
    """DALL-E [1]_ in the size that Graphcore trains on captions of COCO [2]_, its frozen image encoder included.

    A sample is an image with its caption, padded to ``text_len`` words. Of ``layers`` blocks ``full_layers`` attend to
    all positions; in the others a pixel attends to the text and to its row or column. Masked scores are computed. The
    decoder of images is not part of training.

    Raises
    ------
    WorkloadError
        For a size below 1, more full layers than layers, or an image that is no multiple of 16 pixels.

    References
    ----------
    .. [1] Ramesh et al., Zero-Shot Text-to-Image Generation, 2021, arXiv:2102.12092
    .. [2] graphcore/examples applications/pytorch/miniDALL-E configs.yml L16_POD16 @187775b1
    """
    where = "mini_dalle"
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "head_dim": head_dim, "text_len": text_len}
    check_sizes(where, **sizes, full_layers=full_layers, text_vocab=text_vocab, codes=codes)
    if full_layers > layers:
        raise WorkloadError(f"{where}: full_layers is {full_layers} of {layers} layers.")
    if image_size % DOWN:
        raise WorkloadError(f"{where}: image_size is {image_size}. Legal: multiples of {DOWN} pixels.")
    side = image_size // DOWN
    positions = text_len + side**2
    # Every position of the text has a padding word of its own.
    words = text_vocab + text_len

    def block(keys: int) -> tuple[Op, ...]:
        return _block(positions, keys, hidden, heads, head_dim)

    # Means over all positions: text attends to text, a pixel to text and a row or column.
    axial = round((text_len * text_len + side**2 * (text_len + 1 + side)) / positions)
    runs = (("axial block", axial, layers - full_layers), ("full block", positions, full_layers))
    blocks = [Layer(name=name, kind="block", ops=block(keys), repeat=count) for name, keys, count in runs if count]
    elements = positions * hidden
    table = embedding(name="words and codes", rows=words + codes, width=hidden, tokens=positions)
    return Workload(
        name=where,
        family="generative",
        sample="image",
        layers=(
            *_image_encoder(image_size, codes),
            Layer(
                name="embedding",
                kind="embedding",
                ops=(table, table_sum("positions", rows=text_len + 1 + 2 * side, elements=elements, width=hidden)),
            ),
            *blocks,
            Layer(
                name="head",
                kind="head",
                ops=(
                    norm("final norm", rows=positions, width=hidden),
                    *vocabulary(rows=positions, hidden=hidden, vocab=words + codes, bias=True),
                ),
            ),
        ),
        hyper={**sizes, "image_size": image_size, "vocab": words + codes},
        source="arXiv:2102.12092; graphcore/examples applications/pytorch/miniDALL-E configs.yml",
    )


def _block(positions: int, keys: int, hidden: int, heads: int, head_dim: int) -> tuple[Op, ...]:
    """Pre-norm attention and a gated feed-forward part, each scaled by a learned vector before it is added."""
    width, elements = heads * head_dim, positions * hidden
    scaled = vector(
        name="scale and sum", read_elements=3 * elements, write_elements=2 * elements, saved_elements=float(elements),
        parameters=hidden, split="sequence", launches=2,
    )  # fmt: skip
    up, *rest = feed_forward(hidden=hidden, ffn=4 * hidden, seq_len=positions, activation="geglu", closing=(scaled,))
    return (
        norm("attention norm", rows=positions, width=hidden),
        gemm(name="qkv", m=positions, n=3 * width, k=hidden, split="column"),
        attention(
            name="attention", heads=heads, kv_heads=heads, head_dim=head_dim, seq_len=positions, context=keys,
            causal=False, dropout=False,
        ),
        gemm(name="projection", m=positions, n=hidden, k=width, bias=True, split="row"),
        scaled,
        norm("mlp norm", rows=positions, width=hidden),
        up,
        *rest,
    )  # fmt: skip


def _image_encoder(image_size: int, codes: int) -> Sequence[Layer]:
    """VQGAN's encoder, run forward only: residual blocks, attention of pixels at the coarsest level, nearest codes."""
    ops = DenoiserOps()
    x = ops.conv(image_of(3, (image_size, image_size)), ENCODER_LEVELS[0], 3, padding=1, bias=True)
    layers = [ops.frozen_layer("encode in", "conv")]
    for level, width in enumerate(ENCODER_LEVELS):
        last = level == len(ENCODER_LEVELS) - 1
        for index in range(ENCODER_BLOCKS):
            ops = DenoiserOps()
            x = ops.residual(x, width)
            if last:
                x = _pixel_attention(ops, x)
            elif index == ENCODER_BLOCKS - 1:
                # Padded by one pixel on two sides only, which leads to the same size as one on all.
                x = ops.conv(x, width, 3, stride=2, padding=1, bias=True)
            layers.append(ops.frozen_layer(f"encode {level}.{index}", "conv"))
    ops = DenoiserOps()
    x = ops.residual(_pixel_attention(ops, ops.residual(x, x.channels)), x.channels)
    x = ops.conv(ops.activate(group_norm(ops, x), "swish"), CODE_WIDTH, 3, padding=1, bias=True)
    x = ops.conv(x, CODE_WIDTH, 1, bias=True)
    rows = x.hw[0] * x.hw[1]
    ops.ops.append(gemm(name="distances to codes", m=rows, n=codes, k=CODE_WIDTH))
    ops.select("nearest codes", reads=3 * rows * codes, writes=2 * rows * codes, launches=6)
    layers.append(ops.frozen_layer("encode out", "conv"))
    return layers


def _pixel_attention(ops: DenoiserOps, x: Tensor) -> Tensor:
    """One head over all channels, unfused: 1 x 1 convolutions, scores, softmax, sums."""
    rows = x.hw[0] * x.hw[1]
    y = group_norm(ops, x)
    for _ in range(3):
        values = ops.conv(y, x.channels, 1, bias=True)
    ops.ops.append(product(name="scores", batch=1, m=rows, n=rows, k=x.channels))
    ops.loss("softmax", reads=2 * rows**2, writes=2 * rows**2, launches=2)
    ops.ops.append(product(name="weighted sums", batch=1, m=rows, n=x.channels, k=rows))
    return ops.add(x, ops.conv(replace(values, kept=True), x.channels, 1, bias=True))


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"mini_dalle": mini_dalle}
