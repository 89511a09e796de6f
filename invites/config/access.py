"""Checks by POSIX modes whether others may change or read a configuration file with a password."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Final

from invites.connection.url import UnusableUrlError, parse_redis_url

if TYPE_CHECKING:
    from pathlib import Path

    from invites.config.sections import Config
    from invites.values.secret import Secret

_CHANGE: Final = stat.S_IWGRP | stat.S_IWOTH

_log = logging.getLogger(__name__)


def warn_of_access(file: Path, config: Config) -> None:
    """Log it if others can change, or can read, a file that holds a password. `config` is the content of the file."""
    held = ", ".join(_passwords(config))
    if not held or os.name != "posix":
        return
    mode = file.stat().st_mode
    if mode & _CHANGE:
        _log.warning("Others can change %s, which holds %s: run `chmod go-w %s`.", file, held, file)
    if mode & stat.S_IROTH:
        _log.info("Others can read %s, which holds %s: run `chmod o-r %s`.", file, held, file)


def _passwords(config: Config) -> list[str]:
    """The paths of the fields that hold a password."""
    found = {
        "redis.url": _has_password(config.redis.url),
        "invites.basic.wac.password": config.invites.basic.wac.password is not None,
        "http.token": config.http.token is not None,
    }
    return [name for name, there in found.items() if there]


def _has_password(url: Secret | None) -> bool:
    if url is None:
        return False
    try:
        parsed = parse_redis_url(url)
    except UnusableUrlError:
        return False  # the environment may name another one; if not, it is an error
    return parsed.credentials.password is not None or parsed.sentinel_credentials.password is not None
