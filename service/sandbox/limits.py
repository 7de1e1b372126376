"""Limits that a process sets itself before it looks at a stranger's file. None of them can be raised again by accident:
they hold for the process and all that it starts.
"""

import fcntl
import os
import resource
import select
import signal
import socket


def limit(memory: int | None, *, written: int) -> None:
    """Limit this process, for good.

    Parameters
    ----------
    memory
        Bytes of address space; None for no cap.
    written
        Bytes of the largest file that may be written. There are no core files.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def limit_time(seconds: int) -> None:
    """End this process when it has computed for so long from now on.

    Should its parent itself be killed while it hangs, nobody else would end it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def end_on_close(channel: socket.socket) -> None:
    """From now on the kernel ends this process when the other side closes the channel, or says anything on it.

    A thread could not: a decoder may hold the interpreter's lock for as long as it likes. Where the signal is ignored
    by default (macOS) the process goes on until its work or its time is over.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([channel], [], [], 0)[0]:  # It came before the kernel was told to look.
        os.kill(os.getpid(), signal.SIGIO)


def allow_close(channel: socket.socket) -> None:
    """Undo `end_on_close`: the other side may read what is sent now."""
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) & ~os.O_ASYNC)
