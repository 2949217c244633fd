"""The small pieces that everything stands on: slugs, aio, process."""

import asyncio
import itertools
import logging
import os
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jupyterhub.slugs import is_valid_safe_slug

from jupyterhub_binder.utils.concurrency import Broadcast, Lagged, SingleFlight, TaskSet
from jupyterhub_binder.utils.lines import LINE_LIMIT, LineSplitter
from jupyterhub_binder.utils.names import (
    content_key,
    is_id,
    is_server_name,
    new_id,
    safe_name,
    server_name,
)
from jupyterhub_binder.utils.subprocess import ProcessFailed, ProcessLimits, run, stream

ENV = {"PATH": os.environ["PATH"]}


def test_ids_are_recognised():
    assert is_id(new_id())
    assert not any(map(is_id, ["", "../../etc", "ABCDEFGHJK", new_id() + "a"]))


@given(st.text())
def test_a_safe_name_is_one_plain_folder(text):
    name = safe_name(text)
    assert name
    assert not name.startswith((".", "-"))
    assert "/" not in name
    assert len(name) <= 60


@given(st.text())
def test_a_server_name_is_one_that_the_hub_takes(text):
    assert is_valid_safe_slug(server_name(text))


def test_a_server_name_begins_with_a_letter():
    assert server_name("2026 course") == "e-2026-course"


@given(st.text("aZ9-é_ "))
@example("a" * 31)
def test_the_hub_takes_the_server_names_that_we_take(text):
    assert is_server_name(text) == is_valid_safe_slug(text)


def test_a_content_key_changes_with_each_part_and_with_nothing_else():
    same = {"clone_url": "u", "resolved_ref": "r", "options": {"a": 1, "b": 2}, "fingerprint": "f"}
    key = content_key(**same)
    assert key == content_key(**{**same, "options": {"b": 2, "a": 1}})
    for part, other in [
        ("clone_url", "v"),
        ("resolved_ref", "s"),
        ("options", {}),
        ("fingerprint", ""),
    ]:
        assert content_key(**{**same, part: other}) != key


async def test_readers_of_a_broadcast_get_all_each_at_its_own_pace():
    broadcast = Broadcast[int]()
    broadcast.publish(1)

    async def read(position):
        return [item async for item in broadcast.read(position)]

    readers = [asyncio.create_task(read(position)) for position in (0, 1, 0)]
    broadcast.publish(2)
    await asyncio.sleep(0)
    broadcast.publish(3)
    broadcast.close()
    broadcast.close()
    assert await asyncio.gather(*readers) == [[1, 2, 3], [2, 3], [1, 2, 3]]
    with pytest.raises(RuntimeError):
        broadcast.publish(4)


async def test_a_reader_who_is_too_far_behind_is_told():
    broadcast = Broadcast[int](keep=2)
    for item in range(4):
        broadcast.publish(item)
    with pytest.raises(Lagged):
        await anext(broadcast.read(1))
    assert await anext(broadcast.read(2)) == 2


async def test_heavy_items_push_out_older_ones_but_never_the_newest():
    broadcast = Broadcast[str](max_weight=5, weigh=len)
    for item in ("aaa", "bb", "c"):
        broadcast.publish(item)
    with pytest.raises(Lagged):
        await anext(broadcast.read(0))
    assert await anext(broadcast.read(1)) == "bb"
    broadcast.publish("longer than all")
    with pytest.raises(Lagged):
        await anext(broadcast.read(2))
    assert await anext(broadcast.read(3)) == "longer than all"


