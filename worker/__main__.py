"""`python -m worker --lane recommend`: one worker process on one lane. `preceptor-server worker` becomes this."""

import argparse
import asyncio
import signal
import sys
import tempfile
from typing import Final

from service.core.lanes import LANES, Lane
from service.core.observability.logging_config import configure
from service.core.observability.tracing_export import TelemetryMissing, switch_on
from service.core.settings import Misconfigured, Settings, read_settings
from service.core.state import State

_MISCONFIGURED: Final = 78  # EX_CONFIG of sysexits.h


async def _serve(settings: Settings, lane: Lane) -> None:
    from worker.jobs.consumer import Consumer
    from worker.jobs.tasks import tasks_of  # imports torch; after the arguments were read
    from worker.teachers.sources.torch_device import DeviceMissing, require_device

    try:
        require_device(settings.device)
    except DeviceMissing as error:
        raise Misconfigured(str(error)) from error
    async with State(settings) as state:
        tempfile.tempdir = str(state.workplace)  # What libraries leave there goes when this process is killed.
        consumer = Consumer(state, lane, tasks_of(settings, lane))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, consumer.drain)
        await consumer.run()


def main() -> int:
    """Run until SIGTERM or SIGINT, then drain."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--lane", choices=LANES, required=True, help="which queue to work on")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        configure(settings, process=f"worker-{arguments.lane}")
        end_traces = switch_on(f"worker-{arguments.lane}")
    except (Misconfigured, TelemetryMissing) as error:
        print(error, file=sys.stderr)
        return _MISCONFIGURED
    try:
        asyncio.run(_serve(settings, arguments.lane))
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return _MISCONFIGURED
    finally:
        end_traces()
    return 0


if __name__ == "__main__":
    sys.exit(main())
