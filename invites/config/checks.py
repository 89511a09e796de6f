"""Checks that one field alone cannot make."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from invites.values.validation import shown

if TYPE_CHECKING:
    from invites.config.sections import Config


class ConfigError(Exception):
    """The configuration cannot be used; the text is one sentence: which field, and what to write there."""


def check_together(config: Config) -> None:
    """What no field can tell alone."""
    invites, wac = config.invites, config.invites.basic.wac
    if invites.ring_timeout > invites.max_ring_timeout:
        raise ConfigError(
            f"invites.ringTimeout ({invites.ring_timeout}) is longer than invites.maxRingTimeout "
            f"({invites.max_ring_timeout}): lower the one or raise the other."
        )
    if wac.timeout > wac.deadline:
        raise ConfigError(
            f"invites.basic.wac.timeout ({wac.timeout}) is longer than invites.basic.wac.deadline "
            f"({wac.deadline}): lower the one or raise the other."
        )
    if wac.address is not None:
        _check_wac_address(wac.address)


def check_look_ups(config: Config) -> None:
    """Refuse look-ups that cannot be made; for a worker, since other commands can do without.

    Raises ConfigError.
    """
    missing = config.missing_for_look_ups()
    if missing:
        raise ConfigError(
            f"{' and '.join(config.look_ups())} needs sippo-server, but {', '.join(missing)} is missing: add it, "
            "a password better as INVITES_WAC_PASSWORD."
        )


def _check_wac_address(address: str) -> None:
    try:
        url = urlsplit(address)
        fine = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ConfigError("invites.basic.wac.address is no URL: write one like http://wac:8000.") from None
    if "@" in url.netloc:
        raise ConfigError(
            "invites.basic.wac.address holds credentials: "
            "move them to wac.username and wac.password, which are never logged."
        )
    if not fine or url.query or url.fragment:
        raise ConfigError(f"invites.basic.wac.address must be like http://wac:8000, not {shown(address)}.")
