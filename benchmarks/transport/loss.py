"""W3 rows: value and gradient of the loss in a training step."""

from collections.abc import Callable

from torch import Tensor

from benchmarks.report import Report
from benchmarks.transport import peers
from benchmarks.transport.timing import cpu_seconds, interleave
from benchmarks.transport.workloads import prediction_batch
from worker.transport import transport_loss

_BATCH = 256


def _step(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        leaf = logits.detach().clone().requires_grad_()
        loss(leaf).backward()
        assert leaf.grad is not None
        return leaf.grad

    return run


def against_peers(report: Report, fast: bool) -> None:
    """eps .05, batch 256; libraries that need too much memory get fewer items.

    tol is 1e-5 for all: at 1e-3 the gradient error of every method here is about one percent.
    """
    eps, tol = 0.05, 1e-5
    for teacher, student in ((100, 10), (1000, 10), (100, 100), (1000, 100)):
        case = f"{teacher}x{student} batch {_BATCH}"
        batch = prediction_batch(_BATCH, teacher, student, seed=2)
        logits = batch.targets.log()
        some = min(_BATCH, max(8, 1_000_000 // (teacher * student)))
        few = 16

        def ours(z: Tensor, b: object = batch) -> Tensor:
            return transport_loss(z, b.predictions, b.cost, eps=eps, tol=tol, reduction="sum")

        def exact(z: Tensor, b: object = batch) -> Tensor:
            p = b.predictions.double()
            return transport_loss(z, p / p.sum(1, True), b.cost.double(), eps=eps, tol=1e-10, reduction="sum")

        steps = {
            "preceptor": (_BATCH, _step(ours, logits)),
            "POT solve_batch autodiff": (some, _step(peers.loss_by_solve_batch(batch, some, eps, tol), logits[:some])),
            "POT ot.solve envelope loop": (few, _step(peers.loss_by_solve_loop(batch, few, eps, tol), logits[:few])),
            "unrolled torch": (_BATCH, _step(peers.loss_unrolled(batch, eps, tol), logits)),
        }
        truth = _step(exact, logits.double())()
        timings = interleave({name: cpu_seconds(run) for name, (_, run) in steps.items()}, 3 if fast else 7)
        each = {name: timings[name].median / items for name, (items, _) in steps.items()}
        for name, (items, run) in steps.items():
            reference = truth[:items]
            # POT regularises with the entropy, not with KL: a different function and gradient (by eps log q).
            other = name.startswith("POT")
            error = None if other else float((run().double() - reference).norm() / reference.norm())
            report.row(
                "W3",
                case,
                name,
                us_per_item=each[name] * 1e6,
                spread=f"{timings[name].fastest / items * 1e6:.3g}..{timings[name].slowest / items * 1e6:.3g}",
                times_slower=each[name] / each["preceptor"],
                gradient_error=error,
            )
            if name == "preceptor":
                assert error is not None
                report.target(f"W3 {case}: gradient error", 5e-4, error, at_most=True)
        for name, least in (
            ("POT solve_batch autodiff", 40),
            ("POT ot.solve envelope loop", 80),
            ("unrolled torch", 1.8),
        ):
            report.target(f"W3 {case}: times {name}", least, each[name] / each["preceptor"])
