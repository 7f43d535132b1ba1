import COpenSSL
import KeelsonCore
import KeelsonTestKit

@testable import KeelsonTransport

/// A server's and a client's TLS stream, one at each end of a pipe, on one loop.
///
/// `@unchecked Sendable`: touched on the loop only, but for the ends' streams of events.
final class TLSPair: @unchecked Sendable {
  enum Event: Equatable, Sendable {
    case open
    case failed(String)
    case received(Int)
    case wroteAll
    case ended
    case broken(String)
  }

  let loop: Loop
  let server: End
  let client: End

  init(
    _ serverContext: TLSServerContext, _ clientContext: TLSClientContext, loop: Loop,
    timeout: Duration = .seconds(10),
    change: @escaping @Sendable (PipeEnd, PipeEnd) -> Void = {
      _, _ in
    }
  ) async throws {
    self.loop = loop
    let (server, client) = (End(), End())
    self.server = server
    self.client = client
    let outcome = await loop.call { () -> TLSError? in
      let (serverPipe, clientPipe) = PipeEnd.pair(on: loop)
      change(serverPipe, clientPipe)
      do throws(TLSError) {
        server.begin(
          try TLSStream(.server(serverContext), over: serverPipe, on: loop), serverPipe, timeout)
        client.begin(
          try TLSStream(
            .client(clientContext, expected: clientContext.expected(at: nil)), over: clientPipe,
            on: loop), clientPipe, timeout)
        return nil
      } catch {
        return error
      }
    }
    if let outcome { throw outcome }
  }

  func opened() async -> Bool {
    let first = await server.next()
    let second = await client.next()
    return first == .open && second == .open
  }

  func onLoop<Value: Sendable>(_ body: @escaping @Sendable (End, End) -> Value) async -> Value {
    let (server, client) = (server, client)
    return await loop.call { body(server, client) }
  }

  func close() async {
    await onLoop { server, client in
      server.stream?.close()
      client.stream?.close()
      server.stream = nil
      client.stream = nil
    }
  }

  /// `@unchecked Sendable`: touched on the loop only, but for the stream of events.
  final class End: ByteStreamObserver, @unchecked Sendable {
    var stream: TLSStream?
    var pipe: PipeEnd?
    var received: [UInt8] = []
    /// How much room a read gets.
    var roomBytes = 128 * 1024
    /// Whether what comes is read.
    var reads = true
    private var unwritten: [UInt8] = []
    private let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation

    init() {
      (events, continuation) = AsyncStream.makeStream()
    }

    func next() async -> Event? {
      for await event in events { return event }
      return nil
    }

    func wait(_ isIt: (Event) -> Bool) async -> Event? {
      for await event in events where isIt(event) { return event }
      return nil
    }

    func begin(_ stream: TLSStream, _ pipe: PipeEnd, _ timeout: Duration) {
      self.stream = stream
      self.pipe = pipe
      stream.handshake(timeout: timeout) { [unowned self] outcome in
        switch outcome {
        case .success:
          continuation.yield(.open)
          stream.start(observer: self)
        case .failure(let error):
          continuation.yield(.failed(error.message))
          stream.close()
        }
      }
    }

    func send(_ bytes: [UInt8]) {
      unwritten += bytes
      byteStreamIsWritable()
    }

    func byteStreamIsWritable() {
      guard let stream else { return }
      while !unwritten.isEmpty {
        let part = unwritten.prefix(128 * 1024)
        guard case .bytes(let count) = Array(part).withUnsafeBytes({ stream.write($0) }) else {
          stream.isAwaitingRoom = true
          return
        }
        unwritten.removeFirst(count)
      }
      stream.isAwaitingRoom = stream.isHoldingBytes
      if !stream.isHoldingBytes { continuation.yield(.wroteAll) }
    }

    func byteStreamIsReadable() {
      guard let stream, reads else { return }
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: roomBytes, alignment: 16)
      defer { room.deallocate() }
      // As HTTP2Connection does: a few times, as long as the room is filled.
      for _ in 0..<4 {
        switch stream.read(into: room) {
        case .bytes(let count):
          received += room[..<count]
          continuation.yield(.received(received.count))
          if count < room.count { return }
        case .wouldBlock: return
        case .ended:
          continuation.yield(.ended)
          return
        case .failed(let error):
          continuation.yield(.broken(error.message))
          return
        }
      }
    }
  }
}
