"""A channel keeps order and bound, and nobody waits in it for ever."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.pipeline.threads.queues import Channel, ChannelClosed
from pipeline_fakes import PATIENCE_S


@given(
    size=st.integers(1, 4), actions=st.lists(st.sampled_from(["put", "get", "lift", "finish", "abort"]), max_size=40)
)
def test_behaves_like_a_bounded_list(size: int, actions: list[str]) -> None:
    channel: Channel[int] = Channel(size)
    inside: deque[int] = deque()
    lifted = finished = aborted = False
    for number, action in enumerate(actions):
        if action == "lift":
            channel.remove_bound()
            lifted = True
        elif action == "finish":
            channel.finish()
            finished = True
        elif action == "abort":
            channel.abort()
            inside.clear()
            finished = aborted = True
        elif action == "put" and not finished:  # a writer puts nothing after it has finished
            if lifted or len(inside) < size:
                channel.put(number)
                inside.append(number)
            else:
                assert not channel.offer(number)
                with pytest.raises(TimeoutError):
                    channel.wait(timeout=0)
        elif action == "get":
            if inside:
                assert channel.get() == inside.popleft()
            else:
                with pytest.raises(ChannelClosed if finished or aborted else TimeoutError):
                    channel.get(timeout=0)


@pytest.mark.parametrize("end", [Channel.finish, Channel.abort])
@pytest.mark.parametrize("wait", [Channel.get, Channel.wait])
def test_the_end_wakes_all_who_wait(end: Callable[[Channel[int]], None], wait: Callable[[Channel[int]], None]) -> None:
    channel: Channel[int] = Channel(1)
    if wait is Channel.wait:
        channel.put(1)
    woken = []

    def waiter() -> None:
        try:
            wait(channel)
        except ChannelClosed:
            woken.append(True)

    threads = [threading.Thread(target=waiter) for _ in range(3)]
    for thread in threads:
        thread.start()
    end(channel)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert woken == [True] * 3


def test_nothing_comes_out_of_an_aborted_channel_even_if_a_writer_was_late() -> None:
    channel: Channel[int] = Channel(2)
    channel.abort()
    channel._items.put(7)  # as a writer does that looked just before the end
    for _ in range(3):
        with pytest.raises(ChannelClosed):
            channel.get(timeout=0)


def test_what_was_taken_when_the_channel_is_aborted_is_not_lost() -> None:
    """A replica holds an earlier item when its sibling's failure stops the segment: that item still comes out."""
    channel: Channel[int] = Channel(2)
    channel.put(1)
    items = channel._items

    class Interrupted:
        def get(self) -> int:
            taken = items.get()
            channel._items = items
            channel.abort()
            return taken  # type: ignore[no-any-return]

    channel._items = Interrupted()  # type: ignore[assignment]
    assert channel.get() == 1
    with pytest.raises(ChannelClosed):
        channel.get()
