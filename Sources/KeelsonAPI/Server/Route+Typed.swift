package import KeelsonCore

/// Routes made of typed handlers. Each decodes what comes in and encodes what goes out; a thrown
/// ``RPCError`` with details leaves with its `google.rpc.Status`.
extension Route {
  package static func unary<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handler: @escaping @Sendable (Request, ServerContext) async throws -> Response
  ) -> Route {
    Route(
      method: method,
      handler: .unary { bytes, context in
        do {
          return try await handler(try decoded(bytes), context).encoded()
        } catch {
          throw withEncodedStatus(error)
        }
      })
  }

  /// A unary method whose handler never waits: see ``Route/Immediate``. Services make them with
  /// the function of their method, which knows the types.
  package static func immediate<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handler: @escaping @Sendable (Request, ServerContext) throws -> Response
  ) -> Route {
    Route(
      method: method,
      handler: .immediate { bytes, context in
        do {
          return try handler(try Request(decoding: bytes, limits: .standard), context).encoded()
        } catch {
          throw withEncodedStatus(error)
        }
      })
  }

  // Not inlined: what these need would stand in the frame of each call's task, and a task whose
  // frames outgrow its first block of memory takes more from malloc.
  @inline(never)
  private static func decoded<Request: Message>(_ bytes: [UInt8]) throws -> Request {
    try Request(decoding: bytes, limits: .standard)
  }

  @inline(never)
  private static func withEncodedStatus(_ error: any Error) -> any Error {
    (error as? RPCError)?.withEncodedStatus() ?? error
  }

  package static func serverStreaming<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handler:
      @escaping @Sendable (Request, ResponseWriter<Response>, ServerContext) async throws -> Void
  ) -> Route {
    streaming(method) { requests, responses, context in
      // grpc/grpc doc/statuscodes.md: a wrong number of requests is UNIMPLEMENTED.
      guard let bytes = try await requests.next() else {
        throw RPCError(.unimplemented, "\(method.path) takes one request; none came.")
      }
      let request = try Request(decoding: bytes, limits: .standard)
      guard try await requests.next() == nil else {
        throw RPCError(.unimplemented, "\(method.path) takes one request; several came.")
      }
      try await handler(request, ResponseWriter(responses), context)
    }
  }

  package static func clientStreaming<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handler: @escaping @Sendable (RequestStream<Request>, ServerContext) async throws -> Response
  ) -> Route {
    streaming(method) { requests, responses, context in
      let response = try await handler(RequestStream(requests), context)
      try await responses.write(response.encoded())
    }
  }

  package static func bidirectional<Request: Message, Response: Message>(
    _ method: MethodDescriptor,
    _ handler:
      @escaping @Sendable (RequestStream<Request>, ResponseWriter<Response>, ServerContext)
      async throws -> Void
  ) -> Route {
    streaming(method) { requests, responses, context in
      try await handler(RequestStream(requests), ResponseWriter(responses), context)
    }
  }

  private static func streaming(_ method: MethodDescriptor, _ handler: @escaping Streaming) -> Route
  {
    Route(
      method: method,
      handler: .streaming { requests, responses, context in
        do {
          try await handler(requests, responses, context)
        } catch {
          throw withEncodedStatus(error)
        }
      })
  }
}

extension [Route] {
  /// The same routes, with these in place of those of the same methods.
  package func servingAtOnce(_ immediate: [Route]) -> [Route] {
    map { route in immediate.first { $0.method == route.method } ?? route }
  }
}
