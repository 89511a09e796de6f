"""What `check` and other commands say about each TLS fault of an installation, on a server behind TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.servers.front import CERTIFICATE, EXPIRED, OTHER, TlsFront, key_of

CA = f"ssl_ca_certs={CERTIFICATE}"
OWN = f"ssl_certfile={CERTIFICATE}&ssl_keyfile={key_of(CERTIFICATE)}"


def _tls(commands: Commands, url: str) -> tuple[int, str, str]:
    """Status, verdict and text of the line `tls` of a check; both empty without one."""
    ended = commands.run("check", "--redis-url", url)
    assert ended.err == ""
    lines = [line for line in ended.out.splitlines() if line[6:].startswith("tls ")]
    verdict, text = (lines[0][:4].strip(), lines[0][20:]) if lines else ("", "")
    return ended.status, verdict, text


@pytest.fixture
def port(valkey_server: str) -> int:
    """The port of the Valkey, which does not speak TLS."""
    return int(valkey_server.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def front(port: int) -> Iterator[TlsFront]:
    """TLS in front of it."""
    with TlsFront(port, strict=True) as found:
        yield found


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "The CAs of this machine do not vouch for the certificate of {at} (self"),
        (f"ssl_ca_certs={OTHER}", f"The CA file {OTHER} does not vouch for the certificate of {{at}} (self"),
        (
            "ssl_ca_certs=/no/ca.crt",
            "The file /no/ca.crt of ssl_ca_certs cannot be read (No such file or directory)",
        ),
        (f"ssl_ca_certs={__file__}", f"The file {__file__} holds no certificate or key in PEM ("),
        (f"{CA}&ssl_certfile=/no/c.crt", "The file /no/c.crt of ssl_certfile cannot be read"),
        (
            f"{CA}&ssl_certfile={CERTIFICATE}&ssl_keyfile={key_of(OTHER)}",
            f"The key {key_of(OTHER)} is not that of the certificate {CERTIFICATE}.",
        ),
    ],
)
def test_a_fault_of_the_clients_files_names_the_file(
    commands: Commands, front: TlsFront, options: str, said: str
) -> None:
    at = f"localhost:{front.port}"
    url = f"rediss://{at}/0?{options}"
    status, verdict, text = _tls(commands, url)
    assert (status, verdict) == (1, "FAIL")
    assert text.startswith(said.format(at=at))
    ended = commands.run("status", "--redis-url", url)
    assert (ended.status, len(ended.err.splitlines())) == (1, 1)
    assert text in ended.err


@pytest.mark.usefixtures("database")
def test_a_certificate_that_verifies_needs_no_line(commands: Commands, front: TlsFront) -> None:
    assert _tls(commands, f"rediss://localhost:{front.port}/0?{CA}") == (0, "", "")


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (OTHER, "The certificate of localhost:{port} is for another host (Hostname mismatch"),
        (EXPIRED, "The certificate of localhost:{port} has expired: renew it."),
    ],
)
def test_a_fault_of_the_servers_certificate(
    commands: Commands, port: int, certificate: Path, said: str
) -> None:
    with TlsFront(port, certificate=certificate, strict=True) as front:
        _, verdict, text = _tls(commands, f"rediss://localhost:{front.port}/0?ssl_ca_certs={certificate}")
        assert verdict == "FAIL"
        assert text.startswith(said.format(port=front.port))


def test_a_port_that_speaks_tls_is_named(commands: Commands, front: TlsFront) -> None:
    _, verdict, text = _tls(commands, f"redis://localhost:{front.port}/0")
    said = f"The port localhost:{front.port} speaks TLS: use `rediss` instead of `redis` in redis.url."
    assert (verdict, text) == ("FAIL", said)


def test_a_port_that_does_not_speak_tls_is_named(commands: Commands, port: int) -> None:
    _, verdict, text = _tls(commands, f"rediss://localhost:{port}/0?{CA}")
    said = f"The port localhost:{port} does not speak TLS: use `redis` instead of `rediss` in redis.url."
    assert (verdict, text) == ("FAIL", said)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_wanted_is_asked_for(
    commands: Commands, port: int, newest: ssl.TLSVersion
) -> None:
    with TlsFront(port, strict=True, wanted=CERTIFICATE, newest=newest) as front:
        url = f"rediss://localhost:{front.port}/0?{CA}"
        _, verdict, text = _tls(commands, url)
        assert verdict == "FAIL"
        assert text.startswith(
            f"localhost:{front.port} wants a client certificate: name one with its key in ssl"
        )
        _, verdict, text = _tls(commands, f"{url}&ssl_certfile={OTHER}&ssl_keyfile={key_of(OTHER)}")
        assert verdict == "FAIL"
        assert text.startswith(f"localhost:{front.port} refuses the client certificate {OTHER}")
        assert _tls(commands, f"{url}&{OWN}") == (0, "", "")


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=no"])
def test_a_verification_that_is_off_is_a_warning(commands: Commands, front: TlsFront, option: str) -> None:
    status, verdict, text = _tls(commands, f"rediss://localhost:{front.port}/0?{CA}&{option}")
    assert (status, verdict) == (0, "warn")
    assert option in text


def test_a_server_that_is_away_is_no_fault_of_tls(commands: Commands) -> None:
    assert _tls(commands, f"rediss://127.0.0.1:1/0?{CA}") == (1, "", "")
