"""A gRPC server that misbehaves below gRPC, on PyPI's h2: http2_interop_server.py CASE.

The cases are upstream's: grpc/grpc doc/http2-interop-test-descriptions.md; and two more. Prints
its port, serves until standard input ends, then prints as JSON what it saw of its client.
"""

import json
import socket
import struct
import sys
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import testing_messages as testing
from hyperframe.frame import GoAwayFrame

FRAME_BYTES, SMALL_BYTES, PADDING_BYTES = 16384, 5, 255


class Seen:
    """What the server saw, over all connections."""

    def __init__(self):
        self.lock = threading.Lock()
        self.connections = 0
        self.most_streams_at_once = 0
        self.pings = 0
        self.unanswered_pings = 0
        self.resets = []
        self.errors = []

    def report(self):
        with self.lock:
            return {name: value for name, value in vars(self).items() if name != "lock"}


class Connection:
    """One connection; a case is a subclass that answers in its own way."""

    settings = {}

    def __init__(self, socket, seen):
        self.socket, self.seen = socket, seen
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        # What is set later would hold only once the client has acknowledged it.
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={**self.h2.local_settings, **self.settings}
        )
        self.requests = {}
        self.outgoing = []  # of streams: [number, bytes, bytes a frame, padding, when done]

    def run(self):
        self.h2.initiate_connection()
        self.flush()
        with self.socket:
            try:
                while data := self.socket.recv(65536):
                    for event in self.h2.receive_data(data):
                        self.happened(event)
                    self.pump()
                    self.flush()
            except h2.exceptions.ProtocolError as error:
                with self.seen.lock:
                    self.seen.errors.append(repr(error))
                self.flush()
            except OSError:
                pass  # The client has gone; what it did until then is counted.

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def happened(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.requests[event.stream_id] = b""
            with self.seen.lock:
                self.seen.most_streams_at_once = max(
                    self.seen.most_streams_at_once, self.h2.open_inbound_streams
                )
        elif isinstance(event, h2.events.DataReceived):
            self.requests[event.stream_id] += event.data
            size = event.flow_controlled_length
            self.h2.acknowledge_received_data(size, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            request = testing.SimpleRequest.FromString(self.requests.pop(event.stream_id)[5:])
            payload = testing.zeros(request.response_size)
            message = testing.SimpleResponse(payload=payload).SerializeToString()
            self.answer(event.stream_id, struct.pack(">BI", 0, len(message)) + message)
        elif isinstance(event, h2.events.PingAckReceived):
            with self.seen.lock:
                self.seen.unanswered_pings -= 1

    def answer(self, stream, body):
        """The request is whole: answers it with this body."""
        self.send_headers(stream)
        self.send_body(stream, body)

    # Parts of answers.

    def send_headers(self, stream):
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        self.h2.send_headers(stream, headers)

    def send_body(self, stream, body, frame_bytes=FRAME_BYTES, padding=None, then=None):
        """Sends a body as the window has room, then trailers, or what `then` does."""
        self.outgoing.append([stream, body, frame_bytes, padding, then or self.send_trailers])
        self.pump()

    def send_trailers(self, stream):
        self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def reset(self, stream):
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)

    def ping(self):
        self.h2.ping(bytes(8))
        with self.seen.lock:
            self.seen.pings += 1
            self.seen.unanswered_pings += 1

    def pump(self):
        for sending in list(self.outgoing):
            stream, body, frame_bytes, padding, then = sending
            debt = 0 if padding is None else padding + 1
            while body:
                piece = body[:frame_bytes]
                if self.h2.local_flow_control_window(stream) < len(piece) + debt:
                    break
                self.h2.send_data(stream, piece, pad_length=padding)
                body = body[len(piece) :]
            sending[1] = body
            if not body:
                self.outgoing.remove(sending)
                then(stream)


class GoAway(Connection):
    """Says GOAWAY to the first call, then answers it."""

    leaving = False

    def happened(self, event):
        # Later calls are beyond the last stream that GOAWAY names: for another connection.
        if not self.leaving or getattr(event, "stream_id", 1) <= 1:
            super().happened(event)

    def answer(self, stream, body):
        self.leaving = True
        # Past h2, which sends nothing more after a GOAWAY of its own.
        self.flush()
        self.socket.sendall(GoAwayFrame(0, last_stream_id=stream).serialize())
        super().answer(stream, body)


class ResetAfterHeader(Connection):
    def answer(self, stream, body):
        self.send_headers(stream)
        self.reset(stream)


class ResetDuringData(Connection):
    def answer(self, stream, body):
        self.send_headers(stream)
        self.send_body(stream, body[: len(body) // 2], then=self.reset)


class ResetAfterData(Connection):
    def answer(self, stream, body):
        self.send_headers(stream)
        self.send_body(stream, body, then=self.reset)


class Ping(Connection):
    def answer(self, stream, body):
        self.ping()
        self.send_headers(stream)
        self.ping()
        self.ping()
        self.send_body(stream, body, then=self.end)

    def end(self, stream):
        self.ping()
        self.send_trailers(stream)


class MaxStreams(Connection):
    # Held by h2: a stream beyond the limit is an error of its client's.
    settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1}


class DataFramePadding(Connection):
    def answer(self, stream, body):
        self.send_headers(stream)
        self.send_body(stream, body, SMALL_BYTES, PADDING_BYTES)


class NoDataFramePadding(Connection):
    def answer(self, stream, body):
        self.send_headers(stream)
        self.send_body(stream, body, SMALL_BYTES)


class EarlyTrailers(Connection):
    """Ends a call at once, though the client has not ended its request."""

    def happened(self, event):
        if isinstance(event, h2.events.StreamReset):
            with self.seen.lock:
                self.seen.resets.append(int(event.error_code))
        elif isinstance(event, h2.events.RequestReceived):
            self.end(event.stream_id)

    def end(self, stream):
        self.send_headers(stream)
        self.h2.send_headers(stream, [("grpc-status", "10")], end_stream=True)


class EarlyTrailersOnly(EarlyTrailers):
    def end(self, stream):
        headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "10")]
        self.h2.send_headers(stream, headers, end_stream=True)


CASES = {
    "goaway": GoAway,
    "rst_after_header": ResetAfterHeader,
    "rst_during_data": ResetDuringData,
    "rst_after_data": ResetAfterData,
    "ping": Ping,
    "max_streams": MaxStreams,
    "data_frame_padding": DataFramePadding,
    "no_df_padding_sanity_test": NoDataFramePadding,
    # Not upstream's.
    "early_trailers": EarlyTrailers,
    "early_trailers_only": EarlyTrailersOnly,
}


def accept(listener, case, seen, threads):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # Closed: the end.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with seen.lock:
            seen.connections += 1
        thread = threading.Thread(target=case(client, seen).run, daemon=True)
        threads.append(thread)
        thread.start()


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in CASES:
        sys.exit(f"{__doc__}\ncases: {', '.join(CASES)}")
    seen, threads = Seen(), []
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(
        target=accept, args=(listener, CASES[sys.argv[1]], seen, threads), daemon=True
    ).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
    listener.close()
    for thread in threads:
        thread.join(5)
    print(json.dumps(seen.report()), flush=True)


main()
