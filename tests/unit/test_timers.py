"""How long timers wait for events."""

from __future__ import annotations

import pytest

from workers.roles.timers import patience_ms


@pytest.mark.parametrize(
    ("claim_after_ms", "patience"), [(100, 6_000), (3_000, 6_000), (10_000, 20_000), (600_000, 60_000)]
)
def test_a_timer_waits_until_an_entry_can_have_been_taken_over(claim_after_ms: int, patience: int) -> None:
    assert patience_ms(claim_after_ms) == patience
