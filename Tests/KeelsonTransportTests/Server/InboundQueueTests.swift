import KeelsonCore
import Testing

@testable import KeelsonTransport

@Suite struct InboundQueueTests {
  private func message(_ size: Int) -> ReceivedMessage {
    ReceivedMessage(bytes: [UInt8](repeating: 1, count: size), isCompressed: false)
  }

  @Test func whatWasTakenIsGivenUpThoughTheQueueIsNeverEmpty() {
    var queue = InboundQueue()
    queue.append(message(10))
    let one = queue.bytes
    for _ in 0..<10_000 {
      queue.append(message(10))
      guard case .message = queue.take() else {
        Issue.record("no message")
        return
      }
    }
    #expect(queue.bytes == one)
    #expect(queue.slots <= 128)
  }

  @Test func theOrderIsKeptAcrossGaps() {
    var queue = InboundQueue()
    var next = 1
    for size in 1...500 {
      queue.append(message(size))
      if size.isMultiple(of: 3) { continue }
      guard case .message(let message, _) = queue.take() else {
        Issue.record("no message")
        return
      }
      #expect(message.bytes.count == next)
      next += 1
    }
    while case .message(let message, _) = queue.take() {
      #expect(message.bytes.count == next)
      next += 1
    }
    #expect(next == 501)
    #expect(queue.bytes == 0)
  }

  @Test func emptyMessagesCountToo() {
    var queue = InboundQueue()
    for _ in 0..<100 { queue.append(message(0)) }
    #expect(queue.bytes == 100 * InboundQueue.overheadBytes)
  }
}
