"""A process that asks for the version again and again: how long others wait beside a load.

`python -m bench.probe HOST PORT PREFIX` asks until its input ends, then prints milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.service import HEADERS, ROOT, Service

_PAUSE_SECONDS = 0.02


@asynccontextmanager
async def probing(service: Service) -> AsyncIterator[list[float]]:
    """Ask from a process of its own; the list has the milliseconds once the block has ended."""
    times: list[float] = []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.probe", service.host, str(service.port), service.prefix),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # it has had its first answer
    try:
        yield times
    finally:
        process.stdin.close()
        times += json.loads(await process.stdout.readline())
        await process.wait()


async def _ask_until_the_input_ends(host: str, port: int, prefix: str) -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    reader, writer = await asyncio.open_connection(host, port)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"GET {prefix}versions HTTP/1.1\r\nHost: bench\r\n{head}\r\n".encode()
    times: list[float] = []
    while not ended.done():
        began = time.perf_counter()
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length:")[2].partition(b"\r")[0]
        await reader.readexactly(int(length))
        times.append((time.perf_counter() - began) * 1000)
        if len(times) == 1:
            print("ready", flush=True)
        await asyncio.wait([ended], timeout=_PAUSE_SECONDS)
    print(json.dumps(times[1:]), flush=True)


if __name__ == "__main__":
    asyncio.run(_ask_until_the_input_ends(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
