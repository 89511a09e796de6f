"""Calls in progress that the rules of several files begin with."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, Shard


@pytest.fixture
async def beside(make_shard: MakeShard) -> Shard:
    """A shard in which calls of one device to one callee ring beside each other."""
    return await make_shard(Settings(redial="ring"))


@pytest.fixture
async def home(make_shard: MakeShard) -> Shard:
    """A shard in which Bob, Carol and Dave are a team; Dave is not there."""
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", "dave")
    await groups.at_home(shard, "bob-phone", "bob-desk", "carol-phone")
    return shard


@pytest.fixture
async def called(home: Shard) -> Shard:
    """The same, while Alice calls the team."""
    await home.event(*e.invite(to="team"))
    return home


@pytest.fixture
async def bob_asleep(make_shard: MakeShard) -> Shard:
    """A shard in which Bob has a phone that sleeps, and nothing else."""
    shard = await make_shard(push_jobs.PUSH)
    push_jobs.sleeps(shard, "bob", "phone")
    return shard


@pytest.fixture
async def bob_called(bob_asleep: Shard) -> Shard:
    """The same, while Alice calls him."""
    await bob_asleep.event(*e.invite())
    return bob_asleep


@pytest.fixture
async def bob_pushed(bob_called: Shard) -> Shard:
    """The same, once sippo-server has taken the push."""
    await push_jobs.taken(bob_called)
    return bob_called
