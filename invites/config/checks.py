"""Checks that involve several fields, and the URL of sippo-server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from invites.values.validation import shown

if TYPE_CHECKING:
    from invites.config.sections import Config


class ConfigError(Exception):
    """The configuration cannot be used. The text is one sentence: the field, and what to write there."""


def check_together(config: Config) -> None:
    """Check fields against each other. Raises ConfigError."""
    invites, wac = config.invites, config.invites.basic.wac
    if invites.ring_timeout > invites.max_ring_timeout:
        raise ConfigError(
            f"invites.ringTimeout ({invites.ring_timeout}) is longer than invites.maxRingTimeout "
            f"({invites.max_ring_timeout}): lower the first or raise the second."
        )
    if wac.timeout > wac.deadline:
        raise ConfigError(
            f"invites.basic.wac.timeout ({wac.timeout}) is longer than invites.basic.wac.deadline "
            f"({wac.deadline}): lower the first or raise the second."
        )
    if wac.address is not None:
        _check_wac_address(wac.address)


def check_lookups(config: Config) -> None:
    """Check that sippo-server is configured when a setting needs it. Only a worker requires this.

    Raises ConfigError.
    """
    lookups, missing = config.lookups(), config.missing_for_lookups()
    if missing:
        raise ConfigError(
            f"{' and '.join(lookups)} {'need' if len(lookups) > 1 else 'needs'} sippo-server, but "
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing: add what is missing, the password "
            "preferably as INVITES_WAC_PASSWORD."
        )


def _check_wac_address(address: str) -> None:
    try:
        url = urlsplit(address)
        fine = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ConfigError("invites.basic.wac.address is not a URL: write one like http://wac:8000.") from None
    if "@" in url.netloc:
        raise ConfigError(
            "invites.basic.wac.address contains credentials: "
            "move them to wac.username and wac.password, which are never logged."
        )
    if not fine or url.query or url.fragment:
        raise ConfigError(f"invites.basic.wac.address must be like http://wac:8000, not {shown(address)}.")
