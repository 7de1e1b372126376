"""Binding of the entropic loops: passes pointers and distributes items over threads."""

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from worker.transport._fused.library import level, library, structure

# Below this number of items, a thread costs more to start than it saves.
_ITEMS_PER_THREAD = 64

_ScaleArguments = structure(
    "_ScaleArguments",
    "predictions targets kernel scaling violation sums iterations",
    "count",
    "rows columns max_iterations max_rounds",
    "tol power",
)
_FinishArguments = structure(
    "_FinishArguments",
    "predictions targets kernel priced_kernel scaling sums row_shift column_shift f g value dual",
    "count",
    "rows columns",
    "eps power",
)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="transport")


def _shared_out(count: int, run: Callable[[int, int], int]) -> None:
    """Call ``run(first, last)`` over all items, on as many threads as torch would use."""
    parts = max(1, min(torch.get_num_threads(), count // _ITEMS_PER_THREAD))
    edges = [count * part // parts for part in range(parts + 1)]
    statuses = [run(0, count)] if parts == 1 else list(_pool().map(run, edges[:-1], edges[1:]))
    if any(statuses):
        raise MemoryError("the transport loops could not allocate their scratch memory")


def _at(tensor: Tensor, row: int) -> int:
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()


def scale(
    predictions: Tensor,
    targets: Tensor,
    kernel: Tensor,
    scaling: Tensor,
    *,
    tol: float,
    power: float,
    max_iterations: int,
    max_rounds: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sinkhorn in compiled lanes, Newton for slow items; ``scaling`` (N, S) is the initial v, replaced by the last.

    All tensors contiguous, on the CPU, of the same dtype (float32 or float64). ``max_iterations`` counts passes over
    the kernel, ``max_rounds`` Newton steps; 0 disables Newton.

    Returns
    -------
    violation : Tensor, shape (N,)
        Infinite if arithmetic failed.
    iterations : Tensor, shape (N,), int32
    sums : Tensor, shape (N, S)
        G^T u at the last v, which :func:`finish` would otherwise recompute.
    """
    count, rows, columns = predictions.shape[0], kernel.shape[0], kernel.shape[1]
    violation, sums = torch.empty(count, dtype=kernel.dtype), torch.empty_like(scaling)
    iterations = torch.empty(count, dtype=torch.int32)
    loops = library()
    assert loops is not None

    def run(first: int, last: int) -> int:
        arguments = _ScaleArguments(
            _at(predictions, first),
            _at(targets, first),
            kernel.data_ptr(),
            _at(scaling, first),
            _at(violation, first),
            _at(sums, first),
            _at(iterations, first),
            last - first,
            rows,
            columns,
            min(max_iterations, 2**31 - 1),
            max_rounds,
            tol,
            power,
        )
        return loops.preceptor_scale(ctypes.byref(arguments), kernel.element_size(), level())

    _shared_out(count, run)
    return violation, iterations, sums


def finish(
    predictions: Tensor,
    targets: Tensor,
    kernel: Tensor,
    priced_kernel: Tensor,
    scaling: Tensor,
    sums: Tensor,
    row_shift: Tensor,
    column_shift: Tensor,
    *,
    eps: float,
    power: float,
    with_f: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``scaling.finish_block`` in compiled lanes; ``priced_kernel`` is G * C, the shifts are added to the potentials.

    ``scaling`` and ``sums`` are the results of :func:`scale`.

    Returns
    -------
    f, g : Tensor, shapes (N, K) and (N, S)
        f is (N, 0) unless ``with_f``.
    value : Tensor, shape (N,)
    dual : Tensor, shape (N,)
        p . f + q . g: the dual value when balanced. Not finite if arithmetic failed.
    """
    count, rows, columns = predictions.shape[0], kernel.shape[0], kernel.shape[1]
    f = torch.empty_like(predictions) if with_f else predictions.new_empty((count, 0))
    g = torch.empty_like(targets)
    value, dual = predictions.new_empty(count), predictions.new_empty(count)
    row_shift, column_shift = row_shift.to(kernel.dtype), column_shift.to(kernel.dtype)
    loops = library()
    assert loops is not None

    def run(first: int, last: int) -> int:
        arguments = _FinishArguments(
            _at(predictions, first),
            _at(targets, first),
            kernel.data_ptr(),
            priced_kernel.data_ptr(),
            _at(scaling, first),
            _at(sums, first),
            row_shift.data_ptr(),
            column_shift.data_ptr(),
            _at(f, first) if with_f else None,
            _at(g, first),
            _at(value, first),
            _at(dual, first),
            last - first,
            rows,
            columns,
            eps,
            power,
        )
        return loops.preceptor_finish(ctypes.byref(arguments), kernel.element_size(), level())

    _shared_out(count, run)
    return f, g, value, dual
