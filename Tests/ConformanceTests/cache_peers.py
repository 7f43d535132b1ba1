"""Clients of the cache in processes of their own: CachePeer, see the top of its source."""

import itertools
import queue
import signal
import subprocess
import threading

from interop_peers import BINARIES
from redis_server import KEEPER

BINARY = BINARIES / "CachePeer"
TIMEOUT_SECONDS = 30


class PeerFailure(Exception):
    """What a peer answers that could not do what it was told to."""


class Peer:
    """A process with a client and its near cache."""

    def __init__(self, addresses, log):
        command = ["setpriv", "--pdeathsig", "KILL", str(BINARY), addresses]
        with log.open("ab") as said:
            self.process = KEEPER.submit(
                subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=said, text=True, bufsize=1,
            ).result()
        self.log = log
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.takers = {}
        self.ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.ready.wait(TIMEOUT_SECONDS), log.read_text()[-2000:]

    def _read(self):
        for line in self.process.stdout:
            tag, _, rest = line.rstrip("\n").partition(" ")
            if tag == "ready":
                self.ready.set()
            elif taker := self.takers.get(tag):
                taker(rest.split(" "))
        for taker in list(self.takers.values()):
            taker(["ended"])

    def tell(self, taker, *words):
        """Gives a command; its answers go to the taker."""
        tag = str(next(self.numbers))
        self.takers[tag] = taker
        with self.lock:
            self.process.stdin.write(" ".join([tag, *map(str, words)]) + "\n")
            self.process.stdin.flush()
        return tag

    def begin(self, *words):
        """Gives a command; what returns waits for its answer and gives it."""
        answers = queue.Queue()
        self.tell(answers.put, *words)

        def answer():
            said = answers.get(timeout=TIMEOUT_SECONDS)
            if said[0] in ("error", "ended"):
                raise PeerFailure(" ".join(said))
            return said

        return answer

    def ask(self, *words):
        return self.begin(*words)()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.resume()
        self.process.kill()
        self.process.wait(10)


class Poll:
    """A peer that reads a key again and again: what it has found, and when."""

    def __init__(self, peer, key, changed):
        #: When the value before was asked for last, when this one was given first, what it is.
        self.changes = []
        self.changed = changed
        self.peer = peer
        self.tag = peer.tell(self._take, "poll", key)

    def _take(self, words):
        with self.changed:
            if words[0] == "change":
                self.changes.append((int(words[1]), int(words[2]), words[3]))
            self.changed.notify_all()

    @property
    def value(self):
        """None until something was read; `-` for no entry."""
        return self.changes[-1][2] if self.changes else None

    def late(self, since):
        """How long after that something that was replaced then was asked for and given; of all that
        this has found and `since` has, by value: nanoseconds."""
        for (_, _, value), (last, _, _) in itertools.pairwise(self.changes):
            if value in since:
                yield value, max(0, last - since[value])


class Polls:
    """Polls of one key by several peers."""

    def __init__(self, peers, key):
        self.changed = threading.Condition()
        self.all = [Poll(peer, key, self.changed) for peer in peers]

    def wait(self, condition, timeout_seconds):
        """Whether all have found such a value in time."""
        with self.changed:
            return self.changed.wait_for(
                lambda: all(condition(each.value) for each in self.all), timeout_seconds
            )

    def values(self):
        return [each.value for each in self.all]

    def stop(self):
        for each in self.all:
            each.peer.ask("stop", each.tag)
