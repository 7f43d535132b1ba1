import Foundation
import Glibc
import KeelsonCore

@testable import KeelsonTransport

/// A client that writes HTTP/2 frames byte by byte as a test says, with no library between them
/// and the socket, so that it can break every rule.
///
/// Writes block (for ten seconds at most); a thread of its own reads.
final class FrameClient: Sendable {
  struct Frame: Sendable {
    var type: UInt8
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]

    /// The error code of a RST_STREAM or GOAWAY.
    var errorCode: HTTP2ErrorCode {
      let offset = type == Kind.goAway ? 4 : 0
      guard payload.count >= offset + 4 else { return HTTP2ErrorCode(rawValue: .max) }
      let code = payload[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return HTTP2ErrorCode(rawValue: code)
    }
    /// The text behind a GOAWAY.
    var debugText: String { String(decoding: payload.dropFirst(8), as: UTF8.self) }
    var endsStream: Bool { flags & Flag.endStream != 0 }
    var isAcknowledgement: Bool { flags & Flag.ack != 0 }
  }

  /// RFC 9113 section 6.
  enum Kind {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
  }
  enum Flag {
    static let ack: UInt8 = 1
    static let endStream: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let padded: UInt8 = 8
  }

  /// What comes, until the server closes or breaks the connection.
  let frames: AsyncStream<Frame>
  private let continuation: AsyncStream<Frame>.Continuation
  private let fileDescriptor: Int32

  /// - Parameters:
  ///   - settings: the parameters of the first SETTINGS frame; nil sends nothing at all.
  ///   - reads: false leaves all that comes in the socket until ``startReading()``.
  init(_ address: ListenAddress, settings: [(UInt16, UInt32)]? = [], reads: Bool = true) throws {
    (frames, continuation) = AsyncStream.makeStream()
    fileDescriptor = socket(address.address.family, Int32(SOCK_STREAM.rawValue), 0)
    if !reads { set(SOL_SOCKET, SO_RCVBUF, Int32(4096)) }
    set(Int32(IPPROTO_TCP), TCP_NODELAY, Int32(1))
    set(SOL_SOCKET, SO_SNDTIMEO, timeval(tv_sec: 10, tv_usec: 0))
    let connected = address.address.withSockaddr { Glibc.connect(fileDescriptor, $0, $1) }
    guard connected == 0 else {
      Glibc.close(fileDescriptor)
      throw SocketError.system("Connecting to \(address)", errno)
    }
    if reads { startReading() }
    if let settings { send(Self.preface(settings)) }
  }

  private func set<Value: BitwiseCopyable>(_ level: Int32, _ name: Int32, _ value: Value) {
    var value = value
    setsockopt(fileDescriptor, level, name, &value, socklen_t(MemoryLayout<Value>.size))
  }

  func startReading() {
    Thread.detachNewThread { [self] in
      var input: [UInt8] = []
      var piece = [UInt8](repeating: 0, count: 65_536)
      while true {
        let count = recv(fileDescriptor, &piece, piece.count, 0)
        guard count > 0 else { break }
        input += piece[..<count]
        while let frame = Self.cut(&input) { continuation.yield(frame) }
      }
      continuation.finish()
    }
  }

  private static func cut(_ input: inout [UInt8]) -> Frame? {
    guard input.count >= 9 else { return nil }
    let length = Int(input[0]) << 16 | Int(input[1]) << 8 | Int(input[2])
    guard input.count >= 9 + length else { return nil }
    defer { input.removeFirst(9 + length) }
    let stream = input[5..<9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    return Frame(
      type: input[3], flags: input[4], stream: stream, payload: Array(input[9..<9 + length]))
  }

  /// False when the server has closed the connection.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    var position = 0
    while position < bytes.count {
      let count = bytes[position...].withUnsafeBytes {
        Glibc.send(fileDescriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      position += count
    }
    return true
  }

  /// Sends no more, but goes on reading.
  func shutDownWriting() { Glibc.shutdown(fileDescriptor, Int32(SHUT_WR)) }

  /// Breaks the connection with a TCP RST; what was sent stays readable for the server.
  func abort() {
    set(SOL_SOCKET, SO_LINGER, linger(l_onoff: 1, l_linger: 0))
    close()
  }

  /// Ends the connection; the reading thread wakes up.
  func close() {
    Glibc.shutdown(fileDescriptor, Int32(SHUT_RD))
    Glibc.close(fileDescriptor)
  }

  /// The first frame that fits; nil when the connection ends before it comes.
  func first(where fits: (Frame) -> Bool) async -> Frame? {
    for await frame in frames where fits(frame) { return frame }
    return nil
  }

  /// All frames until the connection ends.
  func untilClosed() async -> [Frame] {
    var all: [Frame] = []
    for await frame in frames { all.append(frame) }
    return all
  }

  // MARK: Frames

  static func frame(
    _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []
  ) -> [UInt8] {
    let length = payload.count
    return [
      UInt8(length >> 16 & 0xFF), UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF), type, flags,
    ] + number(stream) + payload
  }

  static func number(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(value >> UInt32($0) & 0xFF) }
  }

  static func preface(_ settings: [(UInt16, UInt32)] = []) -> [UInt8] {
    Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
      + frame(
        Kind.settings, settings.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] + number($1) })
  }

  static func reset(_ stream: UInt32, _ code: HTTP2ErrorCode = .cancel) -> [UInt8] {
    frame(Kind.reset, stream: stream, number(code.rawValue))
  }

  /// A gRPC message in a DATA frame.
  static func message(_ bytes: [UInt8], stream: UInt32, endStream: Bool = true) -> [UInt8] {
    frame(
      Kind.data, flags: endStream ? Flag.endStream : 0, stream: stream,
      [0] + number(UInt32(bytes.count)) + bytes)
  }

  /// A request's header block: literals without indexing (RFC 7541 section 6.2.2), so that no
  /// state is shared with the server.
  static func block(_ path: String, _ more: [(String, String)] = []) -> [UInt8] {
    let fields =
      [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
        ("te", "trailers"), ("content-type", "application/grpc"),
      ] + more
    return fields.flatMap { [0] + text($0) + text($1) }
  }

  private static func text(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
    var length = [UInt8(127)]
    var rest = bytes.count - 127
    while rest >= 128 {
      length.append(UInt8(rest % 128 + 128))
      rest /= 128
    }
    return length + [UInt8(rest)] + bytes
  }

  static func headers(
    _ path: String, stream: UInt32, endStream: Bool = false, _ more: [(String, String)] = []
  ) -> [UInt8] {
    frame(
      Kind.headers, flags: Flag.endHeaders | (endStream ? Flag.endStream : 0), stream: stream,
      block(path, more))
  }

  /// A whole unary request.
  static func request(_ path: String, _ message: [UInt8], stream: UInt32) -> [UInt8] {
    headers(path, stream: stream) + self.message(message, stream: stream)
  }
}
