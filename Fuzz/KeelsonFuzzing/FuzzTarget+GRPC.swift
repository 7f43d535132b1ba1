import KeelsonCore
import KeelsonTransport

extension FuzzTarget {
  /// The deframer gives the same messages whatever pieces the body comes in. The first byte says
  /// how it is cut.
  static let deframer = FuzzTarget("deframer", maximumBytes: 4 << 10) { input in
    let limit = 1_024
    guard let seed = input.first else { return }
    let body = Array(input.dropFirst())
    let whole = Deframed(body, limit: limit) { _ in body.count }
    // The length of each piece follows from the seed and its place: from 1 byte to 64.
    let pieces = Deframed(body, limit: limit) { index in
      1 + Int((UInt32(seed) &* 31 &+ UInt32(truncatingIfNeeded: index) &* 17) % 64)
    }
    try require(whole.messages == pieces.messages, "the messages depend on the pieces")
    try require(whole.flags == pieces.flags, "the flags depend on the pieces")
    try require(whole.failure == pieces.failure, "the error depends on the pieces")
    try require(whole.isInside == pieces.isInside, "where it stands depends on the pieces")
    let held = max(whole.mostHeld, pieces.mostHeld)
    try require(held <= limit, "holds \(held) bytes, the limit is \(limit)")
    try require(whole.messages.allSatisfy { $0.count <= limit }, "a message is over the limit")
  }

  private struct Deframed {
    var messages: [[UInt8]] = []
    var flags: [Bool] = []
    var failure: RPCError?
    var isInside = false
    var mostHeld = 0

    init(_ body: [UInt8], limit: Int, piece length: (_ position: Int) -> Int) {
      var deframer = MessageDeframer(maximumMessageBytes: limit)
      var position = 0
      while position < body.count, failure == nil {
        let end = min(body.count, position + max(1, length(position)))
        let piece = Array(body[position..<end])
        position = end
        do throws(RPCError) {
          try deframer.read(piece.span) { message, isCompressed in
            messages.append(message)
            flags.append(isCompressed)
          }
        } catch {
          failure = error
        }
        mostHeld = max(mostHeld, deframer.heldBytes)
      }
      // After an error nothing more is read, and the rest is of no matter.
      isInside = failure == nil && deframer.isInsideMessage
    }
  }

  /// The values of gRPC's headers: what is written is read back unchanged, and what is read is
  /// either refused or can be written.
  static let headers = FuzzTarget("headers", maximumBytes: 4 << 10) { input in
    try checkStatusMessage(input)
    try checkBase64(input)
    try checkMetadata(input)
    try checkTimeout(input)
    _ = ContentType.isGRPC(input.span)
    for encoding in MessageEncoding.allCases { _ = encoding.isAccepted(by: input.span) }
  }

  private static func checkStatusMessage(_ input: [UInt8]) throws {
    for message in [StatusMessage.decode(input.span), String(decoding: input, as: UTF8.self)] {
      let encoded = StatusMessage.encode(message)
      try require(
        encoded.utf8.allSatisfy { (0x20...0x7E).contains($0) }, "grpc-message is not plain")
      try require(
        StatusMessage.decode(Array(encoded.utf8).span) == message, "grpc-message changes")
    }
  }

  private static func checkBase64(_ input: [UInt8]) throws {
    let text = Base64.encode(input.span)
    try require(Base64.decode(text.span) == input, "bytes change in base64")
    let padded = text + [UInt8](repeating: UInt8(ascii: "="), count: (4 - text.count % 4) % 4)
    try require(Base64.decode(padded.span) == input, "padded base64 is read otherwise")
    if let bytes = Base64.decode(input.span) {
      try require(Base64.decode(Base64.encode(bytes.span).span) == bytes, "base64 changes")
    }
  }

  /// Lines of a name, a colon and a value.
  private static func checkMetadata(_ input: [UInt8]) throws {
    var metadata = Metadata()
    for line in input.split(separator: UInt8(ascii: "\n")) {
      let parts = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false
      ).map { Array($0) }
      guard parts.count == 2 else { continue }
      let (name, value) = (parts[0], parts[1])
      MetadataCodec.add(name: name.span, value: value.span, to: &metadata)
    }
    for entry in metadata.entries {
      var one = Metadata()
      switch entry.value {
      case .string(let text): one.add(entry.name, text)
      case .binary(let bytes): one.add(entry.name, binary: bytes)
      }
      var read = Metadata()
      do throws(RPCError) {
        try MetadataCodec.encode(one) { name, value in
          let (name, value) = (Array(name.utf8), Array(value.utf8))
          MetadataCodec.add(name: name.span, value: value.span, to: &read)
        }
      } catch {
        try require(error.code == .internalError, "metadata is refused with \(error)")
        continue
      }
      try require(read == one, "metadata changes: \(one) is read as \(read)")
    }
  }

  private static func checkTimeout(_ input: [UInt8]) throws {
    guard let timeout = GRPCTimeout.parse(input.span) else { return }
    let text = Array(GRPCTimeout.format(timeout).utf8)
    guard let again = GRPCTimeout.parse(text.span) else {
      throw FuzzFailure(description: "a timeout that was written cannot be read")
    }
    try require(again >= timeout, "a timeout gets shorter")
  }

  /// Inflating: never longer than allowed, and what was deflated here comes back.
  static let gzip = FuzzTarget("gzip", maximumBytes: 16 << 10) { input in
    let limit = 64 << 10
    let compression = MessageCompression()
    do {
      let message = try compression.inflate(input, maximumBytes: limit)
      try require(message.count <= limit, "a message of \(message.count) bytes, over the limit")
    } catch let error as RPCError {
      try require(
        error.code == .internalError || error.code == .resourceExhausted,
        "a message is refused with \(error)")
    }
    if let deflated = compression.deflate(input) {
      try require(
        try compression.inflate(deflated, maximumBytes: input.count) == input,
        "a message changes when it is deflated and inflated")
    }
  }
}
