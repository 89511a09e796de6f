"""Generates events as hypothesis strategies: valid ones, damaged ones, and ones of the right shape with any values."""

import json
from typing import Final

from hypothesis import strategies as st

from invites.events.protocol import EVENT_TYPES
from tests.support.malformed import VALID

GOOD: Final = [(kind, json.dumps(payload).encode()) for kind, payload in VALID]
kinds = st.sampled_from([kind.encode() for kind in EVENT_TYPES])


@st.composite
def torn(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw the bytes without a piece of them, or with another one."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 12)))
    piece = draw(
        st.binary(max_size=6) | st.text(max_size=3).map(lambda text: text.encode(errors="surrogatepass"))
    )
    return whole[:start] + piece + whole[end:]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a valid event of which a piece was cut out, replaced, or put in."""
    kind, payload = draw(st.sampled_from(GOOD))
    return kind.encode(), draw(torn(payload))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES: Final = (
    "peer", "id", "user", "to", "from", "inviteId", "room", "callee", "registry", "userId", "roomId", "session",
    "errorCode", "expires", "transaction", "context", "mediatypes", "requestId", "returnOf", "match", "trunk", "device",
    "dnd", "until", "block",
)  # fmt: skip
objects = st.dictionaries(
    st.sampled_from(NAMES),
    values | st.fixed_dictionaries({"id": values, "user": values}) | st.sampled_from(["a", 486, True]),
    max_size=9,
)
published = (
    st.tuples(
        kinds | st.binary(max_size=12), st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode())
    )
    | st.tuples(kinds, objects.map(lambda value: json.dumps(value).encode()))
    | damaged()
)
