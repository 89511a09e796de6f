"""`/v1` of a worker's HTTP server: invites, their stories, the states and the history of users."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from invites.config import parse
from invites.keys import CANDIDATE, Keys, shard_of
from tests.support.site import KEYS, TOKEN, Open, Site, ring

pytestmark = pytest.mark.leaks  # these tests write the keys themselves


async def test_what_rings_for_a_user(site: Site, client: Redis) -> None:
    await ring(client, "alice", "i1", "bob")
    answer = await site.get("/v1/users/bob/invitations")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "invitations": [
            {
                "inviteId": "i1",
                "from": "alice",
                "to": "bob",
                "group": None,
                "room": None,
                "state": "PENDING",
                "inviteRequest": False,
                "mediatypes": None,
                "context": None,
                "startedAt": None,
                "expiresAt": None,
            }
        ]
    }
    answer = await site.get("/v1/users/nobody/invitations")
    assert (answer.status, answer.json) == (200, {"invitations": []})


async def test_one_invite(site: Site, client: Redis) -> None:
    await ring(client, "alice", "i1", "bob")
    answer = await site.get("/v1/invites/alice/i1/bob")
    assert answer.status == 200
    assert answer.json["state"] == "PENDING"
    assert [one["peer"] for one in answer.json["candidates"]] == ["b1"]
    assert {"code", "reason", "whoAccepted", "endedAt"} <= answer.json.keys()


async def test_the_state_of_a_user(site: Site, client: Redis) -> None:
    seconds, _ = await client.time()
    for until, dnd in ((seconds + 60, True), (seconds - 60, False)):
        await client.set(KEYS.user_state("bob"), f"1-1|1|{until * 1000}|mallory|sip|")
        await client.hset(KEYS.busy("bob"), mapping={"r2": "b2|1-1", "r1": "b1|1-1|9000"})
        answer = await site.get("/v1/users/bob/state")
        assert (answer.status, answer.json) == (
            200,
            {
                "user": "bob",
                "dnd": dnd,
                "until": until * 1000 if dnd else None,
                "block": ["mallory", "sip"],
                "busy": {"r1": "b1", "r2": "b2"},
            },
        )


async def test_the_state_of_a_user_who_has_said_nothing(site: Site) -> None:
    answer = await site.get("/v1/users/bob/state")
    wanted = {"user": "bob", "dnd": False, "until": None, "block": [], "busy": {}}
    assert (answer.status, answer.json) == (200, wanted)


async def test_an_answer_cannot_steer_the_terminal_of_its_reader(site: Site, client: Redis) -> None:
    evil = "bob\x9b31m\u202e\u200b\U000e0041"
    await ring(client, "alice", "i1", "bob")
    ref, context = "alice|i1|bob", '{"x":\n"\x7f\u2066"}'
    await client.hset(KEYS.invite(ref), mapping={"room": evil, "context": context})
    answer = await site.get("/v1/invites/alice/i1/bob")
    assert (answer.json["room"], answer.json["context"]) == (evil, {"x": "\x7f\u2066"})
    assert all(one.isprintable() or one == "\n" for one in answer.body.decode())


async def test_an_unknown_invite_is_404(site: Site) -> None:
    for path in ("/v1/invites/alice/i1/bob", "/v1/invites/alice/i1/bob/story"):
        answer = await site.get(path)
        assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("shards", [1, 7])
async def test_the_story_of_an_invite(site_for: Open, client: Redis, shards: int) -> None:
    site = await site_for(parse({"http": {"port": 0, "token": TOKEN}, "redis": {"shards": shards}}))
    keys = Keys(shard=shard_of("bob", shards), shards=shards)
    lines = ['5 invite - a1 6-1 1 invitation - ["b1"]', '105 accept - b1 7-0 0 inviteAccepted 200 ["a1"]']
    await client.rpush(keys.story("alice|i1|bob"), *lines, "no step")
    candidate = '{"address":"bob","type":"PEER","state":"ACCEPTED"}'
    fields: dict[Any, Any] = {"state": "ACCEPTED", "code": "200", f"{CANDIDATE}b1": candidate}
    await client.hset(keys.invite("alice|i1|bob"), mapping=fields)
    await client.xgroup_create(keys.notifications, "g1", "6-1", mkstream=True)
    answer = await site.get("/v1/invites/alice/i1/bob/story")
    assert answer.status == 200
    story = answer.json
    assert (story["ref"], story["invite"]["code"], story["cut"], story["groups"]) == (
        "alice|i1|bob",
        200,
        False,
        ["g1"],
    )
    assert story["steps"] == [
        {
            "at": 5, "after": None, "what": "invite", "who": "a1", "code": None, "first": "6-0", "last": "6-1",
            "acknowledgedBy": ["g1"], "readBy": [], "unreadBy": [],
            "told": [{"what": "invitation", "code": None, "who": ["b1"], "more": 0}],
        },
        {
            "at": 105, "after": 100, "what": "accept", "who": "b1", "code": None, "first": "7-0", "last": "7-0",
            "acknowledgedBy": [], "readBy": [], "unreadBy": ["g1"],
            "told": [{"what": "inviteAccepted", "code": 200, "who": ["a1"], "more": 0}],
        },
    ]  # fmt: skip
    [candidate] = story["candidates"]
    assert (candidate["rung"], candidate["accepted"], candidate["ringing"]) == (5, 105, None)
    await client.delete(keys.invite("alice|i1|bob"))
    assert (await site.get("/v1/invites/alice/i1/bob/story")).json["invite"] is None
    await client.delete(keys.story("alice|i1|bob"))
    await client.set(keys.story("alice|i1|bob"), "x")
    assert (await site.get("/v1/invites/alice/i1/bob/story")).status == 404


async def test_a_list_of_invites_in_pages(site: Site, client: Redis) -> None:
    for number in range(5):
        await ring(client, "alice", f"i{number}", "bob")
        await client.zadd(KEYS.timers, {f"ring|alice|i{number}|bob": number})
    page = (await site.get("/v1/invites?limit=2")).json
    found = [row["ref"] for row in page["invites"]]
    for _ in range(2):
        page = (await site.get(f"/v1/invites?limit=2&cursor={page['cursor']}")).json
        found += [row["ref"] for row in page["invites"]]
    assert found == [f"alice|i{number}|bob" for number in range(5)]
    assert (page["more"], page["cursor"]) == (False, None)
    assert page["invites"][0].keys() == {
        "ref", "inviteId", "from", "to", "kind", "group", "room", "state", "code", "reason", "whoAccepted",
        "inviteRequest", "startedAt", "expiresAt", "endedAt",
    }  # fmt: skip
    await client.hset(KEYS.invite("alice|i3|bob"), mapping={"state": "ACCEPTED"})
    ended = (await site.get("/v1/invites?state=accepted&user=bob")).json
    assert [row["ref"] for row in ended["invites"]] == ["alice|i3|bob"]
    assert (await site.get("/v1/invites?user=nobody%7C*")).json["invites"] == []


@pytest.mark.parametrize(
    "query",
    [
        "state=busy",
        "since=soon",
        "since=-1",
        "limit=0",
        "limit=201",
        "limit=",
        "cursor=x",
        "usr=bob",
        "user=bob&user=carol",
        "user=%fc",
        "since=" + "9" * 30,
    ],
)
async def test_a_list_refuses_what_it_cannot_read(site: Site, query: str) -> None:
    answer = await site.get(f"/v1/invites?{query}")
    assert (answer.status, answer.json["error"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "name",
    [
        "peter@acme.com",
        "a/b",
        "/",
        "100%",
        "%2F",
        "%252F",
        "a%20b",
        "..",
        ".",
        "ümläut",
        "漢字😀",
        "a+b&c=d?e#f",
        ";x=1",
        "x" * 255,
        "😀" * 255,
        '"quoted"\\',
    ],
)
async def test_any_id_can_be_asked_for(site: Site, client: Redis, name: str) -> None:
    await ring(client, name, name, name)
    encoded = quote(name, safe="").replace(".", "%2E")
    answer = await site.get(f"/v1/invites/{encoded}/{encoded}/{encoded}")
    assert (answer.status, answer.json["inviteId"]) == (200, name)
    answer = await site.get(f"/v1/users/{encoded}/invitations")
    assert [one["to"] for one in answer.json["invitations"]] == [name]


async def test_an_id_is_decoded_once(site: Site, client: Redis) -> None:
    await ring(client, "alice", "a/b", "bob")
    assert (await site.get("/v1/invites/alice/a%2Fb/bob")).status == 200
    assert (await site.get("/v1/invites/alice/a%2fb/bob")).status == 200
    assert (await site.get("/v1/invites/alice/a%252Fb/bob")).status == 404
    assert (await site.get("/v1/invites/alice/a/b/bob")).status == 404


async def test_ids_that_are_no_utf8_are_refused(site: Site) -> None:
    for path in ("/v1/users/%ff/invitations", "/v1/invites/alice/%c3/bob", "/v1/users/%ed%a0%80/invitations"):
        answer = await site.get(path)
        assert (answer.status, answer.json["error"]) == (400, "bad_request")


async def test_the_history_of_a_user(site: Site, client: Redis) -> None:
    ref, key = "alice|i/1|bob", KEYS.calls_missed("bob")
    call = {
        "inviteId": "i/1", "from": "alice", "to": "bob", "direction": "in", "fromDetails": None, "state": "DECLINED",
        "inviteRequest": False, "code": 480, "reason": "unreachable", "startedAt": 1, "endedAt": 2,
    }  # fmt: skip
    now = int(time.time() * 1000)
    for name in (KEYS.calls_ended("bob"), key):
        await client.zadd(name, {ref: now})
    await client.hset(KEYS.history("bob"), ref, json.dumps(call))
    shown = call | {"group": None, "room": None, "whoAccepted": None, "missed": True, "seen": False}
    for path in ("calls", "calls?missed=1", f"calls?before={now + 1}"):
        answer = await site.get(f"/v1/users/bob/{path}")
        assert (answer.status, answer.json) == (200, {"calls": [shown], "unseen": 1, "more": False})
    assert (await site.get(f"/v1/users/bob/calls?before={now}")).json["calls"] == []
    assert (await site.get("/v1/users/carol/calls")).json == {"calls": [], "unseen": 0, "more": False}


@pytest.mark.parametrize("query", ["missed=0", "missed=", "before=x", "before=-1", "before=", "before=1e3"])
async def test_a_question_about_the_history_that_makes_no_sense(site: Site, query: str) -> None:
    assert (await site.get(f"/v1/users/bob/calls?{query}")).status == 400
