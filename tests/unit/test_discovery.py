"""Which servers a client asks for the primary, and how it uses the answers."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions

from invites.connection.discovery import ClusterLocator, SentinelLocator
from invites.connection.url import Address, shown

ONE, TWO, THREE = ("one", 1), ("two", 2), ("three", 3)
Answers = dict[Address, Any]


class Asked:
    """Gives the test's answers, and remembers which servers were asked; one without an answer is unreachable."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.order: list[Address] = []

    async def __call__(self, address: Address, *_: str) -> Any:
        self.order.append(address)
        answer = self.answers.get(address, exceptions.ConnectionError("refused."))
        if isinstance(answer, Exception):
            raise answer
        return answer


def named(address: Address) -> list[bytes]:
    return [address[0].encode(), str(address[1]).encode()]


def slots(*members: Address, first: int = 0, last: int = 16383) -> list[Any]:
    return [[first, last, *([host.encode(), port, b"id", []] for host, port in members)]]


def error(kind: type[Exception] = exceptions.ConnectionError, said: str = "x") -> Exception:
    return kind(said)


async def test_the_first_sentinel_that_knows_the_service_is_asked_first_from_then_on() -> None:
    ask = Asked({TWO: None, THREE: named(("primary", 6379))})
    locator = SentinelLocator([ONE, TWO, THREE], "calls", ask)
    assert await locator.find() == ("primary", 6379)
    assert await locator.find() == ("primary", 6379)
    assert ask.order == [ONE, TWO, THREE, THREE]


async def test_after_a_fault_another_sentinel_is_asked() -> None:
    ask = Asked({ONE: named(("old", 1)), TWO: named(("new", 2))})
    locator = SentinelLocator([ONE, TWO], "calls", ask)
    assert await locator.find() == ("old", 1)
    locator.invalidate(locator.generation, error(), ("old", 1))
    assert await locator.find() == ("new", 2)


async def test_a_fault_of_an_older_connection_is_no_news() -> None:
    locator = SentinelLocator([ONE], "calls", Asked({}))
    locator.invalidate(0, error(), ONE)
    locator.invalidate(0, error(), ONE)
    assert locator.generation == 1


async def test_without_an_answer_it_is_said_what_each_sentinel_said() -> None:
    with pytest.raises(exceptions.ConnectionError) as caught:
        await SentinelLocator([ONE, TWO], "calls", Asked({TWO: None})).find()
    assert str(caught.value) == (
        "no sentinel names the primary of 'calls' (one:1: refused; two:2: does not know the service)"
    )


@pytest.mark.parametrize("kind", [exceptions.AuthenticationError, exceptions.NoPermissionError])
async def test_what_an_operator_must_mend_keeps_its_kind(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="two:2: no such user"):
        await SentinelLocator([ONE, TWO], "calls", Asked({TWO: error(kind, "no such user")})).find()
    with pytest.raises(kind, match="one:1: no such user"):
        await ClusterLocator([ONE], 7, Asked({ONE: error(kind, "no such user")})).find()


async def test_the_owner_of_the_slot_is_found_among_others() -> None:
    ranges = [*slots(ONE, last=6), *slots(TWO, THREE, first=7, last=7), *slots(THREE, first=8)]
    assert await ClusterLocator([ONE], 7, Asked({ONE: ranges})).find() == TWO


async def test_nodes_that_were_not_in_the_url_are_asked_too() -> None:
    ask = Asked({ONE: slots(TWO, THREE)})
    locator = ClusterLocator([ONE], 7, ask)
    assert await locator.find() == TWO
    ask.answers = {THREE: slots(THREE)}
    assert await locator.find() == THREE
    assert ask.order == [ONE, ONE, TWO, THREE]


async def test_a_node_that_knows_no_owner_is_passed_over() -> None:
    ask = Asked({ONE: slots(ONE, last=6), TWO: slots(THREE)})
    assert await ClusterLocator([ONE, TWO], 7, ask).find() == THREE


async def test_a_node_without_a_name_of_its_own_is_the_one_that_was_asked() -> None:
    unnamed, unknown = [0, 16383, [None, 7, b"id", []]], [0, 16383, [b"?", 7, b"id", []]]
    assert await ClusterLocator([ONE], 7, Asked({ONE: [unnamed]})).find() == ("one", 7)
    with pytest.raises(exceptions.ConnectionError, match="one:1: knows no owner"):
        await ClusterLocator([ONE], 7, Asked({ONE: [unknown]})).find()


async def test_moved_says_where_to_go_once() -> None:
    ask = Asked({ONE: slots(ONE)})
    locator = ClusterLocator([ONE], 7, ask)
    locator.invalidate(0, exceptions.MovedError("7 two:2"), ONE)
    assert await locator.find() == TWO
    assert ask.order == []
    assert await locator.find() == ONE
    locator.invalidate(1, exceptions.MovedError("7 :9"), ONE)
    assert await locator.find() == ("one", 9)
    locator.invalidate(2, exceptions.MovedError("7 ?:9"), ONE)
    assert await locator.find() == ONE


@pytest.mark.parametrize(("address", "text"), [(("valkey", 1), "valkey:1"), (("::1", 2), "[::1]:2")])
def test_addresses_are_shown_as_in_urls(address: Address, text: str) -> None:
    assert shown(address) == text
