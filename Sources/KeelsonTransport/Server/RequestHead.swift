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

  init(_ fields: HTTP2Fields, router: Router) {
    fields.forEach({ name, value in read(name, value, router) })
  }

  private mutating func read(_ name: Span<UInt8>, _ value: Span<UInt8>, _ router: Router) {
    // The length tells most names apart, so that at most two are compared.
    switch name.count {
    case 5 where name.equals(":path"):
      entry = router.route(for: value)
      if entry == nil { path = String(repairing: value) }
    case 7 where name.equals(":method"):
      isPost = value.equals("POST")
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
