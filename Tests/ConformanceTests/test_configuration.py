"""Configuration: settings, schema, layers, watches that resume, secrets, keys, the command line."""

import json
import threading
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from keelson.configuration.v1 import configuration_pb2 as configuration
from keelson.configuration.v1 import configuration_pb2_grpc as configuration_grpc

import auditing
from auditing import audit
from client import details, events
from postgres import PrivatePostgres
from server import run

Code = grpc.StatusCode
TIMEOUT_SECONDS = 30


class Settings:
    """The settings of one application, over a channel."""

    def __init__(self, channel, application):
        self.stub = configuration_grpc.ConfigurationServiceStub(channel)
        self.application = application

    def set(self, key, value, **more):
        kinds = {bool: "boolean_value", int: "integer_value", str: "string_value"}
        given = configuration.SettingValue(**{kinds[type(value)]: value})
        return self.stub.SetSetting(
            configuration.SetSettingRequest(
                application=self.application, key=key, value=given, **more
            ),
            timeout=TIMEOUT_SECONDS,
        )

    def get(self, key, **more):
        return self.stub.GetSetting(
            configuration.GetSettingRequest(application=self.application, key=key, **more),
            timeout=TIMEOUT_SECONDS,
        )

    def all(self):
        answer = self.stub.ListSettings(
            configuration.ListSettingsRequest(application=self.application, page_size=1000),
            timeout=TIMEOUT_SECONDS,
        )
        return {each.key: value(each.value) for each in answer.settings}

    def watch(self, **more):
        return self.stub.WatchSettings(
            configuration.WatchSettingsRequest(application=self.application, **more),
            timeout=TIMEOUT_SECONDS,
        )

    def define(self, *rules, closed=True, **more):
        schema = configuration.Schema(application=self.application, rules=rules, closed=closed)
        return self.stub.DefineSchema(
            configuration.DefineSchemaRequest(schema=schema, **more), timeout=TIMEOUT_SECONDS
        )


def value(message):
    kind = message.WhichOneof("kind")
    return getattr(message, kind) if kind else None


def fold(state, response):
    """What a watcher knows after a message."""
    kind = response.WhichOneof("event")
    if kind == "snapshot":
        return {each.key: value(each.value) for each in response.snapshot.settings}
    if kind == "change":
        state = dict(state)
        for each in response.change.settings:
            state[each.key] = value(each.value)
        for each in response.change.removed_keys:
            del state[each]
    return state


@pytest.fixture
def settings(client, key):
    return Settings(client.channel, f"app-{key}")


