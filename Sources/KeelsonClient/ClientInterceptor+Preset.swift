import KeelsonCore

extension ClientInterceptor {
  /// Adds to each call what its caller left to the configuration.
  ///
  /// - Parameter unaryTimeout: of unary calls that set no timeout.
  static func preset(metadata: Metadata, unaryTimeout: Duration) -> ClientInterceptor {
    ClientInterceptor(begin: { method, options in
      if options.timeout == nil, method.kind == .unary { options.timeout = unaryTimeout }
      guard !metadata.isEmpty else { return }
      let named = Set(options.metadata.entries.map(\.name))
      for entry in metadata.entries where !named.contains(entry.name) {
        options.metadata.append(entry)
      }
    })
  }
}
