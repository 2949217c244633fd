"""Gives a command in the sandbox a proxy on loopback, connected to a socket.

Any Python runs it as a file: standard library only. Usage: ``python proxy.py SOCKET PORT
COMMAND...``
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _serve(client: socket.socket, path: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as far:
        try:
            far.connect(path)
        except OSError:
            return
        back = threading.Thread(target=_copy, args=(far, client), daemon=True)
        back.start()
        _copy(client, far)
        back.join()


def _accept(server: socket.socket, path: str) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=_serve, args=(client, path), daemon=True).start()


def main() -> None:
    """Serve until the command ends; exit with its status."""
    path, port, *command = sys.argv[1:]
    server = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    threading.Thread(target=_accept, args=(server, path), daemon=True).start()
    status = subprocess.call(command)
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