def refusal(code, call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() == code, raised.value
    return raised.value


def test_a_setting_is_set_read_listed_and_deleted(settings):
    first = settings.set("Database:Url", "postgres://a", etag="none")
    assert first.layer == configuration.LAYER_API and first.etag != "none"
    assert value(settings.get("Database:Url").value) == "postgres://a"
    settings.set("Server:Port", 8080)
    assert settings.all() == {"Database:Url": "postgres://a", "Server:Port": 8080}
    settings.stub.DeleteSetting(
        configuration.DeleteSettingRequest(application=settings.application, key="Server:Port")
    )
    refusal(Code.NOT_FOUND, lambda: settings.get("Server:Port"))
    error = refusal(Code.ABORTED, lambda: settings.set("Database:Url", "b", etag="none"))
    (info,) = details(error, error_details_pb2.ErrorInfo)
    assert info.metadata["etag"] == first.etag


def test_every_violation_is_a_field_of_its_own(settings):
    integer, text = configuration.SETTING_TYPE_INTEGER, configuration.SETTING_TYPE_STRING
    settings.define(
        configuration.SettingRule(
            key="Server:Port",
            type=integer,
            maximum=configuration.SettingValue(integer_value=65535),
        ),
        configuration.SettingRule(key="Mode", type=text, pattern="fast|safe"),
    )
    changes = [
        ("Server:Port", configuration.SettingValue(integer_value=70000)),
        ("Mode", configuration.SettingValue(string_value="slow")),
        ("Server:Prot", configuration.SettingValue(integer_value=1)),
    ]
    request = configuration.BatchSetSettingsRequest(
        application=settings.application,
        changes=[configuration.SettingChange(key=key, value=given) for key, given in changes],
    )
    error = refusal(
        Code.INVALID_ARGUMENT, lambda: settings.stub.BatchSetSettings(request)
    )
    (bad,) = details(error, error_details_pb2.BadRequest)
    assert [(each.field, each.reason) for each in bad.field_violations] == [
        ("changes[0].value", "MAXIMUM"),
        ("changes[1].value", "PATTERN"),
        ("changes[2].value", "KNOWN_KEY"),
    ]
    assert "'Server:Port'" in bad.field_violations[2].description
    assert settings.all() == {}


def test_a_watch_resumes_across_a_restart_without_loss(launch, dial):
    server = launch()
    client = dial(server)
    settings = Settings(client.channel, "shop")
    settings.set("A", 1)
    stream = settings.watch()
    first = next(stream)
    state = fold({}, first)
    stream.cancel()
    for number in range(20):
        settings.set("A", number + 2)
        settings.set(f"K{number}", number)
    server.kill()
    server.start()
    client = dial(server)
    settings = Settings(client.channel, "shop")
    stream = settings.watch(resume_revision=first.revision, resume_layers=first.layers)
    seen = []
    for _ in range(40):
        response = next(stream)
        assert response.WhichOneof("event") == "change"
        seen.append(response.revision)
        state = fold(state, response)
    stream.cancel()
    assert seen == sorted(set(seen))
    assert state == settings.all()


def test_files_are_reloaded_and_what_breaks_the_schema_is_refused(launch, dial, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "appsettings.json").write_text('{"Server": {"Port": 80, "Name": "base"}}')
    (folder / "appsettings.Production.json").write_text('{"Server": {"Port": 81}}')
    config = tmp_path / "appsettings.json"
    config.write_text(
        json.dumps({"Applications": {"shop": {"Folder": str(folder), "VariablePrefix": "SHOP__"}}})
    )
    server = launch(arguments=["--config", config])
    settings = Settings(dial(server).channel, "shop")
    assert settings.all() == {"Server:Name": "base", "Server:Port": 81}
    settings.define(
        configuration.SettingRule(key="Server:Port", type=configuration.SETTING_TYPE_INTEGER),
        configuration.SettingRule(key="Server:Name", type=configuration.SETTING_TYPE_STRING),
    )
    stream = settings.watch()
    state = fold({}, next(stream))
    (folder / "appsettings.json").write_text('{"Server": {"Port": 80, "Name": "other"}}')
    while state["Server:Name"] != "other":
        state = fold(state, next(stream))
    (folder / "appsettings.Production.json").write_text('{"Server": {"Prot": 81}}')
    error = refusal(
        Code.FAILED_PRECONDITION,
        lambda: settings.stub.ReloadSettings(
            configuration.ReloadSettingsRequest(application="shop")
        ),
    )
    (bad,) = details(error, error_details_pb2.BadRequest)
    assert [each.field for each in bad.field_violations] == ['settings["Server:Prot"]']
    assert settings.all() == {"Server:Name": "other", "Server:Port": 81}
    (folder / "appsettings.Production.json").write_text('{"Server": {"Port": 82')
    error = refusal(
        Code.FAILED_PRECONDITION,
        lambda: settings.stub.ReloadSettings(
            configuration.ReloadSettingsRequest(application="shop")
        ),
    )
    assert "appsettings.Production.json" in error.details() and str(tmp_path) not in error.details()
    (folder / "appsettings.Production.json").write_text('{"Server": {"Port": 82}}')
    while state["Server:Port"] != 82:
        state = fold(state, next(stream))
    stream.cancel()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request):
    """What keeps the data: arguments for the server, and where all of it lies in the end."""
    if request.param == "sqlite":
        yield [], None
        return
    # It logs every statement with its parameters, so that nothing goes by unseen.
    postgres = PrivatePostgres(log_statement="all", log_parameter_max_length_on_error=-1)
    yield ["--database", postgres.create_database()], postgres
    postgres.remove()


