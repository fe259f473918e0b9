"""Perceiver IO: a few latents read a long input, think, and are read by the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from workloads.image_ops import ImageOps, image_tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, vector
from workloads.transformer_blocks import (
    check_sizes,
    classifier,
    cross_attention,
    cross_entropy,
    feed_forward,
    norm,
    residual,
    table_sum,
)
from workloads.workload import Workload


@dataclass(frozen=True, kw_only=True)
class _Attend:
    """One attention module: ``rows`` queries of ``width`` read ``context`` rows of ``memory_width``."""

    name: str
    rows: int
    width: int
    context: int
    memory_width: int
    heads: int
    key_width: int
    value_width: int
    of_itself: bool = False
    query_residual: bool = True

    def ops(self) -> tuple[Op, ...]:
        """Norms, attention, residual and a feed-forward part that is no wider than the queries."""
        elements = self.rows * self.width
        norms = [norm(f"{self.name} norm", rows=self.rows, width=self.width)]
        if not self.of_itself:
            norms.append(norm(f"{self.name} input norm", rows=self.context, width=self.memory_width))
        attend = cross_attention(
            name=self.name,
            hidden=self.width,
            heads=self.heads,
            head_dim=self.key_width // self.heads,
            value_dim=self.value_width // self.heads,
            seq_len=self.rows,
            context=self.context,
            memory_width=self.memory_width,
            biases=True,
            dropout=True,
            keeps_memory=not self.of_itself,
        )
        kept = (residual(f"{self.name} residual", elements, dropout=False),) if self.query_residual else ()
        mlp = feed_forward(
            hidden=self.width,
            ffn=self.width,
            seq_len=self.rows,
            activation="gelu",
            closing=(residual("mlp residual", elements, dropout=False),),
        )
        return (*norms, *attend, *kept, norm("mlp norm", rows=self.rows, width=self.width), *mlp)


def _latents(rows: int, width: int) -> Op:
    """The latents are parameters, the same for every sample."""
    return vector(
        name="latents", read_elements=rows * width, write_elements=rows * width, parameters=rows * width
    )  # fmt: skip


def _again(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The same modules once more: their parameters are those of the first pass."""
    return tuple(replace(op, parameters=0) for op in ops)


def language_perceiver(
    *,
    seq_len: int = 2048,
    width: int = 768,
    vocab: int = 262,
    latents: int = 256,
    latent_width: int = 1280,
    layers: int = 26,
    heads: int = 8,
    key_width: int = 256,
    classes: int = 2,
    task: str = "classification",
) -> Workload:
    """Perceiver IO [1]_ over the bytes of a text: masked bytes (201,108,230 parameters) or a class of the text.

    The position table has 2,048 rows, and texts are padded to that in the published set-up.

    References
    ----------
    .. [1] Jaegle et al., Perceiver IO, 2021, arXiv:2107.14795
    """
    where = "language-perceiver"
    if task not in ("classification", "masked"):
        raise WorkloadError(f"{where}: task is '{task}'. Legal: classification, masked.")
    check_sizes(where, seq_len=seq_len, width=width, vocab=vocab, latents=latents, layers=layers, heads=heads)
    rows = max(2048, seq_len)
    read = _Attend(
        name="read", rows=latents, width=latent_width, context=seq_len, memory_width=width, heads=heads,
        key_width=key_width, value_width=latent_width,
    )  # fmt: skip
    think = _Attend(
        name="latent", rows=latents, width=latent_width, context=latents, memory_width=latent_width, heads=heads,
        key_width=key_width, value_width=latent_width, of_itself=True,
    )  # fmt: skip
    if task == "masked":
        write = _Attend(
            name="write", rows=seq_len, width=width, context=latents, memory_width=latent_width, heads=heads,
            key_width=key_width, value_width=width, query_residual=False,
        )  # fmt: skip
        head = (
            table_sum("output positions", rows=rows, elements=seq_len * width, width=width),
            *write.ops(),
            gemm(name="vocabulary", m=seq_len, n=vocab, k=width, bias=True, split="vocab"),
            cross_entropy(seq_len * vocab),
        )
    else:
        head = _class_head(latents, latent_width, classes)
    table = embedding(name="byte embedding", rows=vocab, width=width, tokens=seq_len)
    positions = table_sum("position embedding", rows=rows, elements=seq_len * width, width=width)
    return Workload(
        name=where,
        family="transformer",
        sample="sequence",
        layers=(
            Layer(name="embedding", kind="embedding", ops=(table, positions)),
            Layer(name="read", kind="block", ops=(_latents(latents, latent_width), *read.ops())),
            Layer(name="latent block", kind="block", ops=think.ops(), repeat=layers),
            Layer(name="head", kind="head", ops=head),
        ),
        tokens_per_sample=seq_len,
        hyper={"heads": heads, "layers": layers, "hidden": latent_width, "vocab": vocab, "seq_len": seq_len},
        tied_embeddings=task == "masked",
    )


