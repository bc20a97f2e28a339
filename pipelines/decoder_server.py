"""Orders on a socket -> a process each, forked from here, where the codecs are loaded; then its exit code.

pipelines.decoders starts it and sends the orders. It reads no recording, and ends with the orders.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from typing import Any, NoReturn

from pipelines.decoder_process import Order, run

_LONGEST_ORDER = 4096


def main() -> None:
    gc.freeze()  # a collection in a fork would copy every page that it looks at
    orders = socket.socket(fileno=int(sys.argv[1]))
    ended, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written there
    with DefaultSelector() as events:
        decoders = _Decoders(events)
        events.register(orders, EVENT_READ)
        events.register(ended, EVENT_READ)
        accepting = True
        while accepting or decoders.running:
            for key, _ in events.select():
                if key.fileobj is ended:
                    ended.recv(4096)
                    decoders.reap()
                elif key.fileobj is not orders:
                    decoders.give_up(key.data)
                elif not decoders.take(orders):
                    accepting = False
                    events.unregister(orders)


class _Decoders:
    """Those at work, each with its line to the service: its answer and exit code go there, and nothing comes back."""

    def __init__(self, events: DefaultSelector) -> None:
        self._events = events
        self.running: dict[int, socket.socket] = {}

    def take(self, orders: socket.socket) -> bool:
        """Starts what the next order asks for; false when there are no more."""
        order, descriptors, _, _ = socket.recv_fds(orders, _LONGEST_ORDER, 16)
        if not order:
            return False
        line, *files = descriptors
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(files[1], str(error).encode())
            os.write(line, b"\n1")
        else:
            if not pid:
                _decode(json.loads(order), server, line, files)
            self.running[pid] = socket.socket(fileno=os.dup(line))
            self._events.register(self.running[pid], EVENT_READ, pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def give_up(self, pid: int) -> None:
        """The service has closed its end: it waits no longer, or is dead."""
        if pid in self.running:
            os.kill(pid, signal.SIGKILL)
            self._events.unregister(self.running[pid])

    def reap(self) -> None:
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with self.running.pop(pid) as line:
                with suppress(KeyError):
                    self._events.unregister(line)
                with suppress(OSError):
                    line.send(b"\n%d" % os.waitstatus_to_exitcode(status), socket.MSG_DONTWAIT)


def _decode(order: dict[str, Any], server: int, line: int, files: Sequence[int]) -> NoReturn:
    """The fork's whole life. It keeps its own descriptors only: other recordings come by those of the server."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        recording, complaints, *outputs = files
        for number, descriptor in enumerate((recording, line, complaints)):
            os.dup2(descriptor, number)
        kept = sorted(outputs)
        for below, above in zip([2, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(below + 1, above)
        run(Order(outputs=tuple(outputs), **order), server)
        code = 0
    except BaseException:  # whatever it is, it must not go on as a second server
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
