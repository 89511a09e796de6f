"""The configuration: valid values, refused values and their sentences, sources of secrets."""

from __future__ import annotations

import json
import pickle
from typing import Any

import msgspec
import pytest

from invites.config import Config, ConfigError, check_lookups, parse
from invites.store.settings import Settings
from invites.values.secret import Secret

_VENDORS: dict[str, Any] = {
    "invites": {
        "basic": {
            "removeAfter": 10000,
            "resolveGroups": False,
            "resolvePush": False,
            "legacyUserGroupResolution": True,
            "wac": {"address": "http://wac:8000", "username": "admin@quobis", "password": "wac secret"},
        },
        "limits": {"devicesPerUser": 7, "perCallee": 0, "perCaller": 20, "perPair": 3},
        "parallelSip": False,
        "onlyOneDeviceWithInvitations": True,
        "ringTimeout": 30000,
        "maxRingTimeout": 90000,
        "callerGrace": 5000,
        "retainAfter": 100000,
        "ringingStep": 8000,
        "maxGroupSize": 50,
        "maxDeliveries": 4,
        "claimAfter": 2000,
        "notificationRetention": {"age": 60000, "bytes": 1000000},
        "deadRetention": {"age": 604800001, "bytes": 65536},
        "redial": "ring",
        "glare": "merge",
        "pushAfter": 3000,
        "joinAccepts": False,
        "roomGrace": 4000,
        "whenBusy": "reject",
        "trackBusy": True,
        "keepHistory": 20,
        "keepHistoryFor": 86400000,
        "logContext": False,
        "keepPersonal": 7200000,
    },
    "redis": {"url": "redis://worker:redis-secret@valkey:6380/2", "prefix": "calls", "shards": 1},
    "http": {"host": "192.0.2.1", "port": 9090, "token": "http-secret"},
    "conferences": {"whatever": ["another", "service", "needs"]},
}
_SECRETS = ("wac secret", "redis-secret", "http-secret")


