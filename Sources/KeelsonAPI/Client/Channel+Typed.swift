package import KeelsonCore

/// What generated clients make their calls with.
extension Channel {
  package func unaryCall<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, options: CallOptions
  ) async throws -> Response {
    do {
      let reply = try await unary(method, request.encoded(), options: options)
      return try Response(reply: reply.message)
    } catch let error as RPCError {
      throw error.withDecodedDetails()
    }
  }

  package func serverStreamingCall<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, options: CallOptions
  ) -> ResponseStream<Response> {
    let call = startCall(method, options: options)
    let bytes = request.encoded()
    Task {
      // A call that ended early says why when its responses are read.
      try? await call.send(bytes)
      call.finishSending()
    }
    return ResponseStream(call)
  }

  package func clientStreamingCall<Request: Message, Response: Message>(
    _ method: MethodDescriptor, options: CallOptions,
    send: (RequestWriter<Request>) async throws -> Void
  ) async throws -> Response {
    let call = startCall(method, options: options)
    let writer = RequestWriter<Request>(call)
    do {
      try await send(writer)
    } catch {
      // When it was the call that ended, the status says more than the failed write.
      if !writer.hasFailed {
        call.cancel()
        throw error
      }
    }
    writer.finish()
    return try await withTaskCancellationHandler {
      do {
        guard let bytes = try await call.receive() else {
          throw RPCError(.internalError, "\(method.path) ended with OK but sent no message.")
        }
        let response = try Response(reply: bytes)
        guard try await call.receive() == nil else {
          call.cancel()
          throw RPCError(.internalError, "\(method.path) sent more than one message.")
        }
        return response
      } catch let error as RPCError {
        throw error.withDecodedDetails()
      }
    } onCancel: {
      call.cancel()
    }
  }

  package func bidirectionalCall<Request: Message, Response: Message>(
    _ method: MethodDescriptor, options: CallOptions
  ) -> BidirectionalCall<Request, Response> {
    let call = startCall(method, options: options)
    return BidirectionalCall(
      requests: RequestWriter(call), responses: ResponseStream(call))
  }
}

extension Message {
  /// Decodes what a server sent; a server's mistake is not the caller's INVALID_ARGUMENT.
  init(reply bytes: [UInt8]) throws(RPCError) {
    do {
      try self.init(decoding: bytes, limits: .reply)
    } catch {
      throw RPCError(.internalError, "The server's message cannot be decoded: \(error.message)")
    }
  }
}
