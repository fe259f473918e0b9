"""Names of PyTorch's kernels: which move memory in a way we know, which make nothing, which look like products."""

from __future__ import annotations

import re
from typing import Final

#: Kernels that are neither element-wise (PyTorch tags those) nor products: norms, reductions, pools, losses, copies,
#: look-ups. Trailing underscores (in place) are left out.
_WORDS: Final = """
    native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
    _batch_norm_with_update cudnn_batch_norm _fused_rms_norm renorm _weight_norm_interface _softmax _log_softmax
    _safe_softmax logsumexp sum mean amax amin max min argmax argmin aminmax var std var_mean std_mean prod norm
    linalg_vector_norm cumsum cumprod cummax logcumsumexp any all count_nonzero max_pool2d_with_indices
    max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d nll_loss_forward
    nll_loss2d_forward mse_loss smooth_l1_loss huber_loss soft_margin_loss multi_margin_loss
    multilabel_margin_loss_forward binary_cross_entropy _ctc_loss cat stack clone copy contiguous _to_copy
    constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d roll flip repeat repeat_interleave index index_select index_put _index_put_impl index_add
    index_copy index_fill gather scatter scatter_add scatter_reduce masked_fill masked_scatter tril triu embedding
    _embedding_bag where im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa grid_sampler_2d
    grid_sampler_3d sort topk kthvalue searchsorted bucketize slice_scatter select_scatter diagonal_scatter arange
    zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full eye linspace scalar_tensor fill zero
    rand randn randint rand_like randn_like bernoulli multinomial uniform normal exponential native_dropout glu prelu
    _prelu_kernel rrelu_with_noise diff trace unique_consecutive view_as_complex complex polar _local_response_norm
    affine_grid_generator one_hot random randperm _foreach_add take log_sigmoid_forward floor_divide
    cumulative_trapezoid argsort histc softplus
"""
KNOWN: Final = frozenset(_WORDS.split())

#: Kernels that only allocate.
ALLOCATIONS: Final = frozenset(("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize"))

#: In-place kernels that do not read what they overwrite.
OVERWRITING: Final = frozenset(("copy", "fill", "zero", "bernoulli", "uniform", "normal", "exponential", "random"))

#: Look-ups: what is read is what is picked, not the whole source.
PICKING: Final = frozenset(("index", "index_select", "gather", "embedding", "take", "_embedding_bag"))

#: Batch-norms, which read their input twice in training: statistics first.
TWICE_READ: Final = frozenset(
    ("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm")
)

_PRODUCT: Final = re.compile(
    r"mm($|_|\d)|matmul|conv|einsum|dot|linear|attention|attn|gemm|gemv|lstm|gru|rnn|cdist|trilinear|bilinear|mv$"
    r"|addr$|addbmm|linalg|cholesky|solve|tensordot|kron"
)


def looks_like_product(name: str) -> bool:
    """Whether a kernel of this name may contract a dimension, so that its work would be missed."""
    return _PRODUCT.search(name.lower()) is not None
