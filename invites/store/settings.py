"""The part of the configuration that the rules need."""

from typing import Literal

import msgspec

LookUp = Literal["", "push", "groups", "all", "reachability"]
"""The requests to sippo-server: none, push devices, groups, both, or its Reachability service."""

Redial = Literal["replace", "ring"]
"""What another invite of the same device to the same callee does: replace the pending one, or ring beside it."""

Glare = Literal["off", "merge"]
"""The result when two users invite each other: two calls, or one."""

WhenBusy = Literal["ring", "waiting", "reject"]
"""The effect of a new invite to a callee who is in a call: it rings, rings and says so, or ends with 486."""


class Settings(msgspec.Struct, frozen=True):
    """What the rules need of the configuration: `settings` in the Lua files. Times are in ms.

    `push_after` is -1 for never. A limit of 0 is switched off. `keep_history` is how many calls of a user are kept.
    """

    remove_after: int = 0
    ring_timeout: int = 60_000
    max_ring_timeout: int = 120_000
    caller_grace: int = 10_000
    retain_after: int = 300_000
    parallel_sip: bool = False
    only_one_device_with_invitations: bool = False
    ringing_step: int = 10_000
    max_group_size: int = 500
    look_up: LookUp = ""
    push_after: int = -1
    devices_per_user: int = 100
    per_callee: int = 200
    per_caller: int = 1_000
    per_pair: int = 10
    redial: Redial = "replace"
    glare: Glare = "off"
    join_accepts: bool = True
    room_grace: int = 0
    when_busy: WhenBusy = "ring"
    track_busy: bool = False
    story: bool = True
    keep_history: int = 0
    keep_history_for: int = 2_592_000_000
