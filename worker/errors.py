"""What computing code raises. It knows nothing of jobs or HTTP: `worker.jobs.failures` maps it, in one place."""


class ComputationFailed(Exception):
    """A computation that cannot be done with what it was given: `detail` says what is wrong and what to do."""

    def __init__(self, detail: str) -> None:
        # It may quote what was sent, down to halves of surrogate pairs, which no answer and no record can hold.
        self.detail = detail.encode(errors="backslashreplace").decode()
        super().__init__(self.detail)


class InvalidInput(ComputationFailed):
    """A value of the request cannot be used."""


class InvalidItems(ComputationFailed):
    """Items of a probe cannot be used."""
