"""Answers that are asked for once."""

from __future__ import annotations

import asyncio

import pytest

from jupyterhub_binder.utils.concurrency import Remembered


class Host:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, asyncio.Future[int]]] = []

    async def ask(self, key: str) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.questions.append((key, answer))
        return await answer


async def _ask(remembered: Remembered[str, int], key: str) -> asyncio.Task[int]:
    task = asyncio.create_task(remembered.get(key))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_all_who_ask_get_one_answer_until_it_is_forgotten() -> None:
    host = Host()
    remembered = Remembered(host.ask, max_keys=10)
    tasks = [await _ask(remembered, "a") for _ in range(3)]
    tasks.pop().cancel()
    host.questions[0][1].set_result(1)
    assert [await task for task in tasks] == [1, 1]
    assert await remembered.get("a") == 1
    assert len(host.questions) == 1
    remembered.forget("a", "never asked")
    await _ask(remembered, "a")
    assert len(host.questions) == 2


async def test_an_answer_that_was_under_way_when_it_was_forgotten_is_not_kept() -> None:
    host = Host()
    remembered = Remembered(host.ask, max_keys=10)
    old = await _ask(remembered, "a")
    remembered.forget_all()
    new = await _ask(remembered, "a")
    host.questions[1][1].set_result(2)
    host.questions[0][1].set_result(1)
    assert (await old, await new, await remembered.get("a")) == (1, 2, 2)


async def test_an_error_is_not_kept() -> None:
    host = Host()
    remembered = Remembered(host.ask, max_keys=10)
    task = await _ask(remembered, "a")
    host.questions[0][1].set_exception(OSError("no answer"))
    with pytest.raises(OSError, match="no answer"):
        await task
    again = await _ask(remembered, "a")
    host.questions[1][1].set_result(1)
    assert await again == 1
