"""A short run of calls to groups and phones while workers are killed and sippo-server fails."""

from __future__ import annotations

import msgspec
import pytest

from invites.sippo import PushJob
from tests.chaos.failing_reach import play_groups
from tests.chaos.heard import Call, Heard


@pytest.mark.chaos
@pytest.mark.slow
async def test_groups_and_phones_are_reached_once_while_servers_fail_over() -> None:
    result = await play_groups("cluster", rounds=2, harmed=3, workers=2, seed=7, tell=lambda _: None)
    assert result.faults == [], result.words()
    assert result.away_s, result.words()


# --- that it would see what it looks for


def played(*more: tuple[str, ...], without: str = "") -> tuple[Heard, Call]:
    """A correct call to a group of two, with some notifications added and some left out."""
    call = Call("0-group0", "group0", "accept", winner="a")
    heard = Heard()
    heard.begin([call])
    asked = call.history.ask("accept", "a")
    good = [
        ("invitation", "a", "b"),
        ("inviteAccepted",),
        ("answer",),
        ("invitationCancel", "b"),
        ("INVITE_COMPLETED",),
    ]
    payload = {"inviteId": call.invite_id, "code": 200, "transaction": asked, "peer": "a"}
    record = {"state": "ACCEPTED", "error": 200, "candidates": [{"peer": "a", "endReason": 200}]}
    for kind, *peers in [one for one in good if one[0] != without] + list(more):
        heard.hear(f"{kind}-{peers}", kind, peers, payload | record)
    return heard, call


def test_a_call_that_went_as_it_should_has_no_faults() -> None:
    heard, _ = played()
    assert heard.check([]) == []


@pytest.mark.parametrize(
    ("more", "without", "fault"),
    [
        ([("INVITE_COMPLETED",)], "", "notification INVITE_COMPLETED-[] came twice"),
        ([("INVITE_COMPLETED", "x")], "", "there are 2 records"),
        ([("invitation", "b")], "", "b was told to ring twice"),
        ([], "invitationCancel", "b was not told to stop"),
        ([("invitationCancel", "a")], "", "a has won and was told to stop"),
        ([], "inviteAccepted", "the inviter was told 0 outcomes"),
        ([], "answer", "accept of a was answered []"),
    ],
)
def test_what_goes_wrong_is_seen(more: list[tuple[str, ...]], without: str, fault: str) -> None:
    heard, _ = played(*more, without=without)
    assert fault in " ".join(heard.check([]))


def test_a_phone_that_goes_on_ringing_is_seen() -> None:
    heard, call = played()
    payload = msgspec.Raw(b"{}")
    ref = f"alice|{call.invite_id}|b"
    invitation = PushJob("b", "b-phone", "invitation", 30, ref, payload)
    assert heard.check([invitation]) == [f"{ref} goes on ringing at b-phone"]
    cancel = msgspec.structs.replace(invitation, type="invitationCancel")
    assert heard.check([invitation, cancel]) == []
