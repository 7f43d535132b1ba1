import KeelsonCore

/// What the headers of a request say, read in one pass.
struct RequestHead {
  var entry: Router.Entry?
  var path = ""
  var isPost = false
  var isGRPC = false
  var timeout: Duration?
  var hasMalformedTimeout = false
  /// An encoding other than identity.
  var unknownEncoding: String?
  var correlationID: String?
  var metadata = Metadata()

  /// The longest `x-correlation-id` that is taken over.
  static let maximumCorrelationIDBytes = 128

  init(_ fields: HTTP2Fields, router: Router, userAgent: inout LastUserAgent) {
    fields.forEach({ name, value in read(name, value, router, &userAgent) })
  }

  private mutating func read(
    _ name: Span<UInt8>, _ value: Span<UInt8>, _ router: Router, _ userAgent: inout LastUserAgent
  ) {
    // The length tells most names apart, so that at most two are compared.
    switch name.count {
    case 2 where name.equals("te"): break
    case 5 where name.equals(":path"):
      entry = router.route(for: value)
      if entry == nil { path = String(repairing: value) }
    case 7 where name.equals(":method"):
      isPost = value.equals("POST")
    case 10 where metadata.isEmpty && name.equals("user-agent"):
      metadata = userAgent.metadata(value)
    case 10 where name.equals(":authority"): break
    case 12 where name.equals("content-type"):
      isGRPC = ContentType.isGRPC(value)
    case 12 where name.equals("grpc-timeout"):
      timeout = GRPCTimeout.parse(value)
      hasMalformedTimeout = timeout == nil
    case 13 where name.equals("grpc-encoding"):
      if !value.equals("identity") { unknownEncoding = String(repairing: value) }
    case 16 where name.equals("x-correlation-id"):
      if Self.isCorrelationID(value) { correlationID = String(repairing: value) }
    default:
      MetadataCodec.add(name: name, value: value, to: &metadata)
    }
  }

  private static func isCorrelationID(_ value: Span<UInt8>) -> Bool {
    guard value.count > 0, value.count <= maximumCorrelationIDBytes else { return false }
    for index in value.indices where value[index] < 0x20 || value[index] > 0x7E { return false }
    return true
  }
}

/// The `user-agent` of a connection's last request. All requests of a connection mostly have the
/// same, and nothing else in their metadata, so that one value can serve them all.
struct LastUserAgent {
  private var value: [UInt8] = []
  private var metadata = Metadata()

  /// The metadata of a request that has this `user-agent` and nothing else so far.
  mutating func metadata(_ value: Span<UInt8>) -> Metadata {
    if !isLast(value) {
      self.value = [UInt8](copying: value)
      metadata = Metadata()
      metadata.append(
        Metadata.Entry(name: "user-agent", value: .string(String(repairing: value))))
    }
    return metadata
  }

  private func isLast(_ other: Span<UInt8>) -> Bool {
    let value = value.span
    guard value.count > 0, value.count == other.count else { return false }
    for index in value.indices where value[index] != other[index] { return false }
    return true
  }
}
