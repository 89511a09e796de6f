"""What of a URL may be shown."""

from __future__ import annotations

import pytest

from invites.redis_url import address_of
from invites.secret import Secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://valkey", "redis://valkey:6379"),
        ("redis://user:secret@valkey:6380/2?db=3", "redis://valkey:6380/2"),
        ("rediss://:secret@[::1]:6379/", "rediss://[::1]:6379"),
        ("unix://user:secret@/run/a%20b.sock?db=1", "unix:///run/a b.sock"),
    ],
)
def test_an_address_has_no_credentials(url: str, shown: str) -> None:
    assert address_of(Secret(url)) == shown
