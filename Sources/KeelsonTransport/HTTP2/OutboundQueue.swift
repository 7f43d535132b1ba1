/// Chunks that wait to be sent on one stream, first in, first out. The usual one needs no memory
/// of its own beside it.
struct OutboundQueue {
  private var first: OutgoingMessage?
  private var rest: [OutgoingMessage] = []
  private var nextOfRest = 0

  /// All bytes that wait, prefixes included.
  private(set) var bytes = 0

  var isEmpty: Bool { first == nil }

  mutating func append(_ chunk: OutgoingMessage) {
    guard chunk.remainingBytes > 0 else { return }
    bytes += chunk.remainingBytes
    if first == nil { first = chunk } else { rest.append(chunk) }
  }

  /// Moves bytes out until the room is full; there must be as many.
  mutating func copy(into room: UnsafeMutableRawBufferPointer) {
    var position = 0
    while position < room.count, first != nil {
      let tail = unsafe UnsafeMutableRawBufferPointer(rebasing: room[position...])
      let count = unsafe first?.copy(into: tail) ?? 0
      position += count
      bytes -= count
      if first?.remainingBytes == 0 { advance() }
    }
    assert(position == room.count)
  }

  mutating func removeAll() {
    self = OutboundQueue()
  }

  private mutating func advance() {
    guard nextOfRest < rest.count else {
      first = nil
      return
    }
    first = rest[nextOfRest]
    nextOfRest += 1
    if nextOfRest == rest.count {
      rest.removeAll(keepingCapacity: rest.capacity <= 16)
      nextOfRest = 0
    } else if nextOfRest >= 64, nextOfRest * 2 >= rest.count {
      rest.removeFirst(nextOfRest)
      nextOfRest = 0
    }
  }
}