async def test_one_flight_answers_all_and_survives_a_caller_who_leaves():
    flight, asked, answer = SingleFlight[str, int](), [], asyncio.Event()

    async def ask():
        asked.append(1)
        await answer.wait()
        return len(asked)

    callers = [asyncio.create_task(flight.do("k", ask)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    answer.set()
    assert await asyncio.gather(*callers[1:]) == [1, 1]
    assert await flight.do("k", ask) == 2


async def test_one_flight_gives_all_the_same_error_and_forgets_it():
    flight = SingleFlight[str, int]()

    async def fail():
        await asyncio.sleep(0)
        raise KeyError("k")

    outcomes = await asyncio.gather(
        flight.do("k", fail), flight.do("k", fail), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [KeyError, KeyError]


async def test_a_task_that_fails_is_logged_and_a_closed_set_leaves_none(caplog):
    tasks = TaskSet(logging.getLogger("test"))

    async def fail():
        raise KeyError("k")

    failing = tasks.spawn(fail(), name="failing")
    waiting = tasks.spawn(asyncio.Event().wait(), name="waiting")
    await asyncio.wait([failing])
    await tasks.close()
    assert waiting.cancelled()
    assert "failing" in caplog.text
    assert len(tasks) == 0


# --- lines -----------------------------------------------------------------------------------


def _split(*chunks):
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


def test_lines_are_cut_wherever_the_chunks_are():
    assert _split(b"a\nb", b"c\r", b"\nd") == ["a", "bc", "d"]


def test_progress_is_provisional_and_only_the_last_of_several_is_kept():
    assert _split(b"1%\r2%\r3%") == ["2%\r", "3%"]
    assert _split(b"1%\r2%\r", b"3%\rdone\n") == ["1%\r", "done"]


def test_invalid_utf8_is_replaced_even_across_chunks():
    assert _split(b"\xff\n") == ["\ufffd"]
    assert _split("é\n".encode()[:1], "é\n".encode()[1:]) == ["é"]


def test_a_line_without_end_is_broken():
    lines = _split(b"x" * (3 * LINE_LIMIT + 1))
    assert [len(line) for line in lines] == [LINE_LIMIT] * 3 + [1]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_no_chunking_loses_text(data, cuts):
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(bounds)]
    plain = data.replace(b"\r", b"")
    chunks = [chunk.replace(b"\r", b"") for chunk in chunks]
    assert "\n".join(_split(*chunks)) == "\n".join(_split(plain))
    assert all("\n" not in line for line in _split(*chunks))


# --- processes -------------------------------------------------------------------------------

ORPHAN = "import subprocess, sys; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True); p.wait()"


async def test_output_comes_line_by_line_with_errors_among_it(tmp_path):
    script = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    lines = [line async for line in stream([sys.executable, "-c", script], env=ENV, cwd=tmp_path)]
    assert lines == ["out", "err"]


async def test_a_failure_says_which_command_and_how(tmp_path):
    with pytest.raises(ProcessFailed, match="status 3") as caught:
        await run([sys.executable, "-c", "exit(3)"], env=ENV, cwd=tmp_path, timeout_seconds=30)
    assert caught.value.returncode == 3


async def test_leaving_a_stream_ends_the_whole_group(tmp_path):
    async with aclosing(stream([sys.executable, "-c", ORPHAN], env=ENV, cwd=tmp_path)) as lines:
        grandchild = psutil.Process(int(await anext(lines)))
    grandchild.wait(10)


async def test_a_cancel_ends_the_whole_group(tmp_path):
    pid = asyncio.get_running_loop().create_future()

    async def follow():
        async with aclosing(stream([sys.executable, "-c", ORPHAN], env=ENV, cwd=tmp_path)) as lines:
            async for line in lines:
                pid.set_result(int(line))

    task = asyncio.create_task(follow())
    grandchild = psutil.Process(await pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    grandchild.wait(10)


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(1000)"
    groups = []
    async with aclosing(
        stream(
            [sys.executable, "-c", script],
            env=ENV,
            cwd=tmp_path,
            started=groups.append,
            grace_seconds=0.1,
        )
    ) as lines:
        await anext(lines)
    with pytest.raises(ProcessLookupError):
        os.killpg(groups[0], signal.SIGTERM)


@pytest.mark.parametrize("grace_seconds", [0, 0.2, 5])
@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_command_that_nobody_reads_any_more_is_ended(tmp_path, stubborn, grace_seconds):
    ignore = "import signal; signal.signal(15, signal.SIG_IGN)\n" if stubborn else ""
    script = f"{ignore}while True: print('x' * 1000)"
    command = stream(
        [sys.executable, "-c", script], env=ENV, cwd=tmp_path, grace_seconds=grace_seconds
    )
    begun = time.monotonic()
    async with aclosing(command) as lines:
        await anext(lines)
    assert time.monotonic() - begun < (grace_seconds if stubborn else 0) + 4


async def test_a_command_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(TimeoutError):
        await run(["sleep", "1000"], env=ENV, cwd=tmp_path, timeout_seconds=0.1)


async def test_a_command_that_says_too_much_is_ended(tmp_path):
    script = "while True: print('x' * 1000)"
    with pytest.raises(ProcessFailed):
        await run(
            [sys.executable, "-c", script],
            env=ENV,
            cwd=tmp_path,
            timeout_seconds=30,
            max_bytes=10_000,
        )


async def test_limits_hold(tmp_path):
    script = f"with open({str(tmp_path / 'big')!r}, 'wb') as f: f.write(bytes(2000))"
    with pytest.raises(ProcessFailed):
        await run(
            [sys.executable, "-c", script],
            env=ENV,
            cwd=tmp_path,
            timeout_seconds=30,
            limits=ProcessLimits(file_bytes=1000),
        )
    assert Path(tmp_path / "big").stat().st_size <= 1000
