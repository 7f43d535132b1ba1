package import KeelsonCore

/// Cuts the body of a gRPC stream into its messages: each stands behind one byte of flags and
/// four bytes of length, most significant first.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Length-Prefixed-Message".
///
/// The body may arrive in pieces of any size. A message that lies whole in one piece is copied
/// once, out of the piece; one that spans pieces is gathered and then handed on without a copy.
package struct MessageDeframer: Sendable {
  /// The bytes of flags and length ahead of each message.
  package static let prefixBytes = 5
  /// As much room as is set aside on a peer's word for a message it has only announced.
  private static let trustedBytes = 64 * 1024

  /// A longer message is refused as soon as its length is known, before any of it is kept.
  package let maximumMessageBytes: Int

  private var prefix: (count: Int, flags: UInt8, length: UInt32) = (0, 0, 0)
  private var gathered: [UInt8] = []

  package init(maximumMessageBytes: Int) {
    self.maximumMessageBytes = maximumMessageBytes
  }

  /// Whether part of a message has arrived: a body that ends now was cut off.
  package var isInsideMessage: Bool { prefix.count > 0 }

  /// The room that is taken for an incomplete message, apart from what the allocator adds.
  package var heldBytes: Int { min(gathered.capacity, Int(prefix.length)) }

  /// Takes in the next piece of the body and hands on the messages that it completes.
  ///
  /// - Parameter deliver: receives each message and whether its compressed flag is set.
  /// - Throws: RESOURCE_EXHAUSTED for a message over the limit, INTERNAL for flags that mean
  ///   nothing. The stream cannot be read any further after that.
  package mutating func read(
    _ piece: Span<UInt8>, deliver: (_ message: [UInt8], _ isCompressed: Bool) -> Void
  ) throws(RPCError) {
    var position = 0
    while position < piece.count {
      while prefix.count < Self.prefixBytes {
        guard position < piece.count else { return }
        takePrefix(byte: piece[position])
        position += 1
      }
      // The check stands here, so that a prefix which ends a piece is judged at once.
      let length = try messageBytes()
      let available = piece.count - position
      let missing = length - gathered.count
      if gathered.isEmpty, available >= length {
        let message = [UInt8](copying: piece.extracting(position..<position + length))
        position += length
        finish(message, deliver)
      } else if available >= missing {
        makeRoom(for: missing, of: length)
        gathered.append(copying: piece.extracting(position..<position + missing))
        position += missing
        let message = gathered
        gathered = []
        finish(message, deliver)
      } else {
        makeRoom(for: available, of: length)
        gathered.append(copying: piece.extracting(position..<piece.count))
        return
      }
    }
  }

  /// Grows by four, so that a long message is moved a few times only, but to no more than its
  /// length.
  private mutating func makeRoom(for count: Int, of length: Int) {
    let needed = gathered.count + count
    guard gathered.capacity < needed else { return }
    gathered.reserveCapacity(min(length, max(needed, gathered.count * 4, Self.trustedBytes)))
  }

  private mutating func takePrefix(byte: UInt8) {
    if prefix.count == 0 {
      prefix.flags = byte
    } else {
      prefix.length = prefix.length << 8 | UInt32(byte)
    }
    prefix.count += 1
  }

  private func messageBytes() throws(RPCError) -> Int {
    guard prefix.flags <= 1 else {
      throw RPCError(
        .internalError,
        "A message's flags are \(prefix.flags); only 0 and 1 (compressed) have a meaning.")
    }
    let length = Int(prefix.length)
    guard length <= maximumMessageBytes else {
      throw RPCError(
        .resourceExhausted,
        "A message of \(length) bytes is over the limit of \(maximumMessageBytes) bytes.")
    }
    return length
  }

  private mutating func finish(
    _ message: [UInt8], _ deliver: (_ message: [UInt8], _ isCompressed: Bool) -> Void
  ) {
    let isCompressed = prefix.flags == 1
    prefix = (0, 0, 0)
    deliver(message, isCompressed)
  }
}
