"""Layers of an application below the API: files and secrets, and the keys that seal values."""

import json

import grpc
import pytest

from server import KeelsonServer

from keelson.configuration.v1 import configuration_pb2 as pb
from keelson.configuration.v1 import configuration_pb2_grpc

SHOP = {"application": "shop", "environment": "production"}
MARKED = "marked-secret-8a6f"


def write(folder, name, value):
    """Puts a file in its place in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{name}.draft"
    draft.write_text(value if isinstance(value, str) else json.dumps(value))
    draft.chmod(0o600)
    draft.rename(folder / name)


@pytest.fixture
def shop(tmp_path):
    """A server whose settings name the layers of an application; its folder, and a stub."""
    write(tmp_path / "shop", "appsettings.json", {"Title": "Shop", "Page": {"Size": 10}})
    write(tmp_path / "shop", "appsettings.Production.json", {"Page": {"Size": 20}})
    write(tmp_path / "secrets", "Database__Password", f"{MARKED}\n")
    write(
        tmp_path / "configuration",
        "appsettings.json",
        {
            "Applications": {
                "shop": {
                    "Folder": str(tmp_path / "shop"),
                    "SecretFolder": str(tmp_path / "secrets"),
                }
            }
        },
    )
    server = KeelsonServer(
        tmp_path / "server", arguments=("--config", tmp_path / "configuration")
    ).start()
    channel = grpc.insecure_channel(server.address)
    yield tmp_path, configuration_pb2_grpc.ConfigurationServiceStub(channel), server
    channel.close()
    server.stop()


def get(stub, key, **more):
    return stub.GetSetting(pb.GetSettingRequest(**SHOP, key=key, **more), timeout=20)


def test_layers_are_merged_and_followed(shop):
    folder, stub, server = shop
    assert get(stub, "Title").value.string_value == "Shop"
    size = get(stub, "Page:Size")
    assert size.value.integer_value == 20
    assert size.layer == pb.LAYER_ENVIRONMENT_FILE
    password = get(stub, "Database:Password")
    assert password.sensitive and password.masked
    assert MARKED not in str(password)
    watch = stub.WatchSettings(pb.WatchSettingsRequest(**SHOP), timeout=60)
    snapshot = next(watch)
    assert snapshot.WhichOneof("event") == "snapshot"
    write(folder / "shop", "appsettings.Production.json", {"Page": {"Size": 30}})
    for message in watch:
        if message.WhichOneof("event") == "change":
            break
    assert get(stub, "Page:Size").value.integer_value == 30
    watch.cancel()
    # Neither the log nor the database has the secret of a lower layer.
    assert MARKED not in server.log_text()
    for file in server.data.rglob("*"):
        if file.is_file():
            assert MARKED.encode() not in file.read_bytes(), file


def test_a_first_key_seals_and_another_takes_over(shop):
    folder, stub, server = shop
    [first] = (server.data / "keys").glob("*.key")
    assert first.stat().st_mode & 0o777 == 0o600
    assert "Made a first encryption key" in server.log_text()
    stub.SetSetting(
        pb.SetSettingRequest(
            **SHOP,
            key="Api:Key",
            value=pb.SettingValue(string_value=MARKED),
            sensitive=True,
        ),
        timeout=20,
    )
    assert get(stub, "Api:Key", reveal=True).value.string_value == MARKED
    write(server.data / "keys", "zz.key", "0a" * 32)
    *_, last = stub.RotateKey(
        pb.RotateKeyRequest(**SHOP, rotation=pb.ROTATION_WRAPPING), timeout=20
    )
    assert last.finished and last.wrapping_key_id == "zz"
    # The first key is not needed any more.
    server.stop()
    first.unlink()
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        stub = configuration_pb2_grpc.ConfigurationServiceStub(channel)
        assert get(stub, "Api:Key", reveal=True).value.string_value == MARKED
    for file in server.data.rglob("*"):
        if file.is_file():
            assert MARKED.encode() not in file.read_bytes(), file
