"""Every command and a worker, on each kind of server, with users that have only the permissions that they need."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis

from invites.connection.clients import connect
from invites.keys import Keys
from tests.deploy import installations
from tests.support.commands import Commands
from tests.support.servers.cluster import Cluster
from tests.support.servers.front import CERTIFICATE, TlsFront
from tests.support.servers.node import HOST, Node
from tests.support.servers.replicated import SERVICE, Replicated
from tests.support.waiting import wait_until_sync
from workers.lab.embedded import EmbeddedValkey
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.lab.child_process import ChildProcess

KEYS: Final = Keys()
_PASSWORD: Final = "s3cret@word"
_USER: Final = "worker:s3cret%40word@"
_CA: Final = f"ssl_ca_certs={CERTIFICATE}"


def allow_users(client: Any) -> None:
    """Make the users `worker` and `operator` of the template."""
    for user in ("worker", "operator"):
        rules = installations.rules("users.acl.template", user)
        client.execute_command("ACL", "SETUSER", user, "on", f">{_PASSWORD}", *rules)


def with_user(url: str) -> str:
    return url.replace("://", f"://{_USER}")


@contextlib.contextmanager
def over_socket() -> Iterator[str]:
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url) as client:
        allow_users(client)
        yield with_user(server.unix_url)


@contextlib.contextmanager
def over_tls() -> Iterator[str]:
    with (
        EmbeddedValkey() as server,
        TlsFront(server.port) as front,
        redis.Redis.from_url(server.url) as client,
    ):
        allow_users(client)
        yield with_user(f"rediss://localhost:{front.port}/0?{_CA}")
        assert front.plain == 0


@contextlib.contextmanager
def by_sentinel() -> Iterator[str]:
    with Replicated() as servers:
        for server in servers.servers:
            allow_users(server.client)
        yield with_user(servers.url)


@contextlib.contextmanager
def by_sentinel_over_tls() -> Iterator[str]:
    """One sentinel, which has users of its own, with TLS in front of both."""
    sentinel = Node(sentinel=True)
    with TlsFront(sentinel.port) as asked, TlsFront() as served, Node() as server:
        served.target = server.port
        allow_users(server.client)
        sentinel.configure(
            f"sentinel monitor {SERVICE} {HOST} {served.port} 1\n"
            "user default off\n"
            f"user seeker on >seek&find {' '.join(installations.rules('servers.acl.template', 'seeker'))}"
        )
        sentinel.client = redis.Redis(host=HOST, port=sentinel.port, username="seeker", password="seek&find")
        with sentinel:
            options = f"{_CA}&sentinel_username=seeker&sentinel_password=seek%26find"
            yield with_user(f"rediss+sentinel://{HOST}:{asked.port}/{SERVICE}?{options}")
        assert asked.plain == 0


@contextlib.contextmanager
def in_cluster(*, tls: bool = False) -> Iterator[str]:
    with Cluster(replicas=False, tls=tls) as cluster:
        for node in cluster.nodes:
            allow_users(node.client)
        yield with_user(cluster.url) + (f"?{_CA}" if tls else "")
        assert all(front.plain == 0 for front in cluster.fronts)


PLACES: Final[dict[str, Callable[[], contextlib.AbstractContextManager[str]]]] = {
    "unix": over_socket,
    "rediss": over_tls,
    "redis+sentinel": by_sentinel,
    "rediss+sentinel": by_sentinel_over_tls,
    "redis+cluster": in_cluster,
    "rediss+cluster": lambda: in_cluster(tls=True),
}


def publish_nonsense(url: str) -> None:
    async def publish() -> None:
        async with connect(url, "test", keys=KEYS) as client:
            await client.xadd(KEYS.events, {"type": "nonsense", "payload": "{}"})

    asyncio.run(publish())


def wait_for_status(commands: Commands, worker: ChildProcess, **wanted: int) -> None:
    def there() -> bool:
        assert worker.running(), worker.output()
        ended = commands.on_server("status", "--json")
        assert ended.status == 0, ended.err
        (shard,) = json.loads(ended.out)["shards"]
        return {name: shard[name] for name in wanted} == wanted

    wait_until_sync(there, f"status shows {wanted}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACES)
def test_every_command_and_a_worker(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with PLACES[kind]() as url:
        commands = Commands(capsys, url.replace("worker:", "operator:", 1))
        with start_worker(url, {}) as worker:
            phone = '{"registry": {"id": "p-phone", "user": "bob"}}'
            call = '{"peer": {"id": "p-alice", "user": "alice"}, "to": "bob", "inviteId": "i1", "room": "r1"}'
            for event in (("registered", phone), ("invite", call)):
                assert commands.on_server("publish", *event).err == ""
            wait_for_status(commands, worker, pendingInvites=1, timers=1)
            shown = commands.on_server("show", "alice|i1|bob")
            assert (shown.status, "PENDING" in shown.out, "p-phone" in shown.out) == (0, True, True)

            publish_nonsense(url)
            wait_for_status(commands, worker, deadLetters=1)
            assert "nonsense" in commands.on_server("dead", "list").out
            assert commands.on_server("dead", "retry", "--all").status == 0
            wait_for_status(commands, worker, deadLetters=1)
            assert commands.on_server("dead", "drop", "--all").status == 0

            checked = Commands(capsys, url).on_server("check")
            assert (checked.status, checked.err) == (0, ""), checked.out
            assert "FAIL" not in checked.out
            assert "1 connected" in checked.out
            worker.terminate()
            assert _PASSWORD not in worker.output() + checked.out + shown.out


@pytest.mark.parametrize("ca", ["", "&ssl_ca_certs=/nowhere.pem"], ids=["not given", "missing"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    ca: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedValkey() as server, TlsFront(server.port) as front:
        url = f"rediss://{_USER}{HOST}:{front.port}/0?db=0{ca}"
        ended = Commands(capsys, url).on_server("status")
        assert ended.status == 1
        assert ("certificate verify failed" in ended.err) or ("No such file" in ended.err), ended.err
        assert _PASSWORD not in ended.err
        assert "s3cret" not in ended.err
