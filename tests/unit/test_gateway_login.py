"""The tokens and keys of logins at the WebSocket gateway."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from invites.config import ConfigError
from invites.config.sections import Gateway
from invites.values.secret import Secret
from tests.support.devices import SECRET, token
from workers.gateway.login import Login, LoginError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"lasts_s": -60}, "the token has expired"),
        ({"exp": None}, "the token lacks the claim exp"),
        ({"sub": "a b"}, "a claim of the token is wrong: "),
        ({"device": "{0}"}, "a claim of the token is wrong: "),
        ({"device": "\ud800"}, "the token is not valid here"),
        ({"aud": "other"}, "the token is for another audience"),
        (
            {"iat": time.time() + 600},
            "the token is not valid yet: the clocks of its issuer and of the gateway",
        ),
        (
            {"nbf": time.time() + 600},
            "the token is not valid yet: the clocks of its issuer and of the gateway",
        ),
    ],
)
def test_a_token_that_is_wrong_is_refused(claims: dict[str, Any], sentence: str) -> None:
    login = Login(Gateway(secret=Secret(SECRET), audience="invites"))
    with pytest.raises(LoginError) as refused:
        login.identify(token(**{"user": "bob", "aud": "invites", **claims}))
    assert str(refused.value).startswith(sentence)


def test_a_token_that_clocks_still_allow_lasts_as_long_as_they_do() -> None:
    login = Login(Gateway(secret=Secret(SECRET)))
    assert login.identify(token("bob", lasts_s=-1)).expires_at > time.time()


def test_a_token_cannot_choose_its_algorithm(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{**public, "kid": "k1", "alg": "ES256", "use": "sig"}]}))
    login = Login(Gateway(jwks=str(file)))
    claims = {"sub": "bob", "exp": time.time() + 60, "device": "dev-1"}
    good = jwt.encode(claims, key, algorithm="ES256", headers={"kid": "k1"})
    assert login.identify(good)[:2] == ("bob", "dev-1")
    forged = [
        jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": "k1"}),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "k1"}),
        jwt.encode(claims, "", algorithm="none", headers={"kid": "k1"}),
        jwt.encode(claims, key, algorithm="ES256"),
        good[:-4],
        "x" * 10_000,
    ]
    for one in forged:
        with pytest.raises(LoginError):
            login.identify(one)
    with pytest.raises(LoginError):
        Login(Gateway(secret=Secret(SECRET))).identify(jwt.encode(claims, "", algorithm="none"))


def test_a_key_for_encryption_signs_no_token(tmp_path: Path) -> None:
    public = json.loads(
        jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
    )
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{**public, "kid": "k1", "use": "enc"}]}))
    with pytest.raises(ConfigError, match=r"gateway\.jwks has no public key for signatures"):
        Login(Gateway(jwks=str(file)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "gateway.secret or gateway.jwks is missing"),
        ({"secret": Secret("short")}, "gateway.secret must have 32 bytes or more"),
        ({"secret": Secret(SECRET), "jwks": "x"}, "gateway.secret and gateway.jwks exclude each other."),
        ({"jwks": "/nowhere/jwks.json"}, "gateway.jwks cannot be read: No such file or directory."),
    ],
)
def test_keys_that_are_missing_or_unusable_are_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Login(Gateway(**settings))
    assert str(refused.value).startswith(sentence)
