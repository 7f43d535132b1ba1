import Synchronization

extension ServerInterceptor {
  /// The longest `x-correlation-id` that is taken over, in bytes.
  package static let maximumCorrelationIDBytes = 128

  /// Gives each call its correlation id: the caller's `x-correlation-id` if it is 1 to 128 bytes
  /// of printable ASCII, otherwise a new UUIDv7. The transport returns it in the trailers.
  package static func correlation() -> ServerInterceptor {
    let bits = RandomBits()
    return ServerInterceptor(begin: { context in
      if let given = context.metadata["x-correlation-id"], isCorrelationID(given) {
        context.correlation = .given(given)
      } else {
        context.correlation = .made(UUIDv7(at: .now, random: bits.next()))
      }
    })
  }

  /// Continues the caller's trace: reads `traceparent` and `tracestate`, and gives the call a span
  /// of its own in that trace.
  package static func trace() -> ServerInterceptor {
    let bits = RandomBits()
    return ServerInterceptor(begin: { context in
      guard let parent = context.metadata["traceparent"],
        let trace = TraceContext(
          traceparent: parent, tracestate: context.metadata["tracestate"] ?? "")
      else { return }
      // Zero is no span's number.
      context.trace = trace.child(spanID: bits.next() | 1)
    })
  }

  private static func isCorrelationID(_ text: String) -> Bool {
    (1...maximumCorrelationIDBytes).contains(text.utf8.count)
      && text.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7E }
  }
}

/// Bits for identifiers that need not be secret, from any thread without a lock: SplitMix64,
/// seeded by the operating system. Source: G. Steele, D. Lea, C. Flood, "Fast Splittable
/// Pseudorandom Number Generators", 2014.
private final class RandomBits: Sendable {
  private let state: Atomic<UInt64>

  init() {
    var system = SystemRandomNumberGenerator()
    state = Atomic(system.next())
  }

  func next() -> UInt64 {
    var bits = state.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
    bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }
}
