"""The configuration: config.json (the vendor's structure first), the environment, the command line.

Every error is a `ConfigError`: one sentence that names the field and says what to write there.
"""

from invites.config.checks import ConfigError, check_lookups
from invites.config.loading import load, parse
from invites.config.sections import Config, Invites, Paths, Redis, Wac

__all__ = [
    "Config",
    "ConfigError",
    "Invites",
    "Paths",
    "Redis",
    "Wac",
    "check_lookups",
    "load",
    "parse",
]
