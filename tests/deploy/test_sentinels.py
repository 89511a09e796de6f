"""The users of servers and sentinels have the permissions that they need among themselves."""

from __future__ import annotations

import pytest

from tests.deploy import installations
from tests.support.servers.replicated import SERVICE, Replicated

_PASSWORD = "servers"


@pytest.mark.slow
def test_a_fail_over_with_these_users() -> None:
    servers = Replicated(
        {"masteruser": "replica", "masterauth": _PASSWORD},
        [f"sentinel auth-user {SERVICE} sentinel", f"sentinel auth-pass {SERVICE} {_PASSWORD}"],
    )
    for server in servers.servers:
        users = server.directory / "users.acl"
        lines = ["user default on nopass ~* &* +@all"]
        lines += [
            f"user {user} on >{_PASSWORD} {' '.join(installations.rules('servers.acl.template', user))}"
            for user in ("replica", "sentinel")
        ]
        users.write_text("\n".join(lines) + "\n")
    with servers:
        former = servers.primary
        former.kill()
        servers.wait_until_served(former)
        former.start()
        servers.wait_until_follower(former)
