"""Messages between two processes: lengths, a JSON head, raw bytes. No pickle.

The peer may read untrusted input, so sizes are checked before memory is allocated.
"""

import json
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_LARGEST_HEAD: Final = 4 * 2**20  # The longest heads contain the class names of a model.
_MOST_PARTS: Final = 2**20
_CHUNK: Final = 2**20


class ChannelBroken(Exception):
    """The peer has closed the connection or sent a malformed message."""


@dataclass(frozen=True)
class Channel:
    """One end of a connection between two processes.

    Parameters
    ----------
    socket
        A stream socket. Its timeout is changed by each call.
    """

    socket: socket.socket

    def send(
        self, head: dict[str, Any], parts: Sequence[bytes | memoryview] = (), *, until: float | None = None
    ) -> None:
        """Send a message.

        Parameters
        ----------
        until
            Deadline, by `time.monotonic`; None waits indefinitely.

        Raises
        ------
        TimeoutError, ChannelBroken
        """
        encoded = json.dumps(head).encode()
        sizes = b"".join(len(part).to_bytes(8, "little") for part in parts)
        front = len(encoded).to_bytes(4, "little") + len(parts).to_bytes(4, "little") + sizes + encoded
        try:
            for piece in (front, *parts):
                self._wait(until)
                self.socket.sendall(piece)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelBroken(str(error)) from error

    def receive(self, largest: int, *, until: float | None = None) -> tuple[dict[str, Any], list[bytearray]]:
        """Receive a message.

        Parameters
        ----------
        largest
            Maximum total size of the parts, in bytes.

        Raises
        ------
        TimeoutError, ChannelBroken
        """
        front = self._exactly(8, until)
        size, count = int.from_bytes(front[:4], "little"), int.from_bytes(front[4:], "little")
        if size > _LARGEST_HEAD or count > _MOST_PARTS:
            raise ChannelBroken("the head is too long")
        lengths = struct.unpack(f"<{count}Q", self._exactly(8 * count, until))
        if sum(lengths) > largest:
            raise ChannelBroken("the message is too long")
        try:
            head = json.loads(self._exactly(size, until))
        except (ValueError, RecursionError) as error:
            raise ChannelBroken("the head is not valid JSON") from error
        if not isinstance(head, dict):
            raise ChannelBroken("the head is not a JSON object")
        return head, [self._exactly(length, until) for length in lengths]

    def _exactly(self, size: int, until: float | None) -> bytearray:
        found = bytearray(size)
        view, got = memoryview(found), 0
        while got < size:
            self._wait(until)
            try:
                more = self.socket.recv_into(view[got : got + _CHUNK])
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelBroken(str(error)) from error
            if more == 0:
                raise ChannelBroken("the peer has closed the connection")
            got += more
        return found

    def _wait(self, until: float | None) -> None:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
