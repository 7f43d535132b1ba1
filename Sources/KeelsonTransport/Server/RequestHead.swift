import KeelsonCore

/// Reads the headers of a connection's requests. Confined to the connection's loop.
final class RequestRecorder: HTTP2RequestRecorder {
  private let router: Router
  /// The request whose headers came last.
  @safe @exclusivity(unchecked) private(set) var head = RequestHead()
  @safe @exclusivity(unchecked) private var lastUserAgent = LastUserAgent()

  init(_ router: Router) {
    self.router = router
  }

  func begin() {
    head = RequestHead()
  }

  func record(_ name: Span<UInt8>, _ value: Span<UInt8>) {
    head.read(name, value, router, &lastUserAgent)
  }
}

/// What the headers of a request say, read as they come.
struct RequestHead {
  var entry: Router.Entry?
  var path = ""
  var isPost = false
  var isGet = false
  var isGRPC = false
  var timeout: Duration?
  var hasMalformedTimeout = false
  var encodings = CallEncodings()
  /// The `grpc-encoding`, when it is none that is known here.
  var unknownEncoding: String?
  var metadata = Metadata()
  var hasTooMuchMetadata = false

  /// Reads one field.
  mutating func read(
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
      if !isPost { isGet = value.equals("GET") }
    case 10 where metadata.isEmpty && name.equals("user-agent"):
      metadata = userAgent.metadata(value)
    case 10 where name.equals(":authority"): break
    case 12 where name.equals("content-type"):
      isGRPC = ContentType.isGRPC(value)
    case 12 where name.equals("grpc-timeout"):
      timeout = GRPCTimeout.parse(value)
      hasMalformedTimeout = timeout == nil
    case 13 where name.equals("grpc-encoding"):
      encodings.areNamed = true
      if let encoding = MessageEncoding(named: value) {
        encodings.request = encoding
      } else {
        unknownEncoding = String(repairing: value)
      }
    case 20 where name.equals("grpc-accept-encoding"):
      encodings.areNamed = true
      encodings.acceptsGzip = MessageEncoding.gzip.isAccepted(by: value)
    default:
      if !MetadataCodec.add(name: name, value: value, to: &metadata) { hasTooMuchMetadata = true }
    }
  }

  /// Whether the call can begin, as far as its headers say.
  var isInOrder: Bool {
    entry != nil && unknownEncoding == nil && !hasMalformedTimeout && !hasTooMuchMetadata
  }

  /// Why the call is refused before it begins; nil when its headers are in order.
  var refusal: RPCError? {
    if entry == nil {
      return RPCError(.unimplemented, "There is no method \(path.prefix(256)).")
    }
    if let unknownEncoding {
      return RPCError(
        .unimplemented,
        "The encoding \"\(unknownEncoding.prefix(64))\" is not known here; send messages as they "
          + "are, or compressed with gzip.")
    }
    if hasTooMuchMetadata {
      return RPCError(
        .resourceExhausted,
        "The metadata has more than \(MetadataCodec.maximumEntries) values.")
    }
    if hasMalformedTimeout {
      return RPCError(
        .internalError,
        "The grpc-timeout is malformed; it has 1 to 8 digits and a unit of HMSmun.")
    }
    return nil
  }
}

/// What a request says of how messages are encoded.
struct CallEncodings {
  /// How the request's messages are encoded where they are flagged as compressed.
  var request = MessageEncoding.identity
  /// Whether the responses may be compressed with gzip.
  var acceptsGzip = false
  /// Whether the client said anything of encodings: then it is told which are known here.
  var areNamed = false
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
