"""The cache over grpcio: short calls, a watch of invalidations, and what an entry is."""

import queue
import threading

from google.protobuf import duration_pb2
from keelson.cache.v1 import cache_pb2 as cache
from keelson.cache.v1 import cache_pb2_grpc as cache_grpc

from client import CALL_TIMEOUT_SECONDS, STREAM_TIMEOUT_SECONDS


def duration(seconds):
    return duration_pb2.Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))


def lifetime(ttl=None, **fields):
    if ttl is not None:
        fields["ttl"] = duration(ttl)
    if "stale_for" in fields:
        fields["stale_for"] = duration(fields["stale_for"])
    return cache.Lifetime(jitter=0, **fields)


class Cache:
    """The calls of the cache, with what they need filled in."""

    def __init__(self, client):
        self.stub = cache_grpc.CacheServiceStub(client.channel)

    def call(self, name, request):
        return getattr(self.stub, name)(request, timeout=CALL_TIMEOUT_SECONDS)

    def get(self, key):
        """The value; None when there is no entry."""
        found = self.entry(key)
        return None if found is None else found.value

    def entry(self, key):
        response = self.call("GetEntry", cache.GetEntryRequest(key=key))
        return response.entry if response.HasField("entry") else None

    def set(self, key, value=b"value", ttl=60, tags=(), lease=None, **fields):
        fields.setdefault("lifetime", lifetime(ttl))
        request = cache.SetEntryRequest(key=key, value=value, tags=tags, lease=lease, **fields)
        return self.call("SetEntry", request)

    def delete(self, *keys):
        return self.call("DeleteEntries", cache.DeleteEntriesRequest(keys=keys))

    def invalidate(self, **names):
        return self.call("InvalidateEntries", cache.InvalidateEntriesRequest(**names))

    def lease(self, key, seconds=10, wait=0, **fields):
        request = cache.GetOrLeaseRequest(
            key=key, lease_duration=duration(seconds), wait=duration(wait), **fields
        )
        return self.call("GetOrLease", request)

    def release(self, key, lease):
        return self.call("ReleaseLease", cache.ReleaseLeaseRequest(key=key, lease=lease)).released

    def statistics(self, hottest=10):
        return self.call("GetStatistics", cache.GetStatisticsRequest(hottest=hottest))

    def watch(self):
        return Watch(self.stub)


class Watch:
    """A watch of invalidations."""

    def __init__(self, stub):
        self.requests = queue.Queue()
        self.call = stub.WatchInvalidations(
            iter(self.requests.get, None), timeout=STREAM_TIMEOUT_SECONDS
        )
        self.start = next(self.call).start
        self.pings = 0

    def ping(self, near_hits=0):
        """Everything that was told ahead of the pong, and the pong."""
        self.pings += 1
        self.requests.put(cache.WatchInvalidationsRequest(ping=self.pings, near_hits=near_hits))
        events = []
        for response in self.call:
            if response.WhichOneof("event") == "pong" and response.pong.ping == self.pings:
                return events, response.pong
            events.append(response)
        raise AssertionError("the watch ended")

    def close(self):
        self.requests.put(None)
        self.call.cancel()


def at_once(count, work):
    """The results of work(index), done by threads that begin together."""
    barrier, results = threading.Barrier(count), [None] * count

    def run(index):
        barrier.wait()
        results[index] = work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
