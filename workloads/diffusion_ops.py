"""Lays out the blocks of denoising U-Nets: residual blocks steered by a vector, attention of pixels to pixels and text.

What is kept for the backward pass follows `prediction_ops`; a modulation keeps its input, group norm and swish theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.image_ops import Tensor
from workloads.mobile_blocks import group_norm
from workloads.op import attention, gemm
from workloads.prediction_ops import PredictionOps
from workloads.transformer_blocks import norm as layer_norm

#: Buckets of the relative positions of T5.
RELATIVE_BUCKETS = 32


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What steers a U-Net: a vector of ``vector`` numbers, and text of ``length`` words of ``width`` numbers each.

    ``heads`` heads of ``head_dim`` attend to the text and to the image.
    """

    vector: int
    width: int
    length: int
    heads: int
    head_dim: int


class DenoiserOps(PredictionOps):
    """`PredictionOps` with what U-Nets of diffusion models add."""

    def shape_as(self, x: Tensor, channels: int, hw: tuple[int, int], *, name: str) -> Tensor:
        """Pixels moved to channels or back, copied."""
        out = Tensor(channels, hw)
        self.pass_over(name, out, reads=out.elements)
        return out

    def down_shuffle(self, x: Tensor, *, again: bool = False) -> Tensor:
        """Squares of 2 x 2 pixels become channels, which a 1 x 1 convolution brings back to as many as before."""
        half = (x.hw[0] // 2, x.hw[1] // 2)
        with self.shared(again):
            return self.conv(self.shape_as(x, 4 * x.channels, half, name="unshuffle"), x.channels, 1, bias=True)

    def up_shuffle(self, x: Tensor, *, again: bool = False) -> Tensor:
        """A 1 x 1 convolution to four times the channels, norm, swish; the channels become squares of 2 x 2 pixels."""
        start = len(self.ops)
        with self.shared(again):
            y = self.activate(group_norm(self, self.conv(x, 4 * x.channels, 1, bias=True)), "swish")
        if again:
            self.ops[start:] = [replace(op, parameters=0) for op in self.ops[start:]]
        return self.shape_as(y, x.channels, (2 * x.hw[0], 2 * x.hw[1]), name="shuffle")

    def modulate(self, x: Tensor, width: int) -> Tensor:
        """Scales and shifts every channel by a dense layer's outputs of the steering vector; it keeps its input."""
        self.ops.append(gemm(name=f"steer {width}-{2 * x.channels}", m=1, n=2 * x.channels, k=width, bias=True))
        out = Tensor(x.channels, x.hw)
        self.pass_over("modulate", out, reads=x.elements, saved=x.keep(), launches=3)
        return out

    def residual(self, x: Tensor, width: int, steer: int = 0, *, resample: str = "", projects: bool = False) -> Tensor:
        """Norm, swish, 3 x 3 convolution, norm, modulation, swish, 3 x 3 convolution; plus the input.

        Parameters
        ----------
        steer
            Numbers of the steering vector; 0 leaves the modulation out.
        resample
            ``down`` or ``up`` resamples the input and the first convolution's, with the same parameters.
        projects
            Whether the input passes a 1 x 1 convolution even where it has the right channels.
        """
        y = self.activate(group_norm(self, x), "swish")
        if resample == "down":
            x, y = self.down_shuffle(x), self.down_shuffle(y, again=True)
        elif resample == "up":
            x, y = self.up_shuffle(x), self.up_shuffle(y, again=True)
        y = group_norm(self, self.conv(y, width, 3, padding=1, bias=True))
        if steer:
            y = self.modulate(y, steer)
        y = self.conv(self.activate(y, "swish"), width, 3, padding=1, bias=True)
        if x.channels != width or projects:
            x = self.conv(x, width, 1, bias=True)
        return self.add(y, x)

    def attend(self, x: Tensor, text: Conditions, *, kind: str = "fused") -> Tensor:
        """Pixels attend to pixels and words (``fused``) or to words only (``cross``), plus the input."""
        rows, width = x.hw[0] * x.hw[1], text.heads * text.head_dim
        normed = group_norm(self, x)
        self.ops.append(gemm(name="queries", m=rows, n=width, k=x.channels, bias=True))
        keys = text.length
        if kind == "fused":
            other = group_norm(self, Tensor(x.channels, x.hw, kept=True))
            self.ops.append(gemm(name="keys and values", m=rows, n=2 * width, k=other.channels, bias=True))
            keys += rows
        words = group_norm(self, Tensor(text.width, (text.length, 1), kept=True))
        self.ops += [
            gemm(name="text keys and values", m=text.length, n=2 * width, k=words.channels, bias=True),
            attention(
                name="attention", heads=text.heads, kv_heads=text.heads, head_dim=text.head_dim, seq_len=rows,
                context=keys, causal=False, dropout=False,
            ),
            gemm(name="projection", m=rows, n=x.channels, k=width, bias=True),
        ]  # fmt: skip
        return self.add(Tensor(normed.channels, normed.hw), x)

    def vector_of(self, name: str, inputs: int, width: int) -> None:
        """A dense layer, swish, a dense layer: a number (a time, a noise level) as a vector."""
        self.ops.append(gemm(name=f"{name} 1", m=1, n=width, k=inputs, bias=True))
        self.activate(Tensor(width, (1, 1)), "swish")
        self.ops.append(gemm(name=f"{name} 2", m=1, n=width, k=width, bias=True))

    def pooled_text(self, text: Conditions, words: int, inner: int) -> None:
        """Words of an encoder as one vector, by attention of their mean to them all, and as ``text.width`` each."""
        width = text.heads * text.head_dim
        self.pass_over("mean", Tensor(words, (1, 1)), reads=words * text.length)
        self.ops += [
            gemm(name="pool query", m=1, n=width, k=words),
            gemm(name="pool keys and values", m=text.length + 1, n=2 * width, k=words),
            replace(
                attention(
                    name="pool attention", heads=text.heads, kv_heads=text.heads, head_dim=text.head_dim, seq_len=1,
                    context=text.length + 1, causal=False, dropout=False,
                ),
                parameters=RELATIVE_BUCKETS * text.heads,
            ),
            gemm(name="pool projection", m=1, n=words, k=width),
            layer_norm("pool norm 1", rows=1, width=words, split="none"),
            gemm(name="pool dense 0", m=1, n=inner, k=words, bias=True),
            layer_norm("pool norm 2", rows=1, width=inner, split="none"),
        ]  # fmt: skip
        self.vector_of("pool dense", inner, text.vector)
        self.ops.append(gemm(name="words", m=text.length, n=text.width, k=words, bias=True))
