"""Transformers over image patches: ViT, and CLIP with its text tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, embedding, gemm, vector
from workloads.transformer_blocks import (
    ACTIVATIONS,
    check_sizes,
    check_words,
    classifier,
    dropout,
    feed_forward,
    head_width,
    norm,
    residual,
    self_attention,
    table_sum,
)
from workloads.workload import Workload


def vision_transformer(
    *,
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    ffn: int = 3072,
    patch: int = 16,
    image_size: int = 224,
    num_classes: int = 1000,
    activation: str = "gelu",
    drops: bool = False,
) -> Workload:
    """ViT [1]_: patches as words, a class token, learned positions, pre-norm blocks and one linear layer.

    86,567,656 parameters for ViT-B/16 at 224 pixels and 1,000 classes, as torchvision, timm and Hugging Face count.

    Raises
    ------
    WorkloadError
        When the patch does not divide the image, or the heads the width.

    References
    ----------
    .. [1] Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, arXiv:2010.11929
    """
    where = "vision-transformer"
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "ffn": ffn, "num_classes": num_classes}
    check_sizes(where, **sizes, patch=patch, image_size=image_size)
    check_words(where, ("activation", activation, tuple(ACTIVATIONS)))
    rows = _patches(where, image_size, patch) + 1
    return Workload(
        name=where,
        family="transformer",
        sample="image",
        layers=(
            Layer(
                name="patches",
                kind="embedding",
                ops=_patch_ops(patch=patch, image_size=image_size, hidden=hidden, bias=True, drops=drops),
            ),
            Layer(
                name="block",
                kind="block",
                ops=_block(
                    where,
                    hidden=hidden,
                    heads=heads,
                    ffn=ffn,
                    rows=rows,
                    activation=activation,
                    causal=False,
                    drops=drops,
                ),
                repeat=layers,
            ),
            Layer(
                name="head",
                kind="head",
                ops=(
                    norm("final norm", rows=rows, width=hidden),
                    *classifier("classifier", rows=1, width=hidden, classes=num_classes),
                ),
            ),
        ),
        hyper={**sizes, "kv_heads": heads, "image_size": image_size, "patch": patch, "positions": rows},
    )


def clip(
    *,
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    patch: int = 32,
    image_size: int = 224,
    text_layers: int = 12,
    text_hidden: int = 512,
    text_heads: int = 8,
    text_len: int = 77,
    vocab: int = 49408,
    width: int = 512,
) -> Workload:
    """CLIP [1]_: an image tower and a causal text tower whose outputs meet in one space of ``width``.

    A sample is an image with its caption of ``text_len`` tokens (padded to that). 151,277,313 parameters for
    ViT-B/32, as Hugging Face counts. Left out: the product of all images with all captions of a step, which grows
    with the batch (2 x width FLOP a pair).

    References
    ----------
    .. [1] Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021,
       arXiv:2103.00020
    """
    where = "clip"
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "image_size": image_size, "patch": patch}
    check_sizes(where, **sizes, text_layers=text_layers, text_hidden=text_hidden, text_heads=text_heads)
    check_sizes(where, text_len=text_len, vocab=vocab, width=width)
    rows = _patches(where, image_size, patch) + 1

    def tower(name: str, hidden: int, heads: int, rows: int, layers: int, causal: bool) -> Layer:
        ops = _block(
            where, hidden=hidden, heads=heads, ffn=4 * hidden, rows=rows, activation="quick_gelu", causal=causal,
            drops=False,
        )  # fmt: skip
        return Layer(name=name, kind="block", ops=ops, repeat=layers)

    patches = _patch_ops(patch=patch, image_size=image_size, hidden=hidden, bias=False, drops=False)
    loss = vector(name="contrastive loss", read_elements=4 * width, write_elements=4 * width, parameters=1, launches=12)
    return Workload(
        name=where,
        family="transformer",
        sample="image",
        layers=(
            Layer(name="patches", kind="embedding", ops=(*patches, norm("patch norm", rows=rows, width=hidden))),
            tower("image block", hidden, heads, rows, layers, causal=False),
            Layer(name="image head", kind="head", ops=_projected(hidden, width)),
            Layer(
                name="caption",
                kind="embedding",
                ops=(
                    embedding(name="token embedding", rows=vocab, width=text_hidden, tokens=text_len),
                    table_sum("position embedding", rows=text_len, elements=text_len * text_hidden, width=text_hidden),
                ),
            ),
            tower("text block", text_hidden, text_heads, text_len, text_layers, causal=True),
            Layer(
                name="head",
                kind="head",
                ops=(
                    norm("final norm", rows=text_len, width=text_hidden),
                    gemm(name="text projection", m=1, n=width, k=text_hidden),
                    loss,
                ),
            ),
        ),
        hyper={**sizes, "kv_heads": heads, "ffn": 4 * hidden, "text_len": text_len, "vocab": vocab},
    )


def _patches(where: str, image_size: int, patch: int) -> int:
    if image_size % patch:
        raise WorkloadError(f"{where}: image_size {image_size} is not a multiple of the patch of {patch} pixels.")
    return (image_size // patch) ** 2


def _patch_ops(*, patch: int, image_size: int, hidden: int, bias: bool, drops: bool) -> tuple[Op, ...]:
    """A convolution that cuts the image into patches, the class token in front, learned positions."""
    side = (image_size, image_size)
    cut = conv(
        name="patches", in_hw=side, c_in=3, c_out=hidden, kernel=(patch, patch), stride=(patch, patch), bias=bias,
        input_needs_gradient=False,
    )  # fmt: skip
    rows = cut.m + 1
    token = vector(
        name="class token", read_elements=rows * hidden, write_elements=rows * hidden, parameters=hidden, launches=2
    )
    positions = table_sum("position embedding", rows=rows, elements=rows * hidden, width=hidden)
    return (cut, token, positions, *((dropout("embedding dropout", rows * hidden),) if drops else ()))


def _block(
    where: str, *, hidden: int, heads: int, ffn: int, rows: int, activation: str, causal: bool, drops: bool
) -> tuple[Op, ...]:
    elements = rows * hidden
    return (
        norm("attention norm", rows=rows, width=hidden),
        *self_attention(
            hidden=hidden,
            heads=heads,
            kv_heads=heads,
            head_dim=head_width(where, hidden=hidden, heads=heads, head_dim=None),
            seq_len=rows,
            causal=causal,
            dropout=drops,
            closing=(residual("attention residual", elements, dropout=drops),),
        ),
        norm("mlp norm", rows=rows, width=hidden),
        *feed_forward(
            hidden=hidden,
            ffn=ffn,
            seq_len=rows,
            activation=activation,
            inner_dropout=drops,
            closing=(residual("mlp residual", elements, dropout=drops),),
        ),
    )


def _projected(hidden: int, width: int) -> tuple[Op, ...]:
    """The class token's norm and its product into the common space."""
    return (
        norm("final norm", rows=1, width=hidden, split="none"),
        gemm(name="image projection", m=1, n=width, k=hidden),
    )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"vision_transformer": vision_transformer, "clip": clip}