def test_no_planted_secret_is_found_anywhere(launch, dial, tmp_path, store):
    """Plants marked secrets, uses everything, then searches files, logs, rows and answers."""
    arguments, postgres = store
    mark = f"PLANTED{uuid.uuid4().hex}"
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "Shop__Store").write_text(f"{mark}-store")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "spring.key").write_text("11" * 32)
    (keys / "spring.key").chmod(0o600)
    config = tmp_path / "appsettings.json"
    config.write_text(
        json.dumps(
            {
                "Applications": {"shop": {"SecretSection": "Shop"}},
                "Encryption": {"KeyPath": str(keys)},
                "Secrets": {"Files": {"Folder": str(secrets)}},
            }
        )
    )
    server = launch(arguments=["--config", config, *arguments], log_level="debug")
    client = dial(server)
    settings = Settings(client.channel, "shop")
    text, integer = configuration.SETTING_TYPE_STRING, configuration.SETTING_TYPE_INTEGER
    settings.define(
        configuration.SettingRule(key="Password", type=text, sensitive=True),
        configuration.SettingRule(key="Pin", type=integer, sensitive=True),
        closed=False,
    )
    answers = [settings.set("Password", f"{mark}-one"), settings.set("Password", f"{mark}-two")]
    answers.append(settings.set("Asked", f"{mark}-asked", sensitive=True))
    answers.append(settings.set("Long", f"{mark}-long" * 1000, sensitive=True))
    scope = {"application": "shop"}
    answers.append(
        settings.stub.CreateSnapshot(configuration.CreateSnapshotRequest(name="one", **scope))
    )
    answers.append(settings.set("Password", f"{mark}-three"))
    answers.append(settings.get("Password"))
    answers.append(settings.get("Store"))
    answers.append(settings.stub.ListSettings(configuration.ListSettingsRequest(**scope)))
    answers.append(
        settings.stub.ListSettingHistory(configuration.ListSettingHistoryRequest(**scope))
    )
    answers.append(settings.stub.GetSnapshot(configuration.GetSnapshotRequest(name="one", **scope)))
    answers.append(
        refusal(Code.INVALID_ARGUMENT, lambda: settings.set("Pin", f"{mark}-pin"))
    )
    stream = settings.watch()
    answers.append(next(stream))
    stream.cancel()
    answers.append(
        settings.stub.RollbackSettings(
            configuration.RollbackSettingsRequest(to_snapshot="one", **scope)
        )
    )
    answers += list(settings.stub.RotateKey(configuration.RotateKeyRequest(**scope)))
    assert answers[-1].finished
    answers.append(client.events.ListEvents(events.ListEventsRequest(page_size=1000)))
    answers.append(auditing.stub(client).ListEntries(audit.ListEntriesRequest(page_size=1000)))
    assert "Password" in str(answers[-1]) and "Password" in str(answers[-2])
    revealed = settings.get("Password", reveal=True)
    assert value(revealed.value) == f"{mark}-two"
    for number in range(3):
        said = run("config", ["list", "history", "applications"][number], "--server",
                   server.address, *([] if number == 2 else ["--application", "shop"]))  # fmt: skip
        assert said.returncode == 0, said.stderr
        assert mark not in said.stdout + said.stderr
    assert mark not in "".join(map(str, answers))
    server.stop()
    assert mark not in server.log_text()
    folders = [server.data]
    if postgres:
        # What lies in tables, in the write-ahead log and in the server's own log.
        postgres.query("CHECKPOINT")
        assert "setting.set" in (postgres.folder / "log").read_text(errors="replace")
        postgres.stop()
        folders.append(postgres.folder)
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > (100 if postgres else 0)
    for file in files:
        content = file.read_bytes()
        assert mark.encode() not in content, file
        # As PostgreSQL writes bytes in its log.
        assert mark.encode().hex().encode() not in content, file
    assert (secrets / "Shop__Store").exists()


def test_a_lost_key_is_named_and_the_rest_works(launch, dial, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "spring.key").write_text("11" * 32)
    (keys / "spring.key").chmod(0o600)
    config = tmp_path / "appsettings.json"
    config.write_text(json.dumps({"Encryption": {"KeyPath": str(keys)}}))
    server = launch(arguments=["--config", config])
    settings = Settings(dial(server).channel, "shop")
    settings.set("Password", "hidden", sensitive=True)
    settings.set("Open", 1)
    server.stop()
    (keys / "spring.key").unlink()
    (keys / "summer.key").write_text("22" * 32)
    (keys / "summer.key").chmod(0o600)
    server.start()
    settings = Settings(dial(server).channel, "shop")
    error = refusal(Code.FAILED_PRECONDITION, lambda: settings.get("Password", reveal=True))
    assert "spring" in error.details()
    assert settings.all() == {"Open": 1, "Password": "******"}
    settings.set("Open", 2)


