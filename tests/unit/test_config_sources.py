"""Where the configuration comes from: the file, the environment, files of secrets, the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from invites import config
from invites.config import Config, ConfigError, load, parse
from invites.values.secret import Secret

_FILE = {"redis": {"prefix": "calls"}, "http": {"token": "from-the-file"}}


def _written(folder: Path, content: object) -> Path:
    file = folder / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


def test_a_file_is_read(tmp_path: Path) -> None:
    file = _written(tmp_path, _FILE)
    assert load(file, environ={}) == parse(_FILE)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file, environ={}) == parse(_FILE), "as an editor for Windows leaves it"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"http": {"port": 1; }}', "line 1, column 20"),
        ("", "not valid JSON"),
        ("// comment\n{}", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"http": {"prot": 1}}', "http.port"),
        ("[]", "must be an object"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = _written(tmp_path, content)
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        load(file, environ={})
    assert said in str(caught.value)


_SECRETS = [
    ({"redis": {"url": "redis://worker:geheim@valkey:6379/0"}}, "redis.url"),
    ({"redis": {"url": "redis+sentinel://s:26379/calls?sentinel_password=geheim"}}, "redis.url"),
    ({"invites": {"basic": {"wac": {"password": "geheim"}}}}, "invites.basic.wac.password"),
    ({"http": {"token": "geheim"}}, "http.token"),
]


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX")
@pytest.mark.parametrize(("content", "field"), _SECRETS)
def test_a_file_with_a_password_that_others_may_change_or_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: object, field: str
) -> None:
    caplog.set_level("INFO")
    file = _written(tmp_path, content)
    for mode, level, said in (
        (0o620, "WARNING", f"Others can change {file}, which holds {field}: run `chmod go-w"),
        (0o602, "WARNING", f"Others can change {file}, which holds {field}: run `chmod go-w"),
        (0o604, "INFO", f"Others can read {file}, which holds {field}: run `chmod o-r"),
    ):
        caplog.clear()
        file.chmod(mode)
        load(file, environ={})
        (record,) = caplog.records
        assert (record.levelname, record.getMessage().startswith(said)) == (level, True), record.getMessage()
        assert "geheim" not in record.getMessage()
    caplog.clear()
    for mode in (0o600, 0o640, 0o400):
        file.chmod(mode)
        load(file, environ={})
    assert caplog.records == []


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX")
def test_a_file_without_a_password_may_belong_to_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = _written(tmp_path, {"redis": {"url": "redis://worker@valkey:6379/0"}})
    file.chmod(0o666)
    load(file, environ={"INVITES_HTTP_TOKEN": "from-the-environment"})
    assert caplog.records == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            load(file, environ={})
        assert str(file) in str(caught.value)
    (tmp_path / "latin.json").write_bytes(b'{"x": "\xe9"}')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.json", environ={})


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = _written(tmp_path, {"redis": {"url": "redis://file"}})
    environ = {"INVITES_REDIS_URL": "redis://environment"}
    assert load(file, environ={}).redis.url == Secret("redis://file")
    assert load(file, environ=environ).redis.url == Secret("redis://environment")
    assert load(file, redis_url="redis://line", environ=environ).redis.url == Secret("redis://line")
    assert load(environ={}).redis.url is None


@pytest.mark.parametrize("variable", ["INVITES_REDIS_URL", "INVITES_WAC_PASSWORD", "INVITES_HTTP_TOKEN"])
def test_secrets_come_from_the_environment_or_from_files(tmp_path: Path, variable: str) -> None:
    def found(environ: dict[str, str]) -> Secret | None:
        loaded = load(environ=environ)
        return {
            "INVITES_REDIS_URL": loaded.redis.url,
            "INVITES_WAC_PASSWORD": loaded.invites.basic.wac.password,
            "INVITES_HTTP_TOKEN": loaded.http.token,
        }[variable]

    secret = "redis://from-elsewhere"
    file = tmp_path / "secret"
    file.write_text(f"{secret}\r\n", "utf-8")
    assert found({variable: secret}) == Secret(secret)
    assert found({f"{variable}_FILE": str(file)}) == Secret(secret)
    assert found({variable: "", f"{variable}_FILE": ""}) is None
    assert found({variable: "", f"{variable}_FILE": str(file)}) == Secret(secret)
    with pytest.raises(ConfigError, match="both set"):
        found({variable: secret, f"{variable}_FILE": str(file)})


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (b"x" * 65537, "large")],
)
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load(environ={"INVITES_HTTP_TOKEN_FILE": str(file)})
    assert f"INVITES_HTTP_TOKEN_FILE names {file}" in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "umläut", "tab\t", "line\nend"])
def test_a_token_that_no_header_can_carry_is_refused_unseen(token: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.token") as caught:
        load(environ={"INVITES_HTTP_TOKEN": token})
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey",
        "redis://valkey:6379/0",
        "redis://user:p%40ss%2Fw%23rd@valkey:6379/15",
        "redis://:secret@[::1]:6379",
        "rediss://valkey/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
        "unix:///run/valkey/valkey.sock",
        "unix://user:secret@/run/valkey/valkey.sock?db=3",
        "redis://valkey?db=3",
        "redis+sentinel://one,two:26380,[::1]:26381/calls",
        "rediss+sentinel://user:secret@one/calls/3?sentinel_username=s&sentinel_password=x&sentinel_ssl=no",
        "redis+cluster://user:secret@one:7000,two:7001,three",
        "rediss+cluster://one/0?ssl_ca_certs=/ca.pem",
    ],
)
def test_urls_that_are_served(url: str) -> None:
    assert load(redis_url=url, environ={}).redis.url == Secret(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "has no scheme"),
        ("valkey:6379", "has no scheme"),
        ("redis://", "must name a host"),
        ("redis://:hunter2@", "must name a host"),
        ("redis://valkey:0", "must name a host and a port"),
        ("redis://valkey:99999", "no valid port"),
        ("redis://:hunter2/x@valkey", "no valid port"),
        ("redis://:hunter2#x@valkey", "contains a `#`"),
        ("redis://[::1", "is not a URL"),
        ("redis://valkey/zero", "database number"),
        ("redis://valkey?db=zero", "number as its database"),
        ("redis://valkey?socket_timeout=1", "'socket_timeout'"),
        ("redis://valkey?ssl_ca_certs=/x", "'ssl_ca_certs'"),
        ("rediss://valkey?ssl_ca_cert=/x", "did you mean ssl_ca_certs?"),
        ("unix://run/valkey.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("http://valkey", "http://, which is not a known scheme"),
        ("valkey://valkey", "did you mean redis://?"),
        ("redsi://valkey", "did you mean redis://?"),
        ("redis://one,two", "names several servers"),
        ("redis://user:12?hunter2@valkey", "a second @"),
        ("redis://user:12/hunter2@valkey", "a second @"),
        ("rediss://valkey?ssl_cert_reqs=hunter2", "one of required, optional, none as ssl_cert_reqs"),
        ("rediss://valkey?ssl_check_hostname=maybe", "yes or no as ssl_check_hostname"),
        ("redis+sentinel://valkey:26379", "must name the service"),
        ("redis+sentinel://one,:26379/calls", "must name a host"),
        ("redis+sentinel://one,two:x/calls", "no valid port"),
        ("redis+sentinel://one/calls/zero", "database number"),
        ("redis+sentinel://one/calls?sentinel_pasword=hunter2", "did you mean sentinel_password?"),
        ("redis+sentinel://one/calls?sentinel_ssl=yes", "'sentinel_ssl'"),
        ("redis+sentinel://user:12/hunter2@one/calls", "a second @"),
        ("redis+cluster://one,two/1", "database 0 only"),
        ("redis+cluster://one?db=0", "takes no options"),
        ("redis+clutser://one", "did you mean redis+cluster://?"),
    ],
)
def test_urls_that_are_refused_are_not_repeated(url: str, said: str, tmp_path: Path) -> None:
    file = _written(tmp_path, {"redis": {"url": url or "x"}})
    cases: dict[str, Callable[[], Config]] = {
        "--redis-url": lambda: load(redis_url=url, environ={}),
        "INVITES_REDIS_URL": lambda: load(environ={"INVITES_REDIS_URL": url or "x"}),
        "redis.url": lambda: load(file, environ={}),
    }
    for origin, loaded in cases.items():
        with pytest.raises(ConfigError) as caught:
            loaded()
        sentence = str(caught.value)
        assert sentence.startswith(origin)
        assert said in sentence
        assert "hunter2" not in sentence


def test_an_overridden_url_is_not_looked_at(tmp_path: Path) -> None:
    file = _written(tmp_path, {"redis": {"url": "valkey"}})
    assert load(file, redis_url="redis://valkey", environ={}).redis.url == Secret("redis://valkey")


def test_a_password_from_the_environment_will_do_for_lookups(tmp_path: Path) -> None:
    wac = {"address": "http://wac:8000", "username": "admin@quobis"}
    file = _written(tmp_path, {"invites": {"basic": {"resolvePush": True, "wac": wac}}})
    with pytest.raises(ConfigError, match=r"wac\.password is missing: .* INVITES_WAC_PASSWORD"):
        config.check_lookups(load(file, environ={}))
    config.check_lookups(load(file, environ={"INVITES_WAC_PASSWORD": "x"}))


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVITES_HTTP_TOKEN", "from-the-process")
    assert config.load().http.token == Secret("from-the-process")


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(_written(folder, text), environ={})
    return str(caught.value)


@pytest.mark.parametrize("digits", [309, 400, 401, 5000, 100_000])
def test_a_number_of_any_length_is_refused_by_its_field(tmp_path: Path, digits: int) -> None:
    for sign in ("", "-"):
        sentence = _refusal(tmp_path, f'{{"invites": {{"ringTimeout": {sign}{"9" * digits}}}}}')
        assert "invites.ringTimeout must be" in sentence
        assert "not a huge number" in sentence
    other = _written(tmp_path, f'{{"another": {"9" * digits}}}')
    assert load(other, environ={}) == Config()


@pytest.mark.parametrize(
    "text",
    [
        "// x\n{}",
        "{// x\n}",
        '{"http": {"port": 1, // x\n}}',
        '{"http": {"port": 1 /* x */}}',
        "{} // x",
        "{\n# x\n}",
    ],
)
def test_comments_are_told(tmp_path: Path, text: str) -> None:
    assert "JSON has no comments: remove the one (line " in _refusal(tmp_path, text)


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a": 1,\n}', '{"a": [1, ]}', '{"http": {"port": 1 , } }'])
def test_a_comma_too_many_is_told(tmp_path: Path, text: str) -> None:
    assert "remove the comma before the " in _refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "home"),
    [
        ({"invites": {"resolvePush": True}}, "invites.basic.resolvePush"),
        ({"invites": {"basic": {"ringTimeout": 1}}}, "invites.ringTimeout"),
        ({"redis": {"claimAfter": 1}}, "invites.claimAfter"),
        ({"invites": {"basic": {"breakFor": 1}}}, "invites.basic.wac.breakFor"),
        ({"http": {"SHARDS": 1}}, "redis.shards"),
    ],
)
def test_a_key_in_the_wrong_section_is_told_where_it_belongs(content: object, home: str) -> None:
    with pytest.raises(ConfigError, match=rf"is in the wrong section: it belongs to {home}\."):
        parse(content)
    with pytest.raises(ConfigError, match=r"redis\.password is not a known key"):
        parse({"redis": {"password": "x"}})


def test_a_key_that_is_there_twice_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"prefix": "a"}, "invites": {"story": false}, "redis": {"shards": 3}}')
    found = load(file, environ={}).redis
    assert (found.prefix, found.shards) == ("invites", 3)
    (record,) = caplog.records
    assert record.getMessage() == f"{file} has the key redis twice in an object: the last one counts."
