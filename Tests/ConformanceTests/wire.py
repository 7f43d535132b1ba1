"""A raw HTTP/2 connection that can send what no decent client would."""

import socket
import struct

import hpack
from hyperframe import frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/keelson.flags.v1.FlagService/WatchFlags"


def frame_bytes(kind, flags, stream, payload, length=None):
    """Any frame at all; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(payload=b"", compressed=0, length=None):
    """A gRPC message with its five-byte prefix; `length` may lie."""
    size = len(payload) if length is None else length
    return bytes([compressed]) + struct.pack(">I", size) + payload


class Ended(Exception):
    """The peer has closed the connection."""


class Wire:
    def __init__(self, endpoint, *, greet=True, timeout_seconds=10, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout_seconds)
        self.socket.connect(endpoint)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.authority = "%s:%d" % endpoint
        self.buffer = b""
        self.settings = {}
        self.next_stream = 1
        if greet:
            self.send(PREFACE, frames.SettingsFrame(0))
            self.await_settings()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cut(self):
        """Ends the connection with a reset, as a peer that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, *parts):
        data = b"".join(each if isinstance(each, bytes) else each.serialize() for each in parts)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # What the server said before it closed is read by the test.

    def read(self):
        """The next frame."""
        while True:
            if len(self.buffer) >= 9:
                frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                    self.buffer = self.buffer[9 + length :]
                    return frame
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                raise Ended from None
            if not data:
                raise Ended
            self.buffer += data

    def await_settings(self):
        while True:
            frame = self.read()
            if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
                self.settings = dict(frame.settings)
                acknowledgement = frames.SettingsFrame(0)
                acknowledgement.flags.add("ACK")
                self.send(acknowledgement)
                return

    @property
    def max_frame_size(self):
        return self.settings.get(frames.SettingsFrame.MAX_FRAME_SIZE, 16384)

    def headers(self, path=CHECK, stream=None, *, end_stream=False, end_headers=True, **changes):
        """A HEADERS frame of a gRPC request; `changes` replace or (None) remove headers.

        Underscores in names stand for hyphens, a leading `p_` for the colon.
        """
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": self.authority,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        for name, value in changes.items():
            name = ":" + name[2:] if name.startswith("p_") else name.replace("_", "-")
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        if stream is None:
            stream, self.next_stream = self.next_stream, self.next_stream + 2
        made = frames.HeadersFrame(stream, self.encoder.encode(list(fields.items())))
        if end_headers:
            made.flags.add("END_HEADERS")
        if end_stream:
            made.flags.add("END_STREAM")
        return made

    def without_table(self):
        """Encodes header blocks without a dynamic table from now on; the next one says so."""
        self.encoder.header_table_size = 0
        return self

    def data(self, payload, stream, *, end_stream=True):
        made = frames.DataFrame(stream, payload)
        if end_stream:
            made.flags.add("END_STREAM")
        return made

    def answer(self, stream, *, until_reset=False):
        """Headers (trailers among them), message bytes and reset code of one stream."""
        fields, body, reset = {}, b"", None
        while True:
            frame = self.read()
            if isinstance(frame, frames.HeadersFrame):
                # Every block must be decoded, or the table goes out of step.
                decoded = dict(self.decoder.decode(frame.data))
                if frame.stream_id == stream:
                    fields.update(decoded)
            elif isinstance(frame, frames.DataFrame) and frame.stream_id == stream:
                body += frame.data
            elif isinstance(frame, frames.RstStreamFrame) and frame.stream_id == stream:
                return fields, body, frame.error_code
            elif isinstance(frame, frames.GoAwayFrame):
                raise AssertionError(f"GOAWAY {frame.error_code} {frame.additional_data!r}")
            if frame.stream_id == stream and "END_STREAM" in frame.flags and not until_reset:
                return fields, body, reset

    def goaway(self):
        """Reads until the connection ends; the code of the GOAWAY, None without one."""
        frame = self.last_goaway()
        return None if frame is None else frame.error_code

    def last_goaway(self):
        """Reads until the connection ends; the last GOAWAY frame, None without one."""
        goaway = None
        while True:
            try:
                frame = self.read()
            except Ended:
                return goaway
            if isinstance(frame, frames.GoAwayFrame):
                goaway = frame

    def check(self, stream=None):
        """A good health check on this connection, which must succeed."""
        request = self.headers(stream=stream)
        self.send(request, self.data(message(), request.stream_id))
        fields, body, reset = self.answer(request.stream_id)
        assert (fields.get(":status"), fields.get("grpc-status")) == ("200", "0"), fields
        assert body == message(b"\x08\x01")
        assert reset in (None, NO_ERROR)
