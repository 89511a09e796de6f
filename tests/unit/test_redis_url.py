"""The parts of a URL, and those that may be shown."""

from __future__ import annotations

import re

import pytest

from invites.connection.url import (
    Credentials,
    RedisUrl,
    UnusableUrlError,
    address_of,
    parse_redis_url,
    url_of_server,
)
from invites.values.secret import Secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://valkey", "redis://valkey:6379/0"),
        ("redis://user:secret@valkey:6380/2?db=3", "redis://valkey:6380/3"),
        ("rediss://:secret@[::1]:6379/", "rediss://[::1]:6379/0"),
        ("unix://user:secret@/run/a%20b.sock?db=1", "unix:///run/a b.sock"),
        (
            "rediss+sentinel://user:secret@one,[::1]:1/calls/2?sentinel_password=secret",
            "rediss+sentinel://one:26379,[::1]:1/calls/2",
        ),
        ("redis+cluster://user:secret@one:1,two", "redis+cluster://one:1,two:6379"),
    ],
)
def test_an_address_has_no_credentials(url: str, shown: str) -> None:
    assert address_of(Secret(url)) == shown
    assert "secret" not in repr(parse_redis_url(Secret(url)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://valkey", RedisUrl(kind="", hosts=(("valkey", 6379),))),
        (
            "redis://us%40er:p%3Ass@valkey:1/2",
            RedisUrl(
                kind="",
                hosts=(("valkey", 1),),
                database=2,
                credentials=Credentials(Secret("us@er"), Secret("p:ss")),
            ),
        ),
        (
            "redis://:alone@valkey",
            RedisUrl(kind="", hosts=(("valkey", 6379),), credentials=Credentials(None, Secret("alone"))),
        ),
        ("unix:///run/a%20b.sock?db=3", RedisUrl(kind="unix", path="/run/a b.sock", database=3)),
        (
            "redis+sentinel://one,two:1,[::1]:2/my%20calls/4?sentinel_username=s&sentinel_password=a%26b",
            RedisUrl(
                kind="sentinel",
                hosts=(("one", 26379), ("two", 1), ("::1", 2)),
                service="my calls",
                database=4,
                sentinel_credentials=Credentials(Secret("s"), Secret("a&b")),
            ),
        ),
        (
            "rediss+sentinel://one/calls",
            RedisUrl(
                kind="sentinel",
                hosts=(("one", 26379),),
                service="calls",
                tls={"ssl_check_hostname": True},
                sentinel_tls=True,
            ),
        ),
        (
            "rediss+sentinel://one/calls?sentinel_ssl=no&ssl_ca_certs=/ca.pem",
            RedisUrl(
                kind="sentinel",
                hosts=(("one", 26379),),
                service="calls",
                tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True},
            ),
        ),
        ("redis+cluster://one:1,two", RedisUrl(kind="cluster", hosts=(("one", 1), ("two", 6379)))),
        (
            "rediss+cluster://one?ssl_check_hostname=no&ssl_cert_reqs=none",
            RedisUrl(
                kind="cluster",
                hosts=(("one", 6379),),
                tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            ),
        ),
    ],
)
def test_what_a_url_says(url: str, said: RedisUrl) -> None:
    assert parse_redis_url(Secret(url)) == said


@pytest.mark.parametrize(
    ("url", "single"),
    [
        ("redis+cluster://one", "redis://[::1]:7/0"),
        ("redis+sentinel://us%40er:p%2Fw@one/calls/3", "redis://us%40er:p%2Fw@[::1]:7/3"),
        (
            "rediss+sentinel://:pw@one/calls?ssl_ca_certs=/a%26b&ssl_check_hostname=no&sentinel_password=x",
            "rediss://:pw@[::1]:7/0?ssl_ca_certs=/a%26b&ssl_check_hostname=no",
        ),
    ],
)
def test_the_url_of_one_server_of_many_says_the_same(url: str, single: str) -> None:
    many, one = parse_redis_url(Secret(url)), url_of_server(parse_redis_url(Secret(url)), ("::1", 7))
    found = parse_redis_url(one)
    assert found == parse_redis_url(Secret(single))
    assert (found.credentials, found.tls, found.database) == (many.credentials, many.tls, many.database)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis+cluster://one/3", "must not end with a database: a cluster has database 0 only"),
        ("redis+cluster://one?tea=1", "has the option 'tea', but redis+cluster:// takes no options"),
        ("redis+sentinel://one", "must name the service that the sentinels watch"),
        ("redis+sentinel://one/calls?sentinel_usr=x", "sentinel_username"),
    ],
)
def test_what_a_url_of_many_servers_must_not_say(url: str, sentence: str) -> None:
    with pytest.raises(UnusableUrlError, match=re.escape(sentence)):
        parse_redis_url(Secret(url))
