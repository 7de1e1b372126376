"""What is counted of entropic problems."""

import torch

from worker.transport.tally import Solved, Tally


def test_batches_add_up_and_are_taken_once() -> None:
    tally = Tally()
    tally.add(torch.tensor([True, False, True]), torch.tensor([3, 100, 5]))
    tally.add(torch.ones(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))
    tally.count(Solved(items=2, unconverged=1, iterations=7))
    assert tally.take() == Solved(items=5, unconverged=2, iterations=115)
    assert tally.take() == Solved(0, 0, 0)
