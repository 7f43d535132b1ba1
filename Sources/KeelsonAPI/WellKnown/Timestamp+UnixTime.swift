public import KeelsonCore

extension GoogleProtobuf.Timestamp {
  /// The moments that protobuf allows: from 0001-01-01T00:00:00Z to the end of year 9999.
  private static let seconds: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

  /// The timestamp of a moment. Moments outside of years 1 to 9999 become the nearest one inside.
  public init(_ time: UnixTime) {
    var (seconds, microseconds) = time.microseconds.quotientAndRemainder(
      dividingBy: 1_000_000)
    if microseconds < 0 {
      seconds -= 1
      microseconds += 1_000_000
    }
    if seconds < Self.seconds.lowerBound {
      self.init(seconds: Self.seconds.lowerBound, nanos: 0)
    } else if seconds > Self.seconds.upperBound {
      self.init(seconds: Self.seconds.upperBound, nanos: 999_999_999)
    } else {
      self.init(seconds: seconds, nanos: Int32(microseconds * 1_000))
    }
  }

  /// The moment, cut to whole microseconds.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT outside of years 1 to 9999, or when
  ///   `nanos` is not within 0 to 999,999,999.
  public var unixTime: UnixTime {
    get throws(RPCError) {
      guard Self.seconds.contains(seconds), (0...999_999_999).contains(nanos) else {
        throw RPCError(
          .invalidArgument,
          "google.protobuf.Timestamp: \(seconds) s, \(nanos) ns is no moment of years 1 to 9999.")
      }
      return UnixTime(microseconds: seconds * 1_000_000 + Int64(nanos / 1_000))
    }
  }
}
