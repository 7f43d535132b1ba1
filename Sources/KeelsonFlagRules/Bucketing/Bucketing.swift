/// How `fractional` turns a context into a bucket. A flag set chooses one and keeps it: changing
/// it moves users between variants.
public enum Bucketing: String, Sendable, Hashable, CaseIterable {
  /// murmur3 over the UTF-8 bytes of flag key and targeting key, as flagd's providers before
  /// flagd-core 2.
  case v2
  /// murmur3 over the deterministic CBOR form of the bucketing value, as flagd-core 2.
  case v3
}
