"""Names of ONNX operators: what they keep for a backward pass, which make no kernel, which cannot be training work."""

from __future__ import annotations

from typing import Final

#: Operators that give another view of the same numbers, or none at all.
_VIEWS: Final = "Reshape Flatten Squeeze Unsqueeze Identity Transpose Shape Size Constant Split Cast"
VIEWS: Final = frozenset(_VIEWS.split())
#: Operators whose gradient needs their output, or their inputs; others keep nothing.
KEEPS_OUTPUT: Final = frozenset(
    ("Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Exp", "Sqrt", "Reciprocal", "LeakyRelu", "Elu", "Selu")
)
KEEPS_INPUT: Final = frozenset(
    (
        "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
        "LRN", "LpNormalization", "Gelu", "Erf", "Swish", "Mish", "HardSwish", "HardSigmoid", "Softplus", "Softsign",
        "Celu", "ThresholdedRelu", "SwiGLU", "PRelu", "Mul", "Div", "Pow", "Log", "Sin", "Cos", "Abs", "AveragePool",
        "LpPool", "Clip", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss", "ReduceL2", "ReduceMax", "ReduceMin",
        "ReduceProd", "GridSample", "RoiAlign",
    )
)  # fmt: skip
#: Operators that add a learned tensor to, or multiply it with, an activation.
ELEMENTWISE: Final = frozenset(("Add", "Mul", "Sub", "Div", "PRelu", "Concat"))
#: Norms -> places of their learned inputs.
NORMS: Final = {
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
}
#: Norms that read their input twice, statistics first.
TWICE_READ: Final = frozenset(("BatchNormalization", "InstanceNormalization"))
#: Look-ups: what is read is what is picked.
PICKING: Final = frozenset(("Gather", "GatherElements", "GatherND", "Slice"))
#: Operators of graphs that were made for inference in whole numbers, or whose work depends on the data.
REFUSED: Final = {
    "If": "control flow: which branch runs is not known",
    "Loop": "control flow: how often it runs is not known",
    "Scan": "control flow; write the steps out or use LSTM, GRU or RNN",
    "SequenceMap": "control flow: how often it runs is not known",
    "MatMulInteger": "made for inference; import the graph before quantisation",
    "QLinearMatMul": "made for inference; import the graph before quantisation",
    "QLinearConv": "made for inference; import the graph before quantisation",
    "ConvInteger": "made for inference; import the graph before quantisation",
    "DynamicQuantizeLinear": "made for inference; import the graph before quantisation",
    "DFT": "a transform whose work is not counted",
    "STFT": "a transform whose work is not counted",
    "Det": "a factorisation whose work is not counted",
    "DeformConv": "a product that is not known",
    "LinearAttention": "a product that is not known",
    "CausalConvWithState": "a product that is not known",
}
