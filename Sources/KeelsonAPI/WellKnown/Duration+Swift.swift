internal import KeelsonCore

extension GoogleProtobuf.Duration {
  /// What protobuf allows: about 10,000 years either way.
  private static let maximumSeconds: Int64 = 315_576_000_000

  /// The nearest duration that protobuf can express, cut to whole nanoseconds.
  public init(_ duration: Swift.Duration) {
    let (seconds, attoseconds) = duration.components
    if seconds >= Self.maximumSeconds {
      self.init(seconds: Self.maximumSeconds, nanos: 0)
    } else if seconds <= -Self.maximumSeconds {
      self.init(seconds: -Self.maximumSeconds, nanos: 0)
    } else {
      self.init(seconds: seconds, nanos: Int32(attoseconds / 1_000_000_000))
    }
  }

  /// The duration.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when it is longer than 315,576,000,000 s,
  ///   when `nanos` is not within ±999,999,999, or when the two differ in sign.
  public var duration: Swift.Duration {
    get throws(RPCError) {
      let isOneSign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0)
      guard (-Self.maximumSeconds...Self.maximumSeconds).contains(seconds),
        (-999_999_999...999_999_999).contains(nanos), isOneSign
      else {
        throw RPCError(
          .invalidArgument,
          "google.protobuf.Duration: \(seconds) s, \(nanos) ns is no valid duration.")
      }
      return clampedDuration
    }
  }

  /// The duration; one too long becomes the longest allowed.
  public var clampedDuration: Swift.Duration {
    let seconds = min(max(seconds, -Self.maximumSeconds), Self.maximumSeconds)
    return .seconds(seconds) + .nanoseconds(Int64(nanos))
  }
}
