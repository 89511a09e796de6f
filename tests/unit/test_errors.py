"""What an error says about the server."""

from __future__ import annotations

import pytest
from redis import exceptions

from invites.connection.errors import ErrorKind, RefusedError, classify, passes
from invites.store.layout import LayoutError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ConnectionError("refused"), ErrorKind.UNAVAILABLE),
        (exceptions.TimeoutError("slow"), ErrorKind.UNAVAILABLE),
        (exceptions.BusyLoadingError("loading"), ErrorKind.UNAVAILABLE),
        (exceptions.ReadOnlyError("replica"), ErrorKind.UNAVAILABLE),
        (exceptions.MasterDownError("master"), ErrorKind.UNAVAILABLE),
        (exceptions.AuthenticationError("password"), ErrorKind.UNAVAILABLE),
        (exceptions.NoPermissionError("acl"), ErrorKind.UNAVAILABLE),
        (ConnectionResetError("reset"), ErrorKind.UNAVAILABLE),
        (exceptions.ResponseError("BUSY Valkey is busy running a script"), ErrorKind.UNAVAILABLE),
        (exceptions.ResponseError("MISCONF cannot save"), ErrorKind.UNAVAILABLE),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), ErrorKind.FULL),
        (exceptions.ResponseError("NOGROUP No such key 'invites:{0}:events'"), ErrorKind.NO_GROUP),
        (exceptions.ResponseError("no such key"), ErrorKind.NO_GROUP),
        (exceptions.MovedError("1 127.0.0.1:7000"), ErrorKind.MOVED),
        (exceptions.AskError("1 127.0.0.1:7000"), ErrorKind.MOVED),
        (exceptions.TryAgainError("half of the keys"), ErrorKind.MOVED),
        (
            exceptions.ResponseError("Script attempted to access a non local key in a cluster node"),
            ErrorKind.MOVED,
        ),
        (RefusedError("it evicts"), ErrorKind.REFUSED),
        (LayoutError("3", 1), ErrorKind.REFUSED),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), ErrorKind.BUG),
        (exceptions.DataError("cannot be packed"), ErrorKind.BUG),
        (exceptions.NoScriptError("no script"), ErrorKind.BUG),
        (RuntimeError("NOGROUP"), ErrorKind.BUG),
    ],
)
def test_each_error_is_of_one_kind(error: Exception, kind: ErrorKind) -> None:
    assert classify(error) is kind
    assert passes(error) is (kind in {ErrorKind.UNAVAILABLE, ErrorKind.FULL, ErrorKind.MOVED})
