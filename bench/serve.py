"""The process that `bench.service` starts: the service alone; prints its port and prefix."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from traitlets.config import Config

from jupyterhub_binder.app import JupyterHubBinder


async def serve(config: Path) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    app = JupyterHubBinder(config=Config(json.loads(config.read_text(encoding="utf-8"))))
    await app.start_service()
    print(app.port, app.base_url, flush=True)
    await stopping.wait()
    await app.stop_service()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
