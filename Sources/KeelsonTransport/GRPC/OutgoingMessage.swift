/// A message on its way out: its prefix and its bytes, handed on in portions of any size. Bytes
/// that are no gRPC message go without a prefix.
///
/// The array is shared, not copied, so that one encoding may be on its way to many peers.
package struct OutgoingMessage: Sendable {
  private let message: [UInt8]
  private let flags: UInt8
  private let prefixBytes: Int
  private var position = 0

  package init(_ message: [UInt8], isCompressed: Bool = false) {
    precondition(message.count <= Int(UInt32.max), "a message's length has 32 bits")
    self.message = message
    flags = isCompressed ? 1 : 0
    prefixBytes = MessageDeframer.prefixBytes
  }

  /// Bytes as they are, without a prefix: the body of a plain HTTP response.
  package init(unframed bytes: [UInt8]) {
    message = bytes
    flags = 0
    prefixBytes = 0
  }

  /// The bytes that have not been handed on yet, prefix included.
  package var remainingBytes: Int { prefixBytes + message.count - position }

  /// Copies as many of the remaining bytes as there is room for.
  ///
  /// - Returns: how many bytes were copied.
  package mutating func copy(into room: UnsafeMutableRawBufferPointer) -> Int {
    var copied = 0
    while position < prefixBytes, copied < room.count {
      unsafe room[copied] = prefixByte(position)
      copied += 1
      position += 1
    }
    let offset = position - prefixBytes
    let count = min(room.count - copied, message.count - max(offset, 0))
    if offset >= 0, count > 0 {
      unsafe message.withUnsafeBytes { bytes in
        unsafe UnsafeMutableRawBufferPointer(rebasing: room[copied..<copied + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count]))
      }
      copied += count
      position += count
    }
    return copied
  }

  private func prefixByte(_ index: Int) -> UInt8 {
    index == 0 ? flags : UInt8(truncatingIfNeeded: message.count >> (8 * (4 - index)))
  }
}
