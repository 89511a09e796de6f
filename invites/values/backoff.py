"""The delays between attempts, for everything that is tried again."""

from __future__ import annotations

from tenacity import wait_combine, wait_exponential, wait_random_exponential


def exponential(first_ms: int, longest_ms: int) -> wait_combine:
    """Delays (s, as tenacity's waits) that double from `first_ms` to `longest_ms`.

    Half of each delay is random: workers that lost the same server at once do not come back as one herd.
    """
    half_first, half_longest = first_ms / 2000, longest_ms / 2000
    return wait_combine(
        wait_exponential(multiplier=half_first, max=half_longest),
        wait_random_exponential(multiplier=half_first, max=half_longest),
    )
