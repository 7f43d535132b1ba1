/// What stands around the calls of a server: plain functions, made for each method when the
/// server starts, so that they may hold what belongs to the method.
///
/// A server has a list of them. Each call runs `begin` of all in order, then `around` of all with
/// the first outermost and the handler innermost, and when it has ended, `end` of all in reverse
/// order. All run on the call's loop and must not block.
package struct ServerInterceptor: Sendable {
  /// The functions around the calls of one method; what is nil costs nothing.
  package struct Functions: Sendable {
    /// Before anything is read of the request's messages. What it throws is the call's status,
    /// and the handler does not run.
    package typealias Begin = @Sendable (ServerContext) throws(RPCError) -> Void
    /// Around the handler, in the call's task. It may refuse by throwing instead of proceeding,
    /// and throw another error than the handler did. It proceeds at most once.
    package typealias Around =
      @Sendable (_ context: ServerContext, _ proceed: () async throws -> Void) async throws -> Void
    /// After the call has ended in whatever way. Comes exactly once for each call that began.
    package typealias End = @Sendable (ServerContext, CallSummary) -> Void

    package var begin: Begin?
    package var around: Around?
    package var end: End?

    package init(begin: Begin? = nil, around: Around? = nil, end: End? = nil) {
      self.begin = begin
      self.around = around
      self.end = end
    }
  }

  private let make: @Sendable (MethodDescriptor) -> Functions

  /// - Parameter make: called once for each method that is served, and once for
  ///   ``MethodDescriptor/unknown``, which stands for all that are not.
  package init(_ make: @escaping @Sendable (MethodDescriptor) -> Functions) {
    self.make = make
  }

  /// The same functions for every method.
  package init(
    begin: Functions.Begin? = nil, around: Functions.Around? = nil, end: Functions.End? = nil
  ) {
    self.init { _ in Functions(begin: begin, around: around, end: end) }
  }

  /// The functions for one method.
  package func functions(for method: MethodDescriptor) -> Functions { make(method) }
}

extension MethodDescriptor {
  /// Stands for every method that a server does not have.
  package static let unknown = MethodDescriptor(service: "unknown", name: "unknown", kind: .unary)
}

extension Route {
  /// The same route with functions around its handler, the first outermost.
  package func around(_ functions: [ServerInterceptor.Functions.Around]) -> Route {
    functions.reversed().reduce(self) { route, around in
      switch route.handler {
      case .unary(let handler):
        Route(method: route.method, handler: .unary(unary(handler, within: around)))
      case .immediate(let handler):
        // What stands around it may wait, so it needs a task after all.
        Route(
          method: route.method,
          handler: .unary(unary({ try handler($0, $1) }, within: around)))
      case .streaming(let handler):
        Route(
          method: route.method,
          handler: .streaming { requests, responses, context in
            try await around(context) { try await handler(requests, responses, context) }
          })
      }
    }
  }

  private func unary(
    _ handler: @escaping Unary, within around: @escaping ServerInterceptor.Functions.Around
  ) -> Unary {
    { request, context in
      var reply: [UInt8]?
      try await around(context) { reply = try await handler(request, context) }
      guard let reply else {
        throw RPCError(
          .internalError, "The call was not let through to its handler.",
          cause: "An interceptor neither proceeded nor threw an error.")
      }
      return reply
    }
  }
}
