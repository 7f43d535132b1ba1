extension ServerInterceptor {
  /// Lets the calls that a handler makes inherit what it has from its caller: binds
  /// ``ServerContext/current`` around the handler, where ``ClientInterceptor/propagation`` finds
  /// it.
  package static func propagation() -> ServerInterceptor {
    ServerInterceptor(around: { context, proceed in
      try await ServerContext.$current.withValue(context) { try await proceed() }
    })
  }
}

extension ClientInterceptor {
  /// Hands on what a call has from the call that its caller serves: the deadline, unless its own
  /// is nearer, the correlation id and the trace, unless it names its own.
  public static let propagation = ClientInterceptor(begin: { _, options in
    guard let serving = ServerContext.current else { return }
    if let deadline = serving.deadline {
      let remaining = deadline.remaining
      options.timeout = min(options.timeout ?? remaining, remaining)
    }
    let state = serving.snapshot
    if options.metadata["x-correlation-id"] == nil {
      let text = state.correlation.text
      if !text.isEmpty { options.metadata.add("x-correlation-id", text) }
    }
    if options.metadata["traceparent"] == nil, let trace = state.trace {
      options.metadata.add("traceparent", trace.traceparent)
      if !trace.state.isEmpty { options.metadata.add("tracestate", trace.state) }
    }
  })
}
