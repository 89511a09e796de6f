"""The load of `invites bench`."""

from __future__ import annotations

import json

from workers.lab.bench.load import CALLEES, Load


def test_nobody_calls_the_same_user_again_while_the_call_is_pending() -> None:
    """The second call would replace the first one. With several workers all calls are pending at the same time."""
    load = Load(3 * CALLEES, 3, 2)
    invites = [json.loads(payload) for _, payload in load.invites()]
    assert len({(each["peer"]["user"], each["to"]) for each in invites}) == load.calls
    accepts = [json.loads(payload) for _, payload in load.accepts()]
    assert [each["from"] for each in accepts] == [each["peer"]["user"] for each in invites]
