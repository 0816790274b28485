from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from distributed.scheduler.queues import ReadyQueue

HERE, ELSEWHERE = 1, 2


@dataclass(eq=False)
class Item:
    rank: int
    state: int = HERE


def filled(*ranks: int) -> tuple[ReadyQueue[Item], list[Item]]:
    queue: ReadyQueue[Item] = ReadyQueue(HERE)
    items = [Item(rank) for rank in ranks]
    for item in items:
        queue.push(item)
    return queue, items


def drained(queue: ReadyQueue[Item]) -> list[int]:
    found = []
    while queue.live:
        item = queue.pop()
        item.state = ELSEWHERE
        found.append(item.rank)
    return found


def test_it_gives_the_lowest_rank_first() -> None:
    queue, _ = filled(5, 1, 9, 3, 9, 2, 10)
    assert drained(queue) == [1, 2, 3, 5, 9, 9, 10]


def test_equals_come_in_the_order_they_went_in() -> None:
    queue, items = filled(5, 3, 3, 3)
    assert [queue.pop() for _ in range(4)] == [*items[1:], items[0]]


def test_many_at_once_keep_the_order_too() -> None:
    queue, _ = filled(4)
    queue.extend([Item(5), Item(6)])
    queue.extend([Item(1), Item(2)])
    queue.extend([])
    assert queue.live == 5
    assert drained(queue) == [1, 2, 4, 5, 6]


def test_the_head_is_what_pop_would_give() -> None:
    queue, items = filled(7, 2)
    assert queue.head() is items[1]
    items[1].state = ELSEWHERE
    queue.discard()
    assert queue.head() is items[0]
    assert queue.pop() is items[0]
    assert queue.head() is None


def test_discarded_tasks_are_passed_over() -> None:
    queue, items = filled(3, 1, 2, 4)
    for item in (items[1], items[3]):
        item.state = ELSEWHERE
        queue.discard()
    assert queue.live == 2
    assert drained(queue) == [2, 3]


def test_a_task_that_comes_back_comes_once() -> None:
    queue, items = filled(1, 2)
    items[0].state = ELSEWHERE
    queue.discard()
    items[0].state = HERE
    queue.push(items[0])
    assert queue.live == 2
    assert drained(queue) == [1, 2]
    with pytest.raises(IndexError):
        queue.pop()


def test_dead_entries_do_not_pile_up() -> None:
    queue, items = filled(0)
    for _ in range(1000):
        items[0].state = ELSEWHERE
        queue.discard()
        items[0].state = HERE
        queue.push(items[0])
    assert len(queue.entries()) < 200


def test_it_agrees_with_sorting() -> None:
    rng = random.Random(3)
    for _ in range(200):
        queue, items = filled(*[rng.randint(0, 9) for _ in range(rng.randint(0, 30))])
        for item in items:
            if rng.random() < 0.3:
                item.state = ELSEWHERE
                queue.discard()
        kept = sorted(item.rank for item in items if item.state == HERE)
        assert drained(queue) == kept