def _refused(content: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(content)
    return str(caught.value)


def test_every_key_has_its_place() -> None:
    found = parse(_VENDORS)
    assert found.invites.basic.remove_after == 10000
    assert found.invites.basic.wac.address == "http://wac:8000"
    assert found.invites.basic.wac.username == "admin@quobis"
    assert found.invites.basic.wac.password == Secret("wac secret")
    assert found.invites.only_one_device_with_invitations is True
    assert found.invites.parallel_sip is False
    assert (found.invites.ringing_step, found.invites.max_group_size) == (8000, 50)
    assert msgspec.structs.astuple(found.invites.limits) == (7, 0, 20, 3)
    assert (found.invites.max_deliveries, found.invites.claim_after) == (4, 2000)
    retention = found.invites.notification_retention
    assert (retention.age, retention.bytes) == (60000, 1000000)
    letters = found.invites.dead_retention
    assert (letters.age, letters.bytes) == (604800001, 65536)
    assert (found.invites.join_accepts, found.invites.room_grace) == (False, 4000)
    assert found.invites.when_busy == "reject"
    assert (found.invites.keep_history, found.invites.keep_history_for) == (20, 86400000)
    assert found.invites.log_context is False
    assert (found.kept(1), found.kept(604800000), Config().kept(604800000)) == (1, 7200000, 604800000)
    assert (found.redis.prefix, found.redis.shards) == ("calls", 1)
    assert found.redis.url == Secret("redis://worker:redis-secret@valkey:6380/2")
    assert (found.http.host, found.http.port, found.http.token) == ("192.0.2.1", 9090, Secret("http-secret"))


def test_defaults_are_those_of_the_contract() -> None:
    assert parse({}) == Config()
    assert json.loads(msgspec.json.encode(parse({}))) == {
        "invites": {
            "basic": {
                "removeAfter": 0,
                "resolveGroups": False,
                "resolveNestedGroups": False,
                "resolvePush": False,
                "legacyUserGroupResolution": True,
                "wac": {
                    "address": None,
                    "username": None,
                    "password": None,
                    "paths": {
                        "login": "/sapi/login",
                        "groups": "/sapi/groups/{id}",
                        "pushDevices": "/sapi/users/{user}/push-devices",
                        "reachability": "/sapi/reachability/{resource}",
                        "push": "/sapi/push",
                    },
                    "timeout": 1000,
                    "deadline": 3000,
                    "maxConcurrent": 100,
                    "groupCache": 0,
                    "breakAfter": 5,
                    "breakFor": 2000,
                },
            },
            "limits": {"devicesPerUser": 100, "perCallee": 200, "perCaller": 1000, "perPair": 10},
            "parallelSip": False,
            "onlyOneDeviceWithInvitations": False,
            "ringTimeout": 60000,
            "maxRingTimeout": 120000,
            "callerGrace": 10000,
            "retainAfter": 300000,
            "ringingStep": 10000,
            "maxGroupSize": 500,
            "maxDeliveries": 5,
            "claimAfter": 3000,
            "notificationRetention": {"age": 3600000, "bytes": None},
            "deadRetention": {"age": 2592000000, "bytes": 67108864},
            "redial": "replace",
            "glare": "off",
            "pushAfter": None,
            "joinAccepts": True,
            "roomGrace": 0,
            "whenBusy": "ring",
            "trackBusy": False,
            "story": True,
            "keepHistory": 0,
            "keepHistoryFor": 2592000000,
            "logContext": True,
            "keepPersonal": None,
        },
        "redis": {"url": None, "prefix": "invites", "shards": 1},
        "http": {"host": "127.0.0.1", "port": 8080, "token": None},
        "gateway": {
            "host": "127.0.0.1", "port": 8090, "secret": None, "jwks": None, "audience": None, "origins": [],
            "heartbeat": 20000, "expires": 60000, "maxMessage": 65536, "messagesPerSecond": 20,
            "maxConnections": 10000, "connectionsPerUser": 100,
        },
    }  # fmt: skip


def test_the_scripts_get_their_part() -> None:
    assert Config().settings() == Settings()
    assert parse(_VENDORS).settings() == Settings(
        remove_after=10000,
        ring_timeout=30000,
        max_ring_timeout=90000,
        caller_grace=5000,
        retain_after=100000,
        parallel_sip=False,
        only_one_device_with_invitations=True,
        ringing_step=8000,
        max_group_size=50,
        push_after=3000,
        devices_per_user=7,
        per_callee=0,
        per_caller=20,
        per_pair=3,
        redial="ring",
        glare="merge",
        join_accepts=False,
        room_grace=4000,
        when_busy="reject",
        track_busy=True,
        keep_history=20,
        keep_history_for=7200000,
    )


@pytest.mark.parametrize("flag", ["parallelSip", "onlyOneDeviceWithInvitations"])
def test_the_flags_may_stand_in_basic_but_invites_wins(flag: str) -> None:
    def value(**invites: object) -> object:
        return json.loads(msgspec.json.encode(parse({"invites": invites})))["invites"][flag]

    assert value(basic={flag: True}) is True
    assert value(basic={flag: True}, **{flag: False}) is False
    assert value(basic={flag: False}, **{flag: True}) is True
    given = {"invites": {"basic": {flag: True}}}
    parse(given)
    assert given == {"invites": {"basic": {flag: True}}}, "what was passed in stays as it was"


@pytest.mark.parametrize(
    ("content", "path", "nearest"),
    [
        ({"invites": {"ringTimout": 1}}, "invites.ringTimout", "invites.ringTimeout"),
        ({"invites": {"RINGTIMEOUT": 1}}, "invites.RINGTIMEOUT", "invites.ringTimeout"),
        (
            {"invites": {"basic": {"removeafter": 1}}},
            "invites.basic.removeafter",
            "invites.basic.removeAfter",
        ),
        ({"invites": {"basic": {"paralelSip": 1}}}, "invites.basic.paralelSip", "invites.basic.parallelSip"),
        (
            {"invites": {"basic": {"wac": {"user": "x"}}}},
            "invites.basic.wac.user",
            "invites.basic.wac.username",
        ),
        ({"redis": {"uri": "x"}}, "redis.uri", "redis.url"),
        ({"redis": {"shard": 1}}, "redis.shard", "redis.shards"),
        ({"http": {"tokne": "x"}}, "http.tokne", "http.token"),
        ({"gateway": {"secrets": "x"}}, "gateway.secrets", "gateway.secret"),
        ({"http": {"a\nb": "x"}}, r'http."a\nb"', "http."),
        ({"http": {"": "x"}}, 'http.""', "http."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(content: object, path: str, nearest: str) -> None:
    sentence = _refused(content)
    assert sentence.startswith(f"{path} is not a known key")
    assert nearest in sentence.removeprefix(path)
    assert "\n" not in sentence


def test_unknown_keys_elsewhere_belong_to_other_services() -> None:
    assert parse({"push": {"url": 1}, "invitess": {}, "x": None}) == Config()


@pytest.mark.parametrize(
    ("section", "field", "values", "what"),
    [
        ("invites", "ringTimeout", [0, -1, 1.5, "60s", None, True, 604_800_001, 10**30], "milliseconds"),
        ("invites", "maxRingTimeout", [0, "x"], "milliseconds"),
        ("invites", "callerGrace", [-1, "x"], "milliseconds"),
        ("invites", "retainAfter", [-1, "x"], "milliseconds"),
        ("invites", "ringingStep", [0, "x"], "milliseconds"),
        ("invites", "claimAfter", [0, 99, "x"], "milliseconds"),
        ("invites", "maxGroupSize", [0, 100_001, "x"], "whole number from 1 to 100000"),
        ("invites", "maxDeliveries", [0, 1001, "x"], "whole number from 1 to 1000"),
        ("invites", "parallelSip", ["yes", 1, None], "true or false"),
        ("invites", "redial", ["Replace", "", None, True], "replace or ring"),
        ("invites", "glare", ["on", "", None, True], "off or merge"),
        ("invites", "basic", [[], 1, None, "x"], "an object"),
        ("redis", "prefix", ["", "a b", "{0}", "a|b", "a\n", 5, "x" * 101], "without white space"),
        ("redis", "shards", [0, -1, 1025, "1"], "whole number from 1 to 1024"),
        ("redis", "url", ["", 5, []], "a text that is not empty, or null"),
        ("http", "port", [-1, 65536, "8080", 1.5], "whole number from 0 to 65535"),
        ("http", "host", ["", None, 1], "a text that is not empty"),
        ("http", "token", ["", 5, {}], "a text that is not empty, or null"),
    ],
)
def test_a_wrong_value_is_refused_with_what_belongs_there(
    section: str, field: str, values: list[object], what: str
) -> None:
    for value in values:
        sentence = _refused({section: {field: value}})
        assert sentence.startswith(f"{section}.{field} must be "), value
        assert what in sentence, value


def test_a_wrong_limit_is_refused() -> None:
    for value in (-1, 1_000_001, "x"):
        sentence = _refused({"invites": {"limits": {"perPair": value}}})
        assert sentence.startswith("invites.limits.perPair must be a whole number from 0 to 1000000")


def test_a_wrong_value_of_a_secret_is_not_repeated() -> None:
    assert "12345678" not in _refused({"http": {"token": 12345678}})
    assert "12345678" not in _refused({"redis": {"url": [12345678]}})
    assert "12345678" not in _refused({"invites": {"basic": {"wac": {"password": 12345678}}}})


@pytest.mark.parametrize("content", [[], 1, "x", None])
def test_the_whole_must_be_an_object(content: object) -> None:
    assert _refused(content).startswith("the configuration must be an object")


@pytest.mark.parametrize("section", ["invites", "redis", "http"])
def test_a_section_must_be_an_object(section: str) -> None:
    assert _refused({section: []}) == f"{section} must be an object, not a list."


def test_a_ring_time_beyond_its_cap_is_refused() -> None:
    sentence = _refused({"invites": {"ringTimeout": 120001}})
    assert "invites.ringTimeout (120001)" in sentence
    assert "invites.maxRingTimeout (120000)" in sentence
    assert parse({"invites": {"ringTimeout": 120000}}).invites.ring_timeout == 120000


@pytest.mark.parametrize(
    "address", ["wac:8000", "ftp://wac", "http://", "http://wac:0", "http://[::1", "http://wac/?x=1"]
)
def test_an_address_of_sippo_server_must_be_a_url(address: str) -> None:
    assert _refused({"invites": {"basic": {"wac": {"address": address}}}}).startswith(
        "invites.basic.wac.address"
    )


def test_credentials_in_the_address_of_sippo_server_are_refused_unseen() -> None:
    sentence = _refused({"invites": {"basic": {"wac": {"address": "http://admin:hunter2@wac:8000"}}}})
    assert "wac.password" in sentence
    assert "hunter2" not in sentence


_CALLS_AND_PLACEHOLDERS = [
    ("login", ""),
    ("groups", "{id}"),
    ("pushDevices", "{user}"),
    ("reachability", "{resource}"),
    ("push", ""),
]


def _of_wac(**wac: object) -> dict[str, Any]:
    return {"invites": {"basic": {"wac": wac}}}


def test_how_sippo_server_is_asked_can_be_set() -> None:
    settings = {
        "timeout": 500,
        "deadline": 900,
        "maxConcurrent": 7,
        "groupCache": 2000,
        "breakAfter": 2,
        "breakFor": 9,
    }
    found = parse(_of_wac(**settings)).invites.basic.wac
    assert (found.timeout, found.deadline, found.max_concurrent) == (500, 900, 7)
    assert (found.group_cache, found.break_after, found.break_for) == (2000, 2, 9)


@pytest.mark.parametrize(
    ("field", "values", "what"),
    [
        ("timeout", [0, -1, 60_001, "1s", None], "milliseconds from 1 to 60000 (a minute)"),
        ("deadline", [0, 60_001, 1.5], "milliseconds from 1 to 60000 (a minute)"),
        ("maxConcurrent", [0, 10_001, "x"], "whole number from 1 to 10000"),
        ("groupCache", [-1, "x"], "milliseconds"),
        ("breakAfter", [0, 1001, True], "whole number from 1 to 1000"),
        ("breakFor", [0, "x"], "milliseconds"),
        ("paths", [[], "x", None], "an object"),
    ],
)
def test_a_wrong_setting_of_sippo_server_is_refused(field: str, values: list[object], what: str) -> None:
    for value in values:
        sentence = _refused(_of_wac(**{field: value}))
        assert sentence.startswith(f"invites.basic.wac.{field} must be "), value
        assert what in sentence, value


def test_one_request_may_not_take_longer_than_all() -> None:
    sentence = _refused(_of_wac(timeout=3001))
    assert "invites.basic.wac.timeout (3001)" in sentence
    assert "invites.basic.wac.deadline (3000)" in sentence
    assert parse(_of_wac(timeout=3000)).invites.basic.wac.timeout == 3000


@pytest.mark.parametrize(("call", "placeholder"), _CALLS_AND_PLACEHOLDERS)
def test_paths_of_sippo_server(call: str, placeholder: str) -> None:
    for path in (f"/x/{placeholder}", f"/x?of={placeholder}&all=1", f"/v1.0/~x/{placeholder}/[a]%20b"):
        paths = parse(_of_wac(paths={call: path})).invites.basic.wac.paths
        assert msgspec.to_builtins(paths)[call] == path
    wrong: list[object] = [
        f"x/{placeholder}",
        f"http://wac/{placeholder}",
        f"/a b/{placeholder}",
        f"/ü/{placeholder}",
        f"/x#{placeholder}",
        f"/x\\{placeholder}",
        f"/x/{placeholder}\n",
        f"/x/{placeholder}/{{other}}",
        f"/x/{placeholder or '{id}'}{placeholder or '{id}'}",
        f"/x/{placeholder}{{",
        "",
        5,
        *(["/x"] if placeholder else []),
    ]
    for value in wrong:
        sentence = _refused(_of_wac(paths={call: value}))
        assert sentence.startswith(f"invites.basic.wac.paths.{call} must be a path like /sapi/"), value
        assert placeholder in sentence


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"resolveGroups": True}, "invites.basic.resolveGroups needs"),
        ({"resolvePush": True}, "invites.basic.resolvePush needs"),
        (
            {"resolveGroups": True, "resolvePush": True},
            "invites.basic.resolveGroups and invites.basic.resolvePush need sippo-server",
        ),
        ({"legacyUserGroupResolution": False}, "invites.basic.legacyUserGroupResolution needs"),
    ],
)
def test_lookups_need_an_address_and_credentials(flags: dict[str, bool], named: str) -> None:
    wac = {"address": "http://wac:8000", "username": "admin@quobis", "password": "wac secret"}
    check_lookups(parse({"invites": {"basic": {**flags, "wac": wac}}}))
    for lacking in wac:
        rest = {name: value for name, value in wac.items() if name != lacking}
        with pytest.raises(ConfigError) as caught:
            check_lookups(parse({"invites": {"basic": {**flags, "wac": rest}}}))
        sentence = str(caught.value)
        assert sentence.startswith(named)
        assert f"but invites.basic.wac.{lacking} is missing" in sentence
        assert "wac secret" not in sentence


