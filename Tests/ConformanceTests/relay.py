"""A relay between a client and a server that reads along: which gRPC messages were compressed."""

import contextlib
import socket
import threading

import hpack
from hyperframe import frame as frames

from wire import PREFACE


class Half:
    """What one side sends: of each stream the headers, and the flag of each message."""

    def __init__(self):
        self.buffer = b""
        self.decoder = hpack.Decoder()
        self.blocks = {}
        self.bodies = {}
        self.headers = {}

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + length:
                return
            frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
            self.buffer = self.buffer[9 + length :]
            self._read(frame)

    def _read(self, frame):
        stream = frame.stream_id
        if isinstance(frame, frames.DataFrame):
            self.bodies.setdefault(stream, bytearray()).extend(frame.data)
        elif isinstance(frame, (frames.HeadersFrame, frames.ContinuationFrame)):
            self.blocks[stream] = self.blocks.get(stream, b"") + frame.data
            if "END_HEADERS" in frame.flags:
                fields = self.decoder.decode(self.blocks.pop(stream))
                self.headers.setdefault(stream, {}).update(fields)
        elif isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            # The other side's encoder may use a table of this size from now on.
            size = frame.settings.get(frames.SettingsFrame.HEADER_TABLE_SIZE)
            if size is not None:
                self.other.decoder.max_allowed_table_size = size

    def flags(self, stream):
        """The compressed-flag of each whole message of a stream."""
        body, flags = self.bodies.get(stream, b""), []
        while len(body) >= 5:
            size = int.from_bytes(body[1:5], "big")
            if len(body) < 5 + size:
                break
            flags.append(body[0])
            body = body[5 + size :]
        return flags


class Relay:
    """Listens, and connects each client to the server. Closed with `close`."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.connections = []
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # Closed: the end.
            server = socket.create_connection(self.endpoint)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent, received = Half(), Half()
            sent.other, received.other = received, sent
            self.connections.append((sent, received))
            for source, target, half, skip in (
                (client, server, sent, len(PREFACE)),
                (server, client, received, 0),
            ):
                pump = threading.Thread(
                    target=self._pump, args=(source, target, half, skip), daemon=True
                )
                self.threads.append(pump)
                pump.start()

    @staticmethod
    def _pump(source, target, half, skip):
        try:
            while data := source.recv(65536):
                taken = min(skip, len(data))
                skip -= taken
                # Read first: what the other side does upon it has to find it read here.
                half.feed(data[taken:])
                target.sendall(data)
        except OSError:
            pass  # One side has gone; what it sent until then is read.
        finally:
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Waits until the connections that clients have closed are read to their ends."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive(), "a client left its connection open"

    def calls(self):
        """Of each call in order: its path, the flags of its requests, those of its responses."""
        calls = []
        for sent, received in self.connections:
            for stream in sorted(sent.headers):
                path = sent.headers[stream][":path"]
                calls.append((path, sent.flags(stream), received.flags(stream)))
        return calls

    def encodings(self):
        """The grpc-encoding of each call's request and response, None where none was named."""
        return [
            tuple(half.headers.get(stream, {}).get("grpc-encoding") for half in (sent, received))
            for sent, received in self.connections
            for stream in sorted(sent.headers)
        ]
