"""A checkpoint in memory, for tests that stop a training and go on with it."""


class Kept:
    """Holds the last state that was saved.

    Parameters
    ----------
    every_seconds
        How often the training is to save; never of itself, unless it is given.
    """

    def __init__(self, every_seconds: float = 1e9) -> None:
        self.every_seconds = every_seconds
        self.state: bytes | None = None
        self.saves = 0

    def load(self) -> bytes | None:
        """What was saved."""
        return self.state

    def save(self, state: bytes) -> None:
        """Keep it."""
        self.state = state
        self.saves += 1
