from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from batchroute.errors import JobFault
from batchroute.job.endpoint import EndpointSpec, SimulateSpec
from batchroute.job.secrets import EndpointSecrets, Secret, endpoint_secrets, key_faults, resolve_key
from batchroute.job.spec import EmbedderSpec

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "sk-canary-0123456789abcdef"
URL = "https://api.example.com/v1"


def endpoint(**settings: object) -> EndpointSpec:
    return EndpointSpec.model_validate({"model": "m", "base_url": URL, **settings})


def test_a_secret_masks_itself() -> None:
    secret = Secret(CANARY)
    assert CANARY[:8] not in f"{secret} {secret!r} {EndpointSecrets(secret, {'x': secret})} {[secret]}"
    assert secret.reveal() == CANARY


def test_a_key_comes_from_its_variable_before_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{CANARY}\n")
    from_file = {"KEY_FILE": str(tmp_path / "key")}
    assert resolve_key("KEY", from_file) == Secret(CANARY)
    assert resolve_key("KEY", {**from_file, "KEY": " other "}) == Secret("other")
    assert resolve_key("KEY", {**from_file, "KEY": ""}) == Secret(CANARY)


def test_an_empty_key_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert resolve_key("KEY", {}) is None
    assert resolve_key("KEY", {"KEY": "  "}) is None
    assert resolve_key("KEY", {"KEY_FILE": str(tmp_path / "key")}) is None


def test_a_key_file_that_is_empty_is_named_and_not_said_to_be_unset(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    endpoint = {"model": "m", "base_url": "https://x.example/v1", "api_key_env": "KEY"}
    faults = list(key_faults({"endpoints": {"strong": endpoint}}, {"KEY_FILE": str(tmp_path / "key")}))
    words = f"the key file {tmp_path / 'key'} of KEY_FILE is empty; write the key into it"
    assert faults == [(("endpoints", "strong", "api_key_env"), words)]


@pytest.mark.parametrize("key", [f"{CANARY}\nx: y", f"“{CANARY}”", f"{CANARY}\x00"])
def test_a_key_no_header_can_carry_is_a_fault_that_does_not_show_it(key: str) -> None:
    with pytest.raises(JobFault, match="OUR_KEY holds characters") as caught:
        resolve_key("OUR_KEY", {"OUR_KEY": key})
    assert CANARY[:8] not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_key_file_that_cannot_be_read_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        JobFault, match=rf"the key file {path} of OUR_KEY_FILE cannot be read \(.*\); fix"
    ) as caught:
        resolve_key("OUR_KEY", {"OUR_KEY_FILE": str(path)})
    assert "codec" not in "".join(traceback.format_exception(caught.value))


def test_a_key_in_place_of_its_files_path_is_not_shown() -> None:
    with pytest.raises(JobFault, match="the key file of OUR_KEY_FILE cannot be read") as caught:
        resolve_key("OUR_KEY", {"OUR_KEY_FILE": CANARY})
    assert CANARY[:8] not in "".join(traceback.format_exception(caught.value))


def test_an_endpoints_secrets_are_its_key_and_its_headers_from_the_environment() -> None:
    spec = endpoint(api_key_env="KEY", headers={"x-team": "data", "x-token": {"env": "TOKEN"}})
    found = endpoint_secrets(spec, {"KEY": CANARY, "TOKEN": "t"})
    assert found == EndpointSecrets(Secret(CANARY), {"x-token": Secret("t")})
    with pytest.raises(JobFault, match="TOKEN is not set"):
        endpoint_secrets(spec, {"KEY": CANARY})


def test_what_needs_no_key_has_none() -> None:
    simulated = EndpointSpec(model="m", simulate=SimulateSpec(), api_key_env="KEY")
    for spec in (simulated, endpoint(), EmbedderSpec()):
        assert endpoint_secrets(spec, {}) == EndpointSecrets(None, {})


def test_key_faults_have_their_places() -> None:
    settings = {
        "endpoints": {
            "strong": {"base_url": URL, "api_key_env": "A"},
            "weak": {"base_url": URL, "headers": {"x": {"env": "B"}, "y": "plain"}},
        },
        "router": {"embedder": {"use": "openai", "api_key_env": "C"}},
    }
    assert [loc for loc, _ in key_faults(settings, {"C": "\x00"})] == [
        ("endpoints", "strong", "api_key_env"),
        ("endpoints", "weak", "headers", "x"),
        ("router", "embedder", "api_key_env"),
    ]
    assert list(key_faults(settings, {"A": "a", "B": "b", "C": "c"})) == []


def test_a_key_pasted_in_the_place_of_its_name_is_not_shown() -> None:
    settings = {"endpoints": {"strong": {"base_url": URL, "api_key_env": "gsk_0123456789abcdef"}}}
    [(_, what)] = key_faults(settings, {})
    assert "0123456" not in what
