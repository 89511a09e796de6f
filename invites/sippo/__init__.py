"""The client of sippo-server's API: groups, push devices, reachability, push.

`SippoServer` asks; what it answers is decoded strictly, and whatever keeps an answer away is a `NoAnswer`.
"""

from invites.sippo.answers import Candidate, Group, PushDevice, Reachability
from invites.sippo.breaker import Breaker
from invites.sippo.calls import Call, NoAnswer, Outcome, PushJob, PushResult, Watch
from invites.sippo.client import SippoServer
from invites.sippo.timing import Timing

__all__ = [
    "Breaker",
    "Call",
    "Candidate",
    "Group",
    "NoAnswer",
    "Outcome",
    "PushDevice",
    "PushJob",
    "PushResult",
    "Reachability",
    "SippoServer",
    "Timing",
    "Watch",
]