def test_without_lookups_nothing_is_needed_for_them() -> None:
    check_lookups(Config())
    assert Config().missing_for_lookups() == []


def test_each_shard_has_keys_of_its_own_and_knows_how_many_there_are() -> None:
    found = parse({"redis": {"prefix": "calls", "shards": 3}})
    assert [(keys.base, keys.shards) for keys in found.shards()] == [
        ("calls:{0}:", 3), ("calls:{1}:", 3), ("calls:{2}:", 3),
    ]  # fmt: skip


def test_secrets_show_themselves_nowhere() -> None:
    found = parse(_VENDORS)
    for shown in (
        repr(found),
        str(found),
        f"{found.redis}",
        f"{found.http.token}",
        repr(msgspec.to_builtins),
    ):
        for secret in _SECRETS:
            assert secret not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(found)
    with pytest.raises(TypeError):
        pickle.dumps(found.http.token)


def test_a_secret_matches_itself_alone() -> None:
    assert Secret("a").matches("a")
    assert not Secret("a").matches("b")
    assert not Secret("a").matches("")
    assert not Secret("a").matches("\ud800")
    assert Secret("a") == Secret("a")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize(
    ("basic", "look_up"),
    [
        ({}, ""),
        ({"resolveGroups": True}, "groups"),
        ({"resolvePush": True}, "push"),
        ({"resolveGroups": True, "resolvePush": True}, "all"),
        ({"legacyUserGroupResolution": False}, "reachability"),
        ({"legacyUserGroupResolution": False, "resolvePush": True}, "reachability"),
    ],
)
def test_the_flags_say_what_is_looked_up(basic: dict[str, bool], look_up: str) -> None:
    assert parse({"invites": {"basic": basic}}).settings().look_up == look_up
