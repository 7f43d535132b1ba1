import KeelsonCore
import Synchronization

@testable import KeelsonTransport

/// What the two ends of a connection under test report, in order.
enum PeerEvent: Equatable, Sendable {
  case request(path: String, isTooLarge: Bool)
  case settings
  case goAway(HTTP2ErrorCode, text: String)
  case closedStream
  case closed(HTTP2CloseReason.Code)
  case headers(status: String)
  case data([UInt8])
  case trailers(status: String)
  case end
  case writable
  case streamClosed(HTTP2ErrorCode)
  case pong
}

/// A server and a client connection on one loop, over a loopback socket, that report what they
/// hear. `script` answers for the server.
///
/// `@unchecked Sendable`: everything but the streams of events is touched on the loop only.
final class ConnectionPair: @unchecked Sendable {
  let loop: Loop
  let server: Side
  let client: Side

  init(
    serverLimits: HTTP2Limits = .server, clientLimits: HTTP2Limits = .client,
    script: @escaping @Sendable (HTTP2Stream, PeerEvent) -> Void = { _, _ in }
  ) async throws {
    let loop = Loop()
    loop.start()
    self.loop = loop
    server = Side(script: script)
    client = Side(script: { _, _ in })
    let (server, client) = (server, client)
    let connected = AsyncStream<Result<Void, SocketError>>.makeStream()
    loop.execute {
      do throws(SocketError) {
        let listener = try Listener(
          ListenAddress(parsing: "127.0.0.1:0"), unixPermissions: 0o600, on: loop, logger: .silent)
        listener.start { [unowned listener] fileDescriptor, peer in
          do throws(SocketError) {
            let socket = try Socket(adopting: fileDescriptor, peer: peer, on: loop)
            server.connection = HTTP2Connection(
              role: .server, stream: socket, loop: loop, limits: serverLimits, handler: server,
              requestRecorder: server.recorder)
            server.connection?.start()
            listener.close()
            connected.continuation.yield(.success(()))
          } catch {
            connected.continuation.yield(.failure(error))
          }
        }
        server.listener = listener
        client.socket = try Socket.connect(to: listener.address.address, on: loop) { error in
          if let error {
            connected.continuation.yield(.failure(error))
            return
          }
          guard let socket = client.socket else { return }
          client.connection = HTTP2Connection(
            role: .client, stream: socket, loop: loop, limits: clientLimits, handler: client)
          client.connection?.start()
          connected.continuation.yield(.success(()))
        }
      } catch {
        connected.continuation.yield(.failure(error))
      }
    }
    var ready = 0
    for await result in connected.stream {
      try result.get()
      ready += 1
      if ready == 2 { break }
    }
  }

  /// Runs something on the loop and waits for its outcome.
  func onLoop<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: body()) }
    }
  }

  func open(path: String, endStream: Bool = false) async -> HTTP2Stream? {
    let client = client
    return await onLoop {
      client.connection?.openStream(.request(path), endStream: endStream, handler: client)
    }
  }

  /// Closes both ends and the loop.
  func finish() async {
    let (server, client) = (server, client)
    await onLoop {
      let reason = HTTP2CloseReason(.closedHere, "The test is over.")
      client.connection?.close(reason)
      server.connection?.close(reason)
      client.connection = nil
      server.connection = nil
      server.listener = nil
      client.socket = nil
    }
    await loop.stop()
  }

  /// `@unchecked Sendable`: touched on the pair's loop only.
  final class Side: HTTP2ConnectionHandler, HTTP2StreamHandler, @unchecked Sendable {
    var connection: HTTP2Connection?
    var listener: Listener?
    var socket: Socket?
    /// Whether body bytes are consumed as they come.
    var consumesAtOnce = true
    let events: AsyncStream<PeerEvent>
    private let continuation: AsyncStream<PeerEvent>.Continuation
    private let script: @Sendable (HTTP2Stream, PeerEvent) -> Void

    init(script: @escaping @Sendable (HTTP2Stream, PeerEvent) -> Void) {
      (events, continuation) = AsyncStream.makeStream()
      self.script = script
    }

    func report(_ event: PeerEvent, _ stream: HTTP2Stream? = nil) {
      continuation.yield(event)
      if let stream { script(stream, event) }
    }

    /// Waits for an event; the ones before it are passed over.
    func wait(_ isIt: (PeerEvent) -> Bool) async -> PeerEvent? {
      for await event in events where isIt(event) { return event }
      return nil
    }

    func wait(for event: PeerEvent) async -> Bool { await wait { $0 == event } != nil }

    let recorder = PathRecorder()
    private var requests: [Int32: PeerEvent] = [:]

    func connection(
      _ connection: HTTP2Connection, recordsRequestOn stream: HTTP2Stream, isTooLarge: Bool
    ) {
      stream.handler = self
      requests[stream.id] = .request(path: recorder.path, isTooLarge: isTooLarge)
    }
    func streamBegan(_ stream: HTTP2Stream) {
      guard let request = requests.removeValue(forKey: stream.id) else { return }
      report(request, stream)
    }
    func connectionReceivedSettings(_ connection: HTTP2Connection) { report(.settings) }
    func connection(
      _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
      lastStreamID: Int32, debugText: String
    ) {
      report(.goAway(errorCode, text: debugText))
    }
    func connectionClosedStream(_ connection: HTTP2Connection) { report(.closedStream) }
    func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason) {
      report(.closed(reason.code))
    }
    func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool) {
      report(.headers(status: fields.value(of: ":status") ?? ""), stream)
    }
    func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
      if consumesAtOnce { stream.consume(bytes.count) }
      report(.data((0..<bytes.count).map { bytes[$0] }), stream)
    }
    func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {
      report(.trailers(status: fields.value(of: "grpc-status") ?? ""), stream)
    }
    func streamReceivedEnd(_ stream: HTTP2Stream) { report(.end, stream) }
    func streamBecameWritable(_ stream: HTTP2Stream) { report(.writable, stream) }
    func stream(
      _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
      connectionReason: HTTP2CloseReason?
    ) {
      report(.streamClosed(errorCode), stream)
    }
  }
}

/// Keeps the path of the request whose headers are arriving.
final class PathRecorder: HTTP2RequestRecorder {
  private(set) var path = ""

  func begin() { path = "" }

  func record(_ name: Span<UInt8>, _ value: Span<UInt8>) {
    if name.equals(":path") { path = String(repairing: value) }
  }
}

extension HTTP2Fields {
  static func request(_ path: String) -> HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append(":method", "POST")
    fields.append(":scheme", "http")
    fields.append(":path", path)
    fields.append(":authority", "test")
    return fields
  }

  static var okResponse: HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append(":status", "200")
    return fields
  }

  static func trailers(_ status: String) -> HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append("grpc-status", status)
    return fields
  }
}
