"""A worker as in production, but for two things: one job kills it, and its clock may be wrong.

`CHAOS_SAVES` is a file that every accepted checkpoint is noted in.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

from .clock import shift

POISON: Final = "kill the worker"
"""A student class that no job survives."""


def main() -> int:
    """`python -m tests.chaos.worker --lane ...`"""
    shift()
    import worker.jobs.tasks as registry
    from worker.__main__ import main as work
    from worker.jobs.context import JobContext

    whole = registry.tasks_of

    def tasks_of(*arguments: Any) -> Any:
        tasks = whole(*arguments)

        def poisoned(task: Any) -> Any:
            async def run(context: JobContext, request: dict[str, Any]) -> Any:
                if POISON in request.get("student", {}).get("labels", ()):
                    os.kill(os.getpid(), signal.SIGKILL)
                return await task(context, request)

            return run

        return {kind: poisoned(task) if kind == "recommendation" else task for kind, task in tasks.items()}

    registry.tasks_of = tasks_of
    signal.signal(signal.SIGUSR1, _say_what_runs)
    _note_saves(Path(os.environ["CHAOS_SAVES"]))
    return work()


def _say_what_runs(number: int, frame: FrameType | None) -> None:
    """For the log of a worker that does not end."""
    faulthandler.dump_traceback(all_threads=True)
    for task in asyncio.all_tasks():
        task.print_stack()


def _note_saves(path: Path) -> None:
    from service.core.jobs.leases import Leases

    save = Leases.save_checkpoint

    async def noted(self: Leases, id: str, fence: int, state: bytes) -> bool:
        begun = time.monotonic_ns()  # One clock for all processes of a machine.
        kept = await save(self, id, fence, state)
        line = f"{id} {fence} {begun} {time.monotonic_ns()} {'kept' if kept else 'refused'}\n"
        with path.open("a") as file:
            file.write(line)
        return kept

    Leases.save_checkpoint = noted


if __name__ == "__main__":
    sys.exit(main())
