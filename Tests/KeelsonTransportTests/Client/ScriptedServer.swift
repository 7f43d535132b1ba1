import KeelsonCore
import Synchronization

@testable import KeelsonTransport

/// A server that answers HTTP/2 requests as a test tells it, rightly or wrongly.
///
/// `@unchecked Sendable`: everything mutable is touched on the loop only.
final class ScriptedServer: HTTP2ConnectionHandler, HTTP2StreamHandler, @unchecked Sendable {
  /// Answers a request, on the loop; requests are numbered from 1 over all connections.
  typealias Script = @Sendable (_ stream: HTTP2Stream, _ number: Int) -> Void

  let loop = Loop()
  /// Set once it listens.
  private(set) var address = ""
  /// The headers of all requests.
  let heads = Mutex<[HTTP2Fields]>([])
  /// What the requests' bodies are made of, prefixes and all.
  let bodies = Mutex<[UInt8]>([])
  private let script: Script
  private var listener: Listener?
  private var requests = 0
  private var connections: [HTTP2Connection] = []

  /// How many connections are told to go away together with their first SETTINGS.
  private var toTurnAway: Int

  private init(_ script: @escaping Script, turningAway toTurnAway: Int) {
    self.script = script
    self.toTurnAway = toTurnAway
    loop.start()
  }

  /// Starts on a free port, of the loopback interface unless it is to be in a namespace.
  static func start(
    turningAway toTurnAway: Int = 0, in namespace: NetworkNamespace? = nil,
    _ script: @escaping Script
  ) async throws -> ScriptedServer {
    let server = ScriptedServer(script, turningAway: toTurnAway)
    if let namespace {
      let isThere = await server.loop.call { namespace.enter() }
      precondition(isThere, "a namespace that was made can be entered")
    }
    try await server.loop.call { server.listen(on: namespace?.address ?? "127.0.0.1") }.get()
    return server
  }

  private func listen(on host: String) -> Result<Void, SocketError> {
    do throws(SocketError) {
      let listener = try Listener(
        ListenAddress(parsing: "\(host):0"), unixPermissions: 0o600, on: loop, logger: .silent)
      address = listener.address.description
      self.listener = listener
      listener.start { [unowned self] fileDescriptor, peer in
        guard let socket = try? Socket(adopting: fileDescriptor, peer: peer, on: loop) else {
          return
        }
        let connection = HTTP2Connection(
          role: .server, stream: socket, loop: loop, limits: .server, handler: self,
          requestRecorder: HeadRecorder())
        connections.append(connection)
        connection.start()
        if toTurnAway > 0 {
          toTurnAway -= 1
          connection.shutDown()
        }
      }
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  func stop() async {
    loop.execute { [self] in
      listener?.close()
      listener = nil
      for connection in connections {
        connection.close(HTTP2CloseReason(.closedHere, "The test is over."))
      }
      connections = []
    }
    await loop.stop()
  }

  /// Answers with status OK and one message.
  static func answer(_ stream: HTTP2Stream, _ message: [UInt8]) {
    stream.sendHeaders(fields([(":status", "200"), ("content-type", "application/grpc")]))
    stream.send(OutgoingMessage(message))
    stream.finish(trailers: fields([("grpc-status", "0")]))
  }

  /// Answers with a status and nothing else, before any message.
  static func refuse(
    _ stream: HTTP2Stream, _ status: RPCError.Code, _ more: [(String, String)] = []
  ) {
    stream.sendHeaders(
      fields(
        [
          (":status", "200"), ("content-type", "application/grpc"),
          ("grpc-status", "\(status.rawValue)"), ("grpc-message", "the test says no"),
        ] + more), endStream: true)
  }

  /// The values of one header of all requests.
  func values(of name: StaticString) -> [String?] {
    heads.withLock { heads in heads.map { $0.value(of: name) } }
  }

  static func fields(_ list: [(String, String)]) -> HTTP2Fields {
    var fields = HTTP2Fields()
    for (name, value) in list { fields.append(name, value) }
    return fields
  }

  func connection(
    _ connection: HTTP2Connection, recordsRequestOn stream: HTTP2Stream, isTooLarge: Bool
  ) {
    stream.handler = self
    guard let recorder = connection.requestRecorder as? HeadRecorder else { return }
    let head = recorder.fields
    heads.withLock { $0.append(head) }
  }

  func streamBegan(_ stream: HTTP2Stream) {
    requests += 1
    script(stream, requests)
  }

  func connectionReceivedSettings(_ connection: HTTP2Connection) {}
  func connection(
    _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
    lastStreamID: Int32, debugText: String
  ) {}
  func connectionClosedStream(_ connection: HTTP2Connection) {}
  func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason) {}
  func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool) {}
  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
    let piece = bytes.withUnsafeBufferPointer { Array($0) }
    bodies.withLock { $0 += piece }
    stream.consume(bytes.count)
  }
  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {}
  func streamReceivedEnd(_ stream: HTTP2Stream) {}
  func streamBecameWritable(_ stream: HTTP2Stream) {}
  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {}
}

/// Keeps the headers of the request that came last.
private final class HeadRecorder: HTTP2RequestRecorder {
  private(set) var fields = HTTP2Fields()

  func begin() {
    fields = HTTP2Fields()
  }

  func record(_ name: Span<UInt8>, _ value: Span<UInt8>) {
    fields.append(String(repairing: name), String(repairing: value))
  }
}
