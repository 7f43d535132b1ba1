import KeelsonCore

// How a handler reads and writes, from the loop or from anywhere else.

extension ServerCall: InboundMessages {
  func next() async throws -> [UInt8]? {
    if loop.isCurrent {
      switch inbound.take() {
      case .message(let message, let credit):
        took(credit)
        return try inflated(message)
      case .end: return nil
      case .failure(let error): throw error
      case .nothingYet: break
      }
    }
    return try await withTaskCancellationHandler {
      try await unsafe withUnsafeThrowingContinuation { reader in
        guard loop.tryRun({ [self] in unsafe read(reader) }) else {
          return unsafe reader.resume(throwing: ended)
        }
        // A cancellation ahead of the line above found no reader yet.
        if Task.isCancelled { interruptReader() }
      }
    } onCancel: {
      interruptReader()
    }
  }

  private func interruptReader() {
    loop.execute { [self] in
      if let reader = unsafe inbound.takeReader() {
        unsafe reader.resume(throwing: CancellationError())
      }
    }
  }

  /// The handler has taken a message.
  private func took(_ credit: Int) {
    stream.consume(credit)
    accountForRequest()
  }

  private func read(_ reader: InboundQueue.Reader) {
    switch inbound.take() {
    case .message(let message, let credit):
      took(credit)
      do throws(RPCError) {
        unsafe reader.resume(returning: try inflated(message))
      } catch {
        unsafe reader.resume(throwing: error)
      }
    case .end: unsafe reader.resume(returning: nil)
    case .failure(let error): unsafe reader.resume(throwing: error)
    case .nothingYet:
      if unsafe !inbound.wait(reader) {
        unsafe reader.resume(
          throwing: RPCError(.internalError, "Two tasks read the messages of one call at once."))
      }
    }
  }

  /// The message as it was before the peer compressed it. One that cannot be inflated fails the
  /// call.
  func inflated(_ message: ReceivedMessage) throws(RPCError) -> [UInt8] {
    if encodings.request != .identity { context.isRequestCompressed = message.isCompressed }
    guard message.isCompressed else { return message.bytes }
    do throws(RPCError) {
      return try loop.compression.inflate(
        message.bytes, maximumBytes: server.configuration.maximumRequestMessageBytes)
    } catch {
      fail(error)
      throw error
    }
  }

  /// Gives a waiting reader what has come.
  func deliverInbound() {
    guard let reader = unsafe inbound.takeReader() else { return }
    unsafe read(reader)
  }
}

extension ServerCall: OutboundMessages {
  func write(_ message: [UInt8]) async throws {
    if loop.isCurrent {
      guard send(message) else { throw ended }
      if stream.isWritable { return }
    } else {
      let hasRoom = try await unsafe withUnsafeThrowingContinuation {
        (sent: UnsafeContinuation<Bool, any Error>) in
        let willRun = loop.tryRun { [self] in
          if send(message) {
            unsafe sent.resume(returning: stream.isWritable)
          } else {
            unsafe sent.resume(throwing: ended)
          }
        }
        if !willRun { unsafe sent.resume(throwing: ended) }
      }
      if hasRoom { return }
    }
    try await withTaskCancellationHandler {
      try await unsafe withUnsafeThrowingContinuation { writer in
        guard loop.tryRun({ [self] in unsafe waitForRoom(writer) }) else {
          return unsafe writer.resume(throwing: ended)
        }
        if Task.isCancelled { interruptWriters() }
      }
    } onCancel: {
      interruptWriters()
    }
  }

  private func interruptWriters() {
    loop.execute { [self] in writers.failAll(CancellationError()) }
  }

  private func waitForRoom(_ writer: WaitingWriters.Writer) {
    if state.isFinished {
      unsafe writer.resume(throwing: ended)
    } else if stream.isWritable {
      unsafe writer.resume()
    } else {
      unsafe writers.wait(writer)
    }
  }

  private var ended: RPCError {
    failure ?? RPCError(.cancelled, "The call has ended.")
  }
}
