"""Identifies a device by its JSON Web Token (RFC 7519)."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import jwt
import msgspec

from invites.config import ConfigError
from invites.events.fields import Id

if TYPE_CHECKING:
    from invites.config.sections import Gateway

_SHORTEST_SECRET: Final = 32  # bytes, for HS256 (RFC 7518, 3.2)
_LEEWAY_S: Final = 5.0
_LONGEST_TOKEN: Final = 8_192
_ASYMMETRIC: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
_PEER: Final = re.compile(r"([0-9a-f]{16})\.[0-9a-f]{24}")


class LoginError(Exception):
    """The token is invalid. The text is one sentence for the device's author; it quotes nothing of the token."""


class Identity(NamedTuple):
    """A user, the device that the token names, and when the login ends (s since 1970)."""

    user: str
    device: str | None
    expires_at: float


class _Claims(msgspec.Struct):
    sub: Id
    exp: Annotated[float, msgspec.Meta(ge=0)]
    device: Id | None = None


class Login:
    """Checks tokens with the keys of the configuration. Raises ConfigError when they are missing or unusable."""

    def __init__(self, gateway: Gateway) -> None:
        self._audience = gateway.audience
        self._secret = "" if gateway.secret is None else gateway.secret.reveal()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        if self._secret and gateway.jwks:
            raise ConfigError("gateway.secret and gateway.jwks exclude each other.")
        if gateway.jwks:
            self._keys = _keys_in(Path(gateway.jwks))
        elif not self._secret:
            raise ConfigError(
                "gateway.secret or gateway.jwks is missing: set the secret (INVITES_GATEWAY_SECRET) or the file of the "
                "public keys with which the tokens of devices are signed."
            )
        elif len(self._secret.encode()) < _SHORTEST_SECRET:
            raise ConfigError(
                f"gateway.secret must have {_SHORTEST_SECRET} bytes or more: generate one with `openssl rand -hex 32`."
            )

    def identify(self, token: str) -> Identity:
        """The owner of the token. Raises LoginError."""
        if len(token) > _LONGEST_TOKEN:
            raise LoginError(f"the token has more than {_LONGEST_TOKEN} characters")
        try:
            claims = jwt.decode(
                token,
                *self._key_of(token),
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": ["sub", "exp"], "verify_aud": self._audience is not None},
            )
            found = msgspec.convert(claims, _Claims)
            msgspec.json.encode(found)  # half of a pair of surrogates is no text
        except jwt.ExpiredSignatureError:
            raise LoginError("the token has expired") from None
        except jwt.ImmatureSignatureError:
            raise LoginError(
                "the token is not valid yet: the clocks of its issuer and of the gateway differ, or nbf is later"
            ) from None
        except jwt.MissingRequiredClaimError as error:
            raise LoginError(f"the token lacks the claim {error.claim}") from None
        except jwt.InvalidAudienceError:
            raise LoginError("the token is for another audience") from None
        except msgspec.ValidationError as error:
            raise LoginError(f"a claim of the token is wrong: {error}") from None
        except (jwt.PyJWTError, ValueError):
            raise LoginError("the token is not valid here") from None
        return Identity(found.sub, found.device, found.exp + _LEEWAY_S)

    def _key_of(self, token: str) -> tuple[Any, list[str]]:
        """The key and the algorithms for it. The token chooses among the keys, never the algorithm of a key."""
        if self._secret:
            return self._secret, ["HS256"]
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._keys.get(kid)
        if key is None:
            raise LoginError("the token names no key of gateway.jwks (header kid)")
        return key.key, [key.algorithm_name]


def _keys_in(file: Path) -> dict[str | None, jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_json(file.read_text("utf-8")).keys
    except OSError as error:
        raise ConfigError(f"gateway.jwks cannot be read: {error.strerror}.") from None
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError):
        raise ConfigError("gateway.jwks is no JSON Web Key Set (RFC 7517) with a usable key.") from None
    found = {
        key.key_id: key
        for key in keys
        if key.algorithm_name in _ASYMMETRIC and key.public_key_use != "enc"  # RFC 7517, 4.2
    }
    if not found:
        raise ConfigError("gateway.jwks has no public key for signatures.")
    return found


def new_peer(user: str) -> str:
    """A new peer id. It belongs to this user: see `is_peer_of`."""
    return f"{_mark(user)}.{secrets.token_hex(12)}"


def is_peer_of(user: str, peer: str) -> bool:
    """Whether a gateway has given this peer id to this user.

    A peer id is no secret, since others learn who accepted. Nobody else can take it: it names its user.
    """
    found = _PEER.fullmatch(peer)
    return found is not None and found[1] == _mark(user)


def _mark(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:16]
