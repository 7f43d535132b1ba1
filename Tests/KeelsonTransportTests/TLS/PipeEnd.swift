import KeelsonCore

@testable import KeelsonTransport

/// One end of a byte stream in memory, for tests of what stands on one: how much fits in, and how
/// much a read gives, is up to the test. Confined to its loop.
final class PipeEnd: ByteStream, Loop.Flushable {
  let peer: String
  private let loop: Loop
  /// What the other end has written and this one not read.
  private var incoming: [UInt8] = []
  private weak var other: PipeEnd?
  private weak var observer: (any ByteStreamObserver)?
  private var isNotified = false
  private var hasEnded = false
  /// How much the other end may write ahead.
  var capacityBytes = 1 << 20
  /// How much one read gives at most.
  var bytesPerRead = Int.max
  /// All that has been written into this end's reading side, as long as it is there.
  private(set) var writtenBytes = 0

  init(peer: String, loop: Loop) {
    self.peer = peer
    self.loop = loop
  }

  static func pair(on loop: Loop) -> (PipeEnd, PipeEnd) {
    let (first, second) = (PipeEnd(peer: "pipe", loop: loop), PipeEnd(peer: "pipe", loop: loop))
    first.other = second
    second.other = first
    return (first, second)
  }

  var isAwaitingRoom = false {
    didSet { if isAwaitingRoom { notify() } }
  }
  var isHoldingBytes: Bool { false }

  func start(observer: any ByteStreamObserver) {
    self.observer = observer
    notify()
  }

  private func notify() {
    guard !isNotified else { return }
    isNotified = true
    loop.flushAtEndOfTurn(self)
  }

  func flush() {
    isNotified = false
    guard let observer else { return }
    if isAwaitingRoom, hasRoom { observer.byteStreamIsWritable() }
    let before = incoming.count
    if before > 0 || hasEnded { observer.byteStreamIsReadable() }
    // As a poll does: as long as there is something to read it is told.
    if !incoming.isEmpty, incoming.count < before { notify() }
  }

  private var hasRoom: Bool { other.map { $0.incoming.count < $0.capacityBytes } ?? true }

  func read(into room: UnsafeMutableRawBufferPointer) -> ByteStreamResult {
    guard !incoming.isEmpty else { return hasEnded ? .ended : .wouldBlock }
    let count = min(room.count, incoming.count, bytesPerRead)
    room.copyBytes(from: incoming[..<count])
    incoming.removeFirst(count)
    if !incoming.isEmpty || hasEnded { notify() }
    if let other, other.isAwaitingRoom { other.notify() }
    return .bytes(count)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> ByteStreamResult {
    guard let other, !other.hasEnded else {
      return .failed(SocketError(.connectionFailed, "The pipe is closed."))
    }
    let count = min(bytes.count, other.capacityBytes - other.incoming.count)
    guard count > 0 else { return .wouldBlock }
    other.incoming += bytes[..<count]
    other.writtenBytes += count
    other.notify()
    return .bytes(count)
  }

  /// Puts bytes in as if the other end had written them.
  func inject(_ bytes: [UInt8]) {
    incoming += bytes
    notify()
  }

  /// Takes away the last bytes that have come and not been read, and says that no more come.
  func cut(_ count: Int) {
    incoming.removeLast(min(count, incoming.count))
    hasEnded = true
    notify()
  }

  func abort() { close() }

  func close() {
    observer = nil
    other?.hasEnded = true
    other?.notify()
  }
}
