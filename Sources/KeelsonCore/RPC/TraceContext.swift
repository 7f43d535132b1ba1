/// A call's place in a distributed trace. Source: W3C Trace Context, sections 3.2 and 3.3.
public struct TraceContext: Sendable, Hashable {
  /// 32 hexadecimal digits in lower case, the same for the whole trace.
  public let traceID: String
  /// The 16 hexadecimal digits of the caller's span.
  public let parentID: String
  /// Two hexadecimal digits; the lowest bit says that the caller records the trace.
  public let flags: String
  /// What tracing systems add, handed on unread; empty when there is nothing.
  public let state: String

  /// The longest `tracestate` that is handed on, in bytes.
  static let maximumStateBytes = 512

  /// Reads the headers; nil when `traceparent` is malformed, in which case the trace ends here.
  public init?(traceparent: String, tracestate: String = "") {
    let bytes = Array(traceparent.utf8)
    let dashes = [2, 35, 52]
    guard bytes.count >= 55, dashes.allSatisfy({ bytes[$0] == UInt8(ascii: "-") }),
      Self.isHexadecimal(bytes[0..<2]), Self.isHexadecimal(bytes[3..<35]),
      Self.isHexadecimal(bytes[36..<52]), Self.isHexadecimal(bytes[53..<55])
    else { return nil }
    // Later versions may add fields behind a dash; version ff is forbidden.
    let version = String(decoding: bytes[0..<2], as: UTF8.self)
    guard version != "ff", version == "00" ? bytes.count == 55 : Self.mayEnd(bytes) else {
      return nil
    }
    traceID = String(decoding: bytes[3..<35], as: UTF8.self)
    parentID = String(decoding: bytes[36..<52], as: UTF8.self)
    flags = String(decoding: bytes[53..<55], as: UTF8.self)
    state = tracestate.utf8.count <= Self.maximumStateBytes ? tracestate : ""
    guard traceID.utf8.contains(where: { $0 != UInt8(ascii: "0") }),
      parentID.utf8.contains(where: { $0 != UInt8(ascii: "0") })
    else { return nil }
  }

  private init(traceID: String, parentID: String, flags: String, state: String) {
    self.traceID = traceID
    self.parentID = parentID
    self.flags = flags
    self.state = state
  }

  /// The same trace with another span as the parent of what follows.
  public func child(spanID: UInt64) -> TraceContext {
    let digits = String(spanID, radix: 16)
    return TraceContext(
      traceID: traceID, parentID: String(repeating: "0", count: 16 - digits.count) + digits,
      flags: flags, state: state)
  }

  /// The value of the `traceparent` header, of version 00.
  public var traceparent: String { "00-\(traceID)-\(parentID)-\(flags)" }

  private static func isHexadecimal(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  private static func mayEnd(_ bytes: [UInt8]) -> Bool {
    bytes.count == 55 || bytes[55] == UInt8(ascii: "-")
  }
}
