"""A device stops by itself. It may still accept; the inviter and the other devices are not told."""

from __future__ import annotations

from .calls import Calls
from .state import Payload


class Silence(Calls):
    """The effect of `silence`."""

    def silence(self, event: Payload) -> None:
        invite = self.party(event, "silence")
        if invite is None:
            return
        if not invite.pending:
            self.answer_over(invite, event, "silence")
            return
        self.candidate(invite, event).silenced = True
        self.answer(event, "silence", 200, "silenced", to=invite.to)
