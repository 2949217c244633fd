"""A single-user server as far as the hub sees it, up in a tenth of a second.

It answers every path, and tells its environment (`/env`) and arguments (`/args`) as JSON. It runs
in a process of its own with the standard library alone: JupyterHub's own mock takes 1.6 seconds of
processor time to import.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import urlsplit


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        told = {"env": dict(os.environ), "args": sys.argv}.get(path.rpartition("/")[2], path)
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    """Serve until a signal ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    with _Server((url.hostname or "", url.port or 80), _Answer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