def test_the_command_line_sets_watches_and_rolls_back(launch, tmp_path):
    server = launch()
    options = ["--server", server.address, "--application", "shop"]

    def config(*words, stdin=None, fails=False):
        done = run("config", *words, *options, stdin=stdin)
        assert (done.returncode != 0) == fails, done.stderr + done.stdout
        return done.stdout if not fails else done.stderr + done.stdout

    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "closed": True,
                "rules": [
                    {"key": "Server:Port", "type": "integer", "minimum": 1, "default": 8080},
                    {"key": "Server:Timeout", "type": "duration"},
                    {"key": "Database:Password", "type": "string", "sensitive": True},
                ],
            }
        )
    )
    run("config", "schema", "define", schema, *options)
    assert "8080" in config("list")
    config("set", "Server:Port", "9090")
    first = json.loads(config("get", "Server:Port", "--output", "json"))
    config("set", "Server:Timeout", "90s")
    assert "has to be" in config("set", "Server:Port", "many", fails=True)
    assert "did you mean 'Server:Port'" in config("set", "Server:Prot", "1", fails=True)
    assert "standard input" in config("set", "Database:Password", "hunter2", fails=True)
    said = config("set", "Database:Password", stdin="hunter2\n")
    assert "hunter2" not in said and "******" in said
    assert "hunter2" in config("get", "Database:Password", "--reveal")
    config("snapshots", "create", "before")
    changes = tmp_path / "changes.json"
    changes.write_text('{"Server": {"Port": 1, "Timeout": null}}')
    config("validate", changes)
    config("batch", changes)
    assert "Server:Timeout" not in config("list")
    config("rollback", "--snapshot", "before")
    assert "90s" in config("list")
    config("rollback", "--revision", first["revision"])
    assert "90s" not in config("list")
    assert config("history", "Server:Port").count("Server:Port") >= 3
    config("delete", "Server:Port")
    assert "8080" in config("list")
    bad = tmp_path / "bad.json"
    bad.write_text('{"Server": {"Port": 0}}')
    assert "minimum" in config("validate", bad, fails=True)
    config("set", "Database:Password", stdin="again")
    assert "finished" in config("rotate-key")
    assert "shop" in run("config", "applications", "--server", server.address).stdout


def test_many_writers_and_watchers_agree(launch, dial):
    server = launch()
    writers = [Settings(dial(server).channel, "shop") for _ in range(4)]
    watchers = [Settings(dial(server).channel, "shop") for _ in range(4)]
    streams = [watcher.watch() for watcher in watchers]
    states = [fold({}, next(stream)) for stream in streams]

    def write(number):
        for count in range(50):
            writers[number].set(f"Key{count % 7}", number * 1000 + count)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = writers[0].set("End", True)
    for index, stream in enumerate(streams):
        revision = 0
        while revision < last.revision:
            response = next(stream)
            assert response.revision > revision
            revision = response.revision
            states[index] = fold(states[index], response)
        stream.cancel()
    truth = writers[0].all()
    assert all(state == truth for state in states)


@pytest.fixture
def nodes(postgres, launch, tmp_path):
    """Starts servers on one new PostgreSQL database, with one key."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "one.key").write_text("11" * 32)
    (keys / "one.key").chmod(0o600)
    config = tmp_path / "appsettings.json"
    config.write_text(json.dumps({"Encryption": {"KeyPath": str(keys)}}))
    url = postgres.create_database()
    return lambda: launch(arguments=["--config", config, "--database", url])


def test_a_change_reaches_the_watchers_of_another_server(nodes, dial):
    first, second = nodes(), nodes()
    writer = Settings(dial(first).channel, "shop")
    reader = Settings(dial(second).channel, "shop")
    text = configuration.SETTING_TYPE_STRING
    writer.define(
        configuration.SettingRule(key="Password", type=text, sensitive=True), closed=False
    )
    plain, told = reader.watch(), reader.watch(reveal=True)
    states = [fold({}, next(plain)), fold({}, next(told))]
    revisions = [[], []]
    for number in range(30):
        writer.set(f"Key{number % 5}", number)
        last = writer.set("Password", f"secret {number}")
    for index, stream in enumerate((plain, told)):
        while last.revision not in revisions[index]:
            response = next(stream)
            revisions[index].append(response.revision)
            states[index] = fold(states[index], response)
        stream.cancel()
        assert revisions[index] == sorted(set(revisions[index]))
    assert states[1]["Password"] == "secret 29" and states[0]["Password"] is None
    assert writer.all() == reader.all()
    list(writer.stub.RotateKey(configuration.RotateKeyRequest(application="shop")))
    writer.set("Done", True)
    stream = reader.watch()
    state = fold({}, next(stream))
    while "Done" not in state:
        state = fold(state, next(stream))
    stream.cancel()
    assert value(reader.get("Password", reveal=True).value) == "secret 29"
    snapshot = configuration.CreateSnapshotRequest(application="shop", name="one")
    reader.stub.CreateSnapshot(snapshot)
    writer.set("Password", "other")
    writer.stub.RollbackSettings(
        configuration.RollbackSettingsRequest(application="shop", to_snapshot="one")
    )
    history = writer.stub.ListSettingHistory(
        configuration.ListSettingHistoryRequest(application="shop", page_size=1000)
    )
    assert len(history.entries) == 63
    assert value(writer.get("Password", reveal=True).value) == "secret 29"
