"""Limits that a process sets for itself before it reads untrusted input. They also hold for its children, and cannot be
raised again by accident.
"""

import fcntl
import os
import resource
import select
import signal
import socket


def limit(memory: int | None, *, written: int) -> None:
    """Limit this process permanently.

    Parameters
    ----------
    memory
        Bytes of address space; None for no limit.
    written
        Maximum size of a written file in bytes. Core dumps are disabled.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def limit_time(seconds: int) -> None:
    """End this process after the given processor time from now.

    Needed if the parent is killed while this process hangs: nothing else would end it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def end_on_close(channel: socket.socket) -> None:
    """Let the kernel end this process when the peer closes the channel or sends on it.

    A thread could not do this: a decoder may hold the interpreter lock for any length of time. Where the signal is
    ignored by default (macOS), the process continues until its work or its time limit ends.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([channel], [], [], 0)[0]:  # Closed before the kernel was asked to watch.
        os.kill(os.getpid(), signal.SIGIO)


def allow_close(channel: socket.socket) -> None:
    """Undo `end_on_close`: the peer may now read the answer and close."""
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) & ~os.O_ASYNC)
