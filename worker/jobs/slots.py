"""Which jobs may begin in a worker: a share for every caller, and room for quick jobs whatever else runs."""

from dataclasses import dataclass
from typing import Final

from service.core.lanes import Lane


@dataclass(frozen=True)
class Size:
    """How many jobs a worker runs at the same time.

    Attributes
    ----------
    long
        Jobs that may take long. Quick jobs use what is free of these places, too.
    quick
        Further places that only quick jobs use.
    share
        Most long jobs of one caller.
    """

    long: int
    quick: int
    share: int


SIZES: Final[dict[Lane, Size]] = {
    # Two long jobs keep a machine busy: each computes with half of its cores.
    "recommend": Size(long=4, quick=1, share=2),
    "distill": Size(long=1, quick=0, share=1),
}
QUICK_SECONDS: Final = 1.0
"""A job that was expected to be quick and runs for longer counts as a long one from then on."""

_OVERDUE: Final = 4
"""Jobs that may be beyond the number of long ones, because they were expected to be quick."""


@dataclass
class _Held:
    caller: str
    quick: bool
    overdue: bool = False


class Slots:
    """The places of one worker and who holds them.

    The caller of a request without an API key is the empty string. It has no share of its own: where nobody needs a
    key, all requests are of one caller.
    """

    def __init__(self, size: Size) -> None:
        self._size = size
        self._held: dict[object, _Held] = {}

    def begin(self, job: object, caller: str, *, quick: bool) -> None:
        """A job takes a place."""
        self._held[job] = _Held(caller, quick)

    def end(self, job: object) -> None:
        """It leaves its place, if it holds one."""
        self._held.pop(job, None)

    def overrun(self, job: object) -> bool:
        """Count a quick job as a long one from now on, since it has turned out to be one. False where it is already."""
        held = self._held.get(job)
        if held is None or not held.quick:
            return False
        held.quick, held.overdue = False, True
        return True

    @property
    def _long(self) -> int:
        return sum(not held.quick for held in self._held.values())

    @property
    def _quick(self) -> int:
        return sum(held.quick for held in self._held.values())

    @property
    def any_free(self) -> bool:
        """Whether a long job may begin."""
        return self._long + max(0, self._quick - self._size.quick) < self._size.long

    @property
    def quick_free(self) -> bool:
        """Whether a quick job may begin."""
        if self._long >= self._size.long + _OVERDUE:
            return False
        return self._quick < self._size.quick + max(0, self._size.long - self._long)

    @property
    def free(self) -> int:
        """Jobs that may begin now, quick ones included."""
        return max(self._size.long + self._size.quick - len(self._held), int(self.quick_free))

    def excluded(self, *, quick: bool) -> set[str]:
        """Callers who hold their share: of long jobs, or of jobs that were expected to be quick and are not."""
        counts: dict[str, int] = {}
        for held in self._held.values():
            if held.caller and not held.quick and (held.overdue or not quick):
                counts[held.caller] = counts.get(held.caller, 0) + 1
        return {caller for caller, count in counts.items() if count >= self._size.share}
