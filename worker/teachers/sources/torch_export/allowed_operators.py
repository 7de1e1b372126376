"""Which ATen operators an exported program may call.

A closed list: what classifiers need, and nothing that reads files, leaves memory uninitialised, draws random
numbers, or trusts an index it was given.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch._ops import OpOverload, OpOverloadPacket

from ...errors import TeacherUnusable

_ARITHMETIC: Final = """
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh ceil clamp clamp_max clamp_min clip cos
    cosh div erf erfc exp exp2 expm1 floor floor_divide fmod frac lerp log log10 log1p log2 logaddexp logit
    lgamma maximum minimum mul nan_to_num neg pow reciprocal remainder round rsqrt rsub sgn sign sin sinh
    sqrt square sub tan tanh true_divide trunc xlogy
"""
_LOGIC: Final = """
    __and__ __or__ __xor__ all any bitwise_and bitwise_not bitwise_or bitwise_xor eq equal ge gt isfinite
    isinf isnan le logical_and logical_not logical_or logical_xor lt masked_fill ne where
"""
_ACTIVATIONS: Final = """
    celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid mish prelu relu relu6 selu
    sigmoid silu softplus threshold softmax log_softmax _softmax _log_softmax _safe_softmax
"""
_LAYERS: Final = """
    addmm baddbmm batch_norm bilinear bmm cdist conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    convolution cosine_similarity dot einsum embedding group_norm gru instance_norm layer_norm linear
    linalg_vector_norm lstm matmul mm mv native_batch_norm native_group_norm native_layer_norm norm
    _native_batch_norm_legit_no_training outer rms_norm scaled_dot_product_attention
"""
_POOLING: Final = """
    _adaptive_avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d im2col max_pool1d max_pool2d
    max_pool2d_with_indices max_pool3d unfold upsample_bicubic2d upsample_bilinear2d upsample_nearest2d
    constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad2d
"""
_SHAPES: Final = """
    _reshape_alias _to_copy _unsafe_view alias broadcast_to cat chunk clone concat contiguous copy copy_
    detach diagonal expand expand_as fill fill_ flatten flip gather index index_select lift_fresh_copy
    masked_select movedim narrow numpy_T permute pixel_shuffle pixel_unshuffle repeat repeat_interleave
    reshape roll scatter scatter_add select select_scatter slice slice_scatter split split_with_sizes
    squeeze stack swapaxes t take_along_dim tile to transpose tril triu type_as unbind unflatten unsqueeze
    view view_as channel_shuffle meshgrid
"""
_REDUCTIONS: Final = """
    amax amin argmax argmin argsort count_nonzero cumprod cumsum logsumexp max mean median min prod sort std
    std_mean sum topk var var_mean
"""
_CREATION: Final = """
    arange full full_like new_full new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like linspace
    eye one_hot
"""
_SIZES: Final = "sym_size sym_numel sym_stride"
# In place: the plain operator's name with an underscore, on tensors that the program made itself.
_IN_PLACE: Final = """
    abs add addcdiv addcmul ceil clamp clamp_max clamp_min div elu exp floor hardsigmoid hardswish hardtanh
    leaky_relu log masked_fill mish mul neg pow reciprocal relu relu6 round rsqrt sigmoid silu sqrt squeeze
    sub tanh unsqueeze zero
"""

ALLOWED: Final = frozenset(
    name
    for names in (
        *(_ARITHMETIC, _LOGIC, _ACTIVATIONS, _LAYERS, _POOLING),
        *(_SHAPES, _REDUCTIONS, _CREATION, _SIZES),
    )
    for name in names.split()
) | {f"{name}_" for name in _IN_PLACE.split()}

# The identity in evaluation mode; refused in training mode.
DROPOUTS: Final = frozenset({"dropout", "dropout_", "feature_dropout", "alpha_dropout", "native_dropout"})
# Statements about shapes that were true at export; ours are checked by the operators themselves.
ASSERTIONS: Final = frozenset(
    {
        "_assert_tensor_metadata",
        "_assert_async",
        "_assert_scalar",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)

# Arithmetic on sizes.
_NUMBER_NAMES: Final = "add sub mul floordiv mod neg truediv eq ne lt le gt ge and_ or_ not_ getitem"
_ON_NUMBERS: Final[dict[str, Callable[..., Any]]] = {
    f"_operator.{name}": getattr(operator, name) for name in _NUMBER_NAMES.split()
} | {"torch.sym_max": max, "torch.sym_min": min, "torch.sym_not": operator.not_, "torch.sym_float": float}

_TARGET: Final = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")


def short_name(target: str) -> str:
    """The operator's bare name, ``conv2d`` for ``torch.ops.aten.conv2d.default``; else the whole target."""
    found = _TARGET.fullmatch(target)
    return found[1] if found else target


def operator_for(target: str) -> Callable[..., Any]:
    """The function that a node of an exported program calls.

    Parameters
    ----------
    target
        As stored, for example ``torch.ops.aten.conv2d.default`` or ``_operator.mul``.

    Raises
    ------
    TeacherUnusable
        It is not on the list.
    """
    if target in _ON_NUMBERS:
        return _ON_NUMBERS[target]
    found = _TARGET.fullmatch(target)
    if found and found[1] in ALLOWED and "out" not in found[2].split("_"):
        packet = getattr(torch.ops.aten, found[1], None)
        function = getattr(packet, found[2], None) if isinstance(packet, OpOverloadPacket) else None
        if isinstance(function, OpOverload):
            return function
    raise TeacherUnusable(
        f"the exported program calls {target[:100]!r}, which is not allowed here; decompose it with "
        f"exported.run_decompositions() before torch.export.save, or export the model to ONNX"
    )
