/// Where the pieces of a body stand that one read brought for one stream, until its handler has
/// them: nothing is copied.
///
/// They lie in the loop's ``Loop/receiveScratch``. nghttp2 points into what it is given, and what
/// it has recorded is handed on before the next read: see ``HTTP2Connection/deliver()``.
@safe struct BodyPieces {
  private var first: UnsafeBufferPointer<UInt8>?
  private var rest: [UnsafeBufferPointer<UInt8>] = unsafe []
  private var nextOfRest = 0

  mutating func append(_ piece: UnsafeBufferPointer<UInt8>) {
    if unsafe first == nil {
      unsafe first = piece
    } else {
      unsafe rest.append(piece)
    }
  }

  mutating func takeFirst() -> UnsafeBufferPointer<UInt8>? {
    guard let piece = unsafe first else { return nil }
    if unsafe nextOfRest < rest.count {
      unsafe first = rest[nextOfRest]
      nextOfRest += 1
    } else {
      unsafe first = nil
      unsafe rest.removeAll(keepingCapacity: true)
      nextOfRest = 0
    }
    return unsafe piece
  }
}
