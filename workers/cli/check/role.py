"""The roles of `invites check`."""

from enum import StrEnum


class Role(StrEnum):
    """Whose commands are checked: the users of deploy/ have the same names."""

    WORKER = "worker"
    PUBLISHER = "publisher"
    GATEWAY = "gateway"
    OPERATOR = "operator"
