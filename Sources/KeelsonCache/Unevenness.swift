import Synchronization

/// Numbers that spread what would happen at once. They need not be secret, and so cost no call of the
/// system's.
final class Unevenness: Sendable {
  private let state = Atomic<UInt64>(.random(in: 0...UInt64.max))

  /// From 0 up to and without 1. Source: the SplitMix64 of Steele, Lea and Flood, 2014.
  func next() -> Double {
    var mixed = state.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    return Double(mixed >> 11) * 0x1p-53
  }
}
