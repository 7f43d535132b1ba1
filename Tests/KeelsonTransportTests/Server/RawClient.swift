import KeelsonCore
import Synchronization

@testable import KeelsonTransport

/// An HTTP/2 client that sends what a test tells it, right or wrong, over a real socket.
///
/// `@unchecked Sendable`: everything but the constants is touched on the loop only.
final class RawClient: HTTP2ConnectionHandler, @unchecked Sendable {
  let loop: Loop
  private var socket: Socket?
  private(set) var connection: HTTP2Connection?
  let closed: AsyncStream<HTTP2CloseReason>
  private let closedContinuation: AsyncStream<HTTP2CloseReason>.Continuation
  let goAways: AsyncStream<HTTP2ErrorCode>
  private let goAwayContinuation: AsyncStream<HTTP2ErrorCode>.Continuation

  init(_ address: ListenAddress, limits: HTTP2Limits = .client) async throws {
    let loop = Loop()
    loop.start()
    self.loop = loop
    (closed, closedContinuation) = AsyncStream.makeStream()
    (goAways, goAwayContinuation) = AsyncStream.makeStream()
    try await withCheckedThrowingContinuation {
      (connected: CheckedContinuation<Void, any Error>) in
      loop.execute { [self] in
        do throws(SocketError) {
          socket = try Socket.connect(to: address.address, on: loop) { [self] error in
            if let error {
              socket?.close()
              loop.execute { Task { await loop.stop() } }
              return connected.resume(throwing: error)
            }
            guard let socket else { return }
            connection = HTTP2Connection(
              role: .client, stream: socket, loop: loop, limits: limits, handler: self)
            connection?.start()
            connected.resume()
          }
        } catch {
          connected.resume(throwing: error)
        }
      }
    }
  }

  /// Begins a call; messages get their prefix.
  func call(
    _ path: String, _ messages: [[UInt8]] = [], headers: [(String, String)] = [],
    contentType: String = "application/grpc", finish: Bool = true, consumes: Bool = true
  ) async -> RawCall {
    await loop.call { [self] in
      var fields = HTTP2Fields.request(path)
      fields.append("content-type", contentType)
      fields.append("te", "trailers")
      for (name, value) in headers { fields.append(name, value) }
      let call = RawCall(loop: loop, consumes: consumes)
      call.stream = connection?.openStream(fields, handler: call)
      for message in messages { call.stream?.send(OutgoingMessage(message)) }
      if finish { call.stream?.finish() }
      return call
    }
  }

  func close() async {
    await loop.call { [self] in
      connection?.close(HTTP2CloseReason(.closedHere, "The test is over."))
      connection = nil
      socket = nil
    }
    await loop.stop()
  }

  func connectionReceivedSettings(_ connection: HTTP2Connection) {}
  func connection(
    _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
    lastStreamID: Int32, debugText: String
  ) {
    goAwayContinuation.yield(errorCode)
  }
  func connectionClosedStream(_ connection: HTTP2Connection) {}
  func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason) {
    closedContinuation.yield(reason)
    closedContinuation.finish()
    goAwayContinuation.finish()
  }
}

/// What a test's call has received.
///
/// `@unchecked Sendable`: everything but the constants is touched on the loop only.
final class RawCall: HTTP2StreamHandler, @unchecked Sendable {
  struct Outcome: Sendable {
    var httpStatus: String?
    var status: Int?
    var message: String?
    var fields: [String: String] = [:]
    var messages: [[UInt8]] = []
    /// Whether each of them was flagged as compressed.
    var areCompressed: [Bool] = []
    var closeCode: HTTP2ErrorCode?
  }

  let loop: Loop
  fileprivate(set) var stream: HTTP2Stream?
  private let consumes: Bool
  private var outcome = Outcome()
  private var deframer = MessageDeframer(maximumMessageBytes: .max)
  private let ended = Ended()
  /// Each message as it comes.
  let arrivals: AsyncStream<[UInt8]>
  private let arrivalsContinuation: AsyncStream<[UInt8]>.Continuation

  init(loop: Loop, consumes: Bool) {
    self.loop = loop
    self.consumes = consumes
    (arrivals, arrivalsContinuation) = AsyncStream.makeStream()
  }

  /// What came of the call, once its stream has closed.
  func result() async -> Outcome {
    await ended.wait()
    return await loop.call { [self] in outcome }
  }

  func send(_ messages: [[UInt8]], finish: Bool = false) async {
    await loop.call { [self] in
      for message in messages { stream?.send(OutgoingMessage(message)) }
      if finish { stream?.finish() }
    }
  }

  func sendRaw(_ bytes: [UInt8], finish: Bool = false) async {
    await loop.call { [self] in
      stream?.send(OutgoingMessage(unframed: bytes))
      if finish { stream?.finish() }
    }
  }

  func reset() async { await loop.call { [self] in stream?.reset(.cancel) as Void? ?? () } }

  func firstMessage() async -> [UInt8]? {
    for await message in arrivals { return message }
    return nil
  }

  private func take(_ fields: HTTP2Fields) {
    fields.forEach({ name, value in
      outcome.fields[String(repairing: name)] = String(repairing: value)
    })
    outcome.httpStatus = outcome.fields[":status"]
    outcome.status = outcome.fields["grpc-status"].flatMap { Int($0) }
    outcome.message = outcome.fields["grpc-message"].map {
      StatusMessage.decode(Array($0.utf8).span)
    }
  }

  func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool) {
    take(fields)
  }
  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {
    take(fields)
  }
  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
    if consumes { stream.consume(bytes.count) }
    try? deframer.read(bytes) { message, isCompressed in
      outcome.messages.append(message)
      outcome.areCompressed.append(isCompressed)
      arrivalsContinuation.yield(message)
    }
  }
  func streamReceivedEnd(_ stream: HTTP2Stream) {}
  func streamBecameWritable(_ stream: HTTP2Stream) {}
  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {
    outcome.closeCode = errorCode
    arrivalsContinuation.finish()
    self.stream = nil
    ended.signal()
  }
}
