"""One process of a campaign: tries cases of some parsers in order and says so on its standard output.

It says when a case begins, so that the parent knows which one it was where the process ends or hangs.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import measure
from .case import Attempt, Files, LeftBehind, Parser, Reached, ServerError, case_of
from .corpus import kept
from .parsers import parser_named

_ADDRESSES: Final = 3 * 2**29
_ROOT: Final = str(Path(__file__).resolve().parents[2])


def stored_seeds(parser: Parser, folder: Path) -> list[Files]:
    """The seeds; made once a campaign, since some take a model library to make."""
    if not folder.exists():
        building = Path(tempfile.mkdtemp(dir=folder.parent))
        for number, files in enumerate(parser.seeds()):
            place = building / f"{number:03}"
            place.mkdir()
            for name, content in files.items():
                (place / name).write_bytes(content)
        building.rename(folder)
    return [{path.name: path.read_bytes() for path in sorted(place.iterdir())} for place in sorted(folder.iterdir())]


def signature_of(error: BaseException) -> str:
    """The error's kind and the line of ours that let it through: equal for findings that are probably one."""
    place, ours = "", False
    for frame in traceback.extract_tb(error.__traceback__):
        inner = frame.filename.removeprefix(f"{_ROOT}/")
        product = inner.startswith(("service/", "worker/", "clients/"))
        if product or not ours:
            ours = product
            place = f"{inner}:{frame.lineno}"
    return f"{type(error).__name__} at {place}"


def tried(attempt: Attempt, files: Files, work: Path, memory: int) -> dict[str, Any]:
    """Give one input to the parser; how that went."""
    folder = Path(tempfile.mkdtemp(dir=work))
    measure.forget_peak()
    before, began = measure.resident(), time.process_time()
    told: dict[str, Any] = {}
    try:
        ended = attempt(files, folder)
        told |= ended._asdict() if isinstance(ended, Reached) else {"outcome": ended}
    except ServerError as error:
        told |= {"outcome": "5xx", "signature": str(error)[:120], "detail": str(error)}
    except LeftBehind as error:
        told |= {"outcome": "left", "signature": "left behind", "detail": str(error)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))[-3000:]
        told |= {"outcome": "crash", "signature": signature_of(error), "detail": trace}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told["cpu"] = round(time.process_time() - began, 3)
    told["grown"] = max(measure.peak() - before, 0)
    if told["grown"] > memory and told["outcome"] in ("accepted", "refused"):
        told |= {"outcome": "memory", "signature": "memory", "detail": f"{told['grown']:,} bytes resident"}
    return told


def run(part: dict[str, Any], arguments: argparse.Namespace, say: Callable[[dict[str, Any]], None]) -> None:
    """Try the cases `first` to `first + count` of one parser, or as many as the time allows."""
    measure.lift_cap()  # that of the parser before; libraries are loaded without one
    parser = parser_named(part["parser"], part["module"])
    seeds = stored_seeds(parser, arguments.work / "seeds" / parser.name.replace(" ", "-"))
    known = kept(parser.name) if arguments.kept else None
    work = Path(tempfile.mkdtemp(dir=arguments.work))
    attempt = parser.attempt
    if arguments.contained:
        assert parser.contained is not None
        attempt = parser.contained
    else:
        tried(attempt, seeds[0], work, parser.memory)  # libraries are loaded by the first
        measure.cap_addresses(max(_ADDRESSES, parser.memory))
    say({"ready": parser.name})
    before = measure.resident(), measure.descriptors()
    deadline = time.monotonic() + part["seconds"]
    for number in range(part["first"], part["first"] + part["count"]):
        # What fails here is the campaign's own fault.
        files = known[number] if known is not None else case_of(parser, seeds, arguments.seed, number)
        say({"begin": number})
        say({"end": number, **tried(attempt, files, work, parser.memory)})
        if time.monotonic() > deadline:
            break
    say({"held": measure.resident() - before[0], "open": measure.descriptors() - before[1]})
    shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    """Entry of the process; `Campaign` gives the arguments."""
    reader = argparse.ArgumentParser()
    reader.add_argument("--parts", type=json.loads, required=True)
    reader.add_argument("--seed", type=int, required=True)
    reader.add_argument("--work", type=Path, required=True)
    reader.add_argument("--contained", action="store_true")
    reader.add_argument("--kept", action="store_true")
    arguments = reader.parse_args()
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for part in arguments.parts:
        run(part, arguments, lambda message: print(json.dumps(message), file=pipe, flush=True))


if __name__ == "__main__":
    sys.exit(main())
