"""How a short command ends.

The store's threads give back what they hold of Python a moment after their last answer. Where the interpreter is taken
down under them meanwhile, the process aborts (SIGABRT) after its work is done, and its exit status says nothing.
"""

import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End this process now, with this exit status; what was printed is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
