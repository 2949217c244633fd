"""Work that a start waits for, but not for ever: what takes longer goes on beside the server.

It runs in a process of its own, so that the server can begin in time; it ends with the server,
and at a limit. What the work is, and what is said of it, is `content`'s business.
"""

# It runs under any image's Python.

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback

from jupyterhub_binder.gitsync.commands import NotInStep

WATCH_SECONDS = 0.5
"""How often the work looks whether the server is still there."""


class Ended(BaseException):
    """The server has ended, and so does the work for it."""


class Meanwhile:
    """Work that has begun: wait for it, and leave it alone when the time is over."""

    def __init__(self, work, *, seconds, most_seconds, afterwards, otherwise):
        """Begin.

        `work` is called with a function that says whether the time to wait is over, and returns
        what JSON can hold; `otherwise` counts as that if it ends without. Where nobody waits any
        more, `afterwards` is called with the result. The work gets `most_seconds` in all; then
        NotInStep is raised in it.
        """
        self._deadline = time.monotonic() + seconds
        self._otherwise = otherwise
        self._parts = []
        self._ours, theirs = socket.socketpair()
        server = os.getpid()
        self._child = os.fork()
        if self._child:
            theirs.close()
            return
        try:
            self._ours.close()
            end_with(server, most_seconds)
            apart()
            result = work(lambda: time.monotonic() > self._deadline)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not hand_over(theirs, result):
                afterwards(result)
        except Ended:
            pass
        except BaseException:  # noqa: BLE001 - nothing of this process may become a server
            traceback.print_exc()
        finally:
            os._exit(0)

    def wait(self):
        """Return the work's result; None where it takes longer."""
        if not self._take(max(0.0, self._deadline - time.monotonic())):
            return None
        os.waitpid(self._child, 0)
        self._ours.close()
        return json.loads(b"".join(self._parts)) if self._parts else self._otherwise

    def leave(self):
        """Let the work go on alone; return its result if it came at this very moment."""
        # From now on whoever would hand over a result fails; what was handed over is read.
        self._ours.shutdown(socket.SHUT_RD)
        self._take(0.0)
        self._ours.close()
        return json.loads(b"".join(self._parts)) if self._parts else None

    def _take(self, seconds):
        """Take what is handed over; say whether that was all of it."""
        end = time.monotonic() + seconds
        while True:
            self._ours.settimeout(max(0.001, end - time.monotonic()))
            try:
                part = self._ours.recv(65536)
            except OSError:  # no more in time
                return False
            if not part:
                return True
            self._parts.append(part)


def hand_over(there, result):
    """Give the result to whoever waits; say whether anybody did."""
    try:
        there.sendall(json.dumps(result).encode("ascii"))
    except OSError:
        return False
    return True


def apart():
    """Leave the server's terminal and its output: whoever reads that reads the server's."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def end_with(server, most_seconds):
    """Have this process's work ended when the server is gone, or its time is over."""
    end = time.monotonic() + most_seconds

    def watch(_signal, _frame):
        gone, late = os.getppid() != server, time.monotonic() > end
        if gone or late:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Ended if gone else NotInStep("it took longer than this hub lets it")

    signal.signal(signal.SIGALRM, watch)
    signal.setitimer(signal.ITIMER_REAL, WATCH_SECONDS, WATCH_SECONDS)
