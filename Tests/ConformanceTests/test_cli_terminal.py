"""`keelson cache` on a terminal: the live view, the question of flush, the bar of a warm set."""

import signal

import pytest
from keelson.cache.v1 import cache_pb2 as cache
from keelson.cache.v1 import cache_pb2_grpc as cache_grpc

from server import run
from terminal import Terminal
from worker_process import LocalServer

KEY = "cli:terminal:thing:1"
# Wider than any screen here, with characters that take two columns.
LONG_KEY = "cli:terminal:thing:" + "long" * 40 + "界" * 20


@pytest.fixture
def shop():
    server = LocalServer()
    yield server
    server.close()


def stub(client):
    return cache_grpc.CacheServiceStub(client.channel)


def store(client, key):
    request = cache.SetEntryRequest(key=key, value=b"1")
    request.lifetime.ttl.seconds = 3_600
    stub(client).SetEntry(request)


def is_there(client, key):
    return stub(client).GetEntry(cache.GetEntryRequest(key=key)).HasField("entry")


def test_top_is_drawn_over_itself_and_leaves_the_terminal_as_it_was(private, dial):
    client = dial(private)
    for key in (KEY, LONG_KEY):
        store(client, key)
    for key in (KEY, LONG_KEY, LONG_KEY):
        assert is_there(client, key)
    missing = "cli:terminal:nothing:1"
    assert not is_there(client, missing)
    arguments = ["cache", "top", "--interval", "100ms", "--server", private.address]
    with Terminal(*arguments) as top:
        screen = top.until(lambda screen: KEY in str(screen) and screen.draws > 3)
        texts = screen.texts()
        assert texts[0].startswith("time ") and screen.scrolled == 0, str(screen)
        assert sum(text.startswith("time ") for text in texts) == 1
        (ratio,) = [text for text in texts if text.startswith("hit ratio")]
        assert "75.0% since" in ratio
        heading = next(i for i, text in enumerate(texts) if text.split() == ["GETS", "KEY"])
        rows = [text.split() for text in texts[heading + 1 : heading + 4]]
        assert rows[0][0] == "~2" and LONG_KEY.startswith(rows[0][1])
        assert {(count, key) for count, key in rows[1:]} == {("~1", KEY), ("~1", missing)}
        assert not any(texts[heading + 4 :]), str(screen)

        # Each draw takes the place of the one before.
        for _ in range(40):
            assert is_there(client, KEY)
        top.until(lambda screen: "97.7% since" in str(screen))
        assert top.screen.texts()[heading + 1].endswith(f"  {KEY}"), str(top.screen)
        # What does not fit is left out; nothing rolls away.
        screen = top.resize(12, 40)
        assert screen.texts()[0].startswith("time ") and screen.scrolled == 0, str(screen)
        screen = top.resize(30, 200)
        assert screen.texts()[0].startswith("time ") and LONG_KEY[:150] in str(screen)

        top.type("\x03")
        assert top.ended() == 0
        assert top.is_as_it_was() and "^C" not in str(top.screen)
        assert top.screen.column == 0 and top.screen.texts()[top.screen.row] == ""


def test_a_terminal_that_cannot_draw_gets_lines(private):
    arguments = ["cache", "top", "--interval", "100ms", "--server", private.address]
    with Terminal(*arguments, columns=200, TERM="dumb") as top:
        top.until(lambda screen: sum("gets " in text for text in screen.texts()) >= 3)
        assert top.screen.draws == 0
        top.type("\x03")
        assert top.ended() == 0


def test_top_goes_on_when_its_server_is_back(launch, dial):
    server = launch()
    server.listen = [server.address]
    arguments = ["cache", "top", "--interval", "100ms", "--server", server.address]
    with Terminal(*arguments) as top:
        top.until(lambda screen: screen.draws > 2)
        server.stop()
        top.until(lambda screen: "Going on as soon as it is back." in str(screen))
        server.start()
        drawn = top.screen.draws
        screen = top.until(lambda screen: screen.draws > drawn + 1)
        assert "Going on" not in str(screen) and screen.texts()[0].startswith("time ")


def test_flush_asks_first(private, dial):
    client = dial(private)
    store(client, KEY)
    arguments = ["cache", "flush", "--server", private.address]
    for answer in ("n\n", "\n", "yesterday\n", "\x04"):
        with Terminal(*arguments, columns=200) as flush:
            flush.until(lambda screen: f"at {private.address} void? [y/N] " in str(screen) + " ")
            flush.type(answer)
            assert flush.ended() == 1
            assert "keelson: Nothing was done." in flush.screen.texts(), str(flush.screen)
            assert is_there(client, KEY)
    with Terminal(*arguments) as flush:
        flush.until(lambda screen: "[y/N]" in str(screen))
        flush.type("\x03")
        assert flush.ended() == -signal.SIGINT
        assert flush.is_as_it_was() and is_there(client, KEY)
    # A pipe is nobody who could be asked.
    refused = run(*arguments, stdin="y\n")
    assert refused.returncode == 2 and "give --yes if that is meant" in refused.stderr
    assert is_there(client, KEY)
    with Terminal(*arguments) as flush:
        flush.until(lambda screen: "[y/N]" in str(screen))
        flush.type("Y \n")
        assert flush.ended() == 0 and "Flushed the cache." in flush.screen.texts()
        assert not is_there(client, KEY)


def test_the_bar_of_a_warm_set_stays_on_its_line(launch, dial, shop):
    shop.on("/slow", None)
    server = launch(arguments=["--cache-warm-origin", shop.address])
    client = dial(server)
    name = "a-set-with-a-name-that-is-longer-than-a-narrow-window"
    made = cache.WarmSet(name=name)
    for index in range(4):
        made.entries.add(key=f"cli:terminal:warm:{index}", value=b"1")
    made.entries[3].url = shop.address + "/slow"
    stub(client).CreateWarmSet(cache.CreateWarmSetRequest(warm_set=made))
    command = ["cache", "warm-sets"]
    server_option = ["--server", server.address]
    with Terminal(*command, "start", name, *server_option, columns=60) as start:
        screen = start.until(lambda screen: "] 75%" in str(screen))
        assert screen.row == 0 and screen.scrolled == 0, str(screen)
        assert screen.texts()[0].startswith("[" + "#" * 22 + "-" * 8 + "] 75%")
        start.type("\x03")
        assert start.ended() == -signal.SIGINT and start.is_as_it_was()
    # Loading went on, until it is called off.
    with Terminal(*command, "watch", name, *server_option, columns=120) as watch:
        watch.until(lambda screen: "75%, " in str(screen) and "3 of 4 loaded" in str(screen))
        assert run(*command, "cancel", name, *server_option).returncode == 0
        assert watch.ended() == 1
        texts = watch.screen.texts()
        assert texts[0] == f"{name} cancelled: 3 of 4 loaded"
        assert texts[1] == f"keelson: Loading warm set '{name}' was cancelled."
    shop.on("/slow", (200, b"1"))
    with Terminal(*command, "start", name, *server_option) as start:
        assert start.ended() == 0
        assert start.screen.texts()[0] == f"{name} completed: 4 of 4 loaded"
        assert not any(start.screen.texts()[1:])
    with Terminal(*command, "start", name, *server_option, TERM="dumb") as start:
        assert start.ended() == 0 and start.screen.draws == 0
        assert start.screen.texts()[0] == f"{name} completed: 4 of 4 loaded"
