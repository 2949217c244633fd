"""Runs work that a start waits for only briefly.

Its process ends with the server or at a time limit.
"""

# This runs under any image's Python.

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback

from jupyterhub_binder.singleuser.gitsync.commands import NotInStep

WATCH_SECONDS = 0.5
"""Interval of checking the server."""


class Ended(BaseException):
    """The server has ended."""


class Meanwhile:
    """Wait for the work, or leave it."""

    def __init__(self, work, *, seconds, max_seconds, afterwards, otherwise):
        """Begin.

        `work` gets a function that says whether the waiting is over, and returns JSON data; after a
        crash, the result is `otherwise`. If nobody waits, `afterwards` gets the result. At
        `max_seconds`, NotInStep is raised in the work.
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
            end_with(server, max_seconds)
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
        """Return None if it takes longer."""
        if not self._take(max(0.0, self._deadline - time.monotonic())):
            return None
        os.waitpid(self._child, 0)
        self._ours.close()
        return json.loads(b"".join(self._parts)) if self._parts else self._otherwise

    def leave(self):
        """Stop waiting; return a result that just arrived."""
        # From here on, sending a result fails. What was sent before is read.
        self._ours.shutdown(socket.SHUT_RD)
        self._take(0.0)
        self._ours.close()
        return json.loads(b"".join(self._parts)) if self._parts else None

    def _take(self, seconds):
        end = time.monotonic() + seconds
        while True:
            self._ours.settimeout(max(0.001, end - time.monotonic()))
            try:
                part = self._ours.recv(65536)
            except OSError:  # too late
                return False
            if not part:
                return True
            self._parts.append(part)


def hand_over(there, result):
    """Say whether anybody received the result."""
    try:
        there.sendall(json.dumps(result).encode("ascii"))
    except OSError:
        return False
    return True


def apart():
    """Release the server's terminal and output."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def end_with(server, max_seconds):
    """End with the server or on a time-out."""
    end = time.monotonic() + max_seconds

    def watch(_signal, _frame):
        gone, late = os.getppid() != server, time.monotonic() > end
        if gone or late:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Ended if gone else NotInStep("it took longer than this hub allows")

    signal.signal(signal.SIGALRM, watch)
    signal.setitimer(signal.ITIMER_REAL, WATCH_SECONDS, WATCH_SECONDS)