def vision_perceiver_conv(
    *,
    image_size: int = 224,
    latents: int = 512,
    latent_width: int = 1024,
    layers: int = 6,
    passes: int = 8,
    heads: int = 8,
    num_classes: int = 1000,
) -> Workload:
    """Perceiver IO [1]_ over an image that a convolution and a pooling made smaller.

    Six latent modules run eight times with the same parameters. The inputs are 64 channels and 258 Fourier features
    of their position, one head reads them. Parts are those of Hugging Face's
    ``PerceiverForImageClassificationConvProcessing``; with 3 channels instead of 64 and no convolution they count
    48,440,627 parameters, as its ``...Fourier`` model.

    References
    ----------
    .. [1] Jaegle et al., Perceiver IO, 2021, arXiv:2107.14795
    """
    where = "vision-perceiver-conv"
    check_sizes(where, latents=latents, layers=layers, passes=passes, heads=heads, num_classes=num_classes)
    ops = ImageOps()
    x = ops.conv(image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(ops.relu(ops.batch_norm(x)), 3, stride=2)
    pixels, features = x.hw[0] * x.hw[1], 258
    width = x.channels + features
    placed = vector(name="fourier features", read_elements=pixels * width, write_elements=pixels * width, launches=8)
    read = _Attend(
        name="read", rows=latents, width=latent_width, context=pixels, memory_width=width, heads=1,
        key_width=width, value_width=width,
    )  # fmt: skip
    think = _Attend(
        name="latent", rows=latents, width=latent_width, context=latents, memory_width=latent_width, heads=heads,
        key_width=latent_width, value_width=latent_width, of_itself=True,
    ).ops()  # fmt: skip
    again = Layer(name="latent block again", kind="block", ops=_again(think), repeat=max(1, layers * (passes - 1)))
    return Workload(
        name=where,
        family="transformer",
        sample="image",
        layers=(
            Layer(name="stem", kind="conv", ops=(*ops.ops, placed)),
            Layer(name="read", kind="block", ops=(_latents(latents, latent_width), *read.ops())),
            Layer(name="latent block", kind="block", ops=think, repeat=layers),
            *((again,) if passes > 1 else ()),
            Layer(name="head", kind="head", ops=_class_head(latents, latent_width, num_classes)),
        ),
        hyper={"heads": heads, "layers": layers * passes, "hidden": latent_width, "image_size": image_size},
    )


def _class_head(latents: int, width: int, classes: int) -> tuple[Op, ...]:
    """One learned query reads the latents with one head; a linear layer makes classes of it."""
    write = _Attend(
        name="write", rows=1, width=width, context=latents, memory_width=width, heads=1, key_width=width,
        value_width=width,
    )  # fmt: skip
    query = replace(_latents(1, width), name="output query")
    return (query, *write.ops(), *classifier("classifier", rows=1, width=width, classes=classes))


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "language_perceiver": language_perceiver,
    "vision_perceiver_conv": vision_perceiver_conv,
}
