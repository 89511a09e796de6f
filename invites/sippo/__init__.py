"""The client of sippo-server's API: groups, push devices, reachability, push.

`SippoServer` asks; what it answers is decoded strictly, and whatever keeps an answer away is a `NoAnswer`.
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
