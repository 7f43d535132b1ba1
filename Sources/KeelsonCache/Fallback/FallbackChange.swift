/// That the server's own memory took the place of the shared engine, or gave it back.
enum FallbackChange: Sendable {
  case activated
  /// After this long, and so many things made void in the shared engine.
  case ended(Duration, invalidations: Int)
}
