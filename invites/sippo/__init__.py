"""The client of the sippo-server API: groups, push devices, reachability, push.

`SippoServer` is the client. It validates every reply, and raises `NoAnswer` when there is no valid one. While it is
open it may run tasks of its own (a login, a probe of the circuit breaker); closing it ends them.
"""

from invites.sippo.answers import Candidate, Group, PushDevice, Reachability
from invites.sippo.breaker import Breaker
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer, PushJob, PushResult, Watch
from invites.sippo.client import SippoServer
from invites.sippo.timing import Timing

__all__ = [
    "ApiCall",
    "Breaker",
    "CallOutcome",
    "Candidate",
    "Group",
    "NoAnswer",
    "PushDevice",
    "PushJob",
    "PushResult",
    "Reachability",
    "SippoServer",
    "Timing",
    "Watch",
]
