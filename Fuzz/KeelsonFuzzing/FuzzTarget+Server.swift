extension FuzzTarget {
  /// A whole server: what a peer sends on a connection, and that others are served after it. Of
  /// the first byte, bit 0 says whether the preface and SETTINGS are put before it, bit 1 whether
  /// it comes in two pieces.
  static let server = FuzzTarget(
    "server", maximumBytes: 8 << 10,
    prepare: { try await FuzzedServer.shared.start() },
    run: { input in
      guard let options = input.first else { return }
      var bytes = Array(input.dropFirst())
      if options & 1 != 0 { bytes = FuzzedServer.preface + bytes }
      let cut = options & 2 != 0 ? bytes.count / 2 : bytes.count
      try FuzzedServer.shared.serve([Array(bytes[..<cut]), Array(bytes[cut...])])
    })
}
