import KeelsonCacheRules
import KeelsonCore
import Testing

@testable import KeelsonCache

struct EntryLogTests {
  private let hour = CacheLifetime(ttl: .seconds(3_600))

  private func write(_ number: Int, bytes: Int) -> CacheWrite {
    CacheWrite(
      key: "acme:books:account:\(number)",
      value: [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: bytes),
      isAbsent: bytes == 0, tags: (0..<number % 3).map { "tag-\(number)-\($0)" }, lifetime: hour)
  }

  private func check(_ record: EntryRecord?, _ write: CacheWrite) {
    #expect(record?.hasKey(write.key) == true)
    #expect(record?.hasKey(write.key + "x") == false)
    #expect(record?.key == write.key)
    #expect(record?.value == write.value)
    #expect(record?.isAbsent == write.isAbsent)
    #expect(record?.tags == write.tags)
  }

  @Test(arguments: [0, 1, 7, 8, 100, 2_000, 2_049, 100_000, 1 << 20])
  func anEntryComesOutAsItWentIn(bytes: Int) {
    let log = EntryLog(byteLimit: 1 << 20)
    log.extend(toSlots: 3)
    for slot in 0..<3 {
      let write = write(slot, bytes: bytes)
      check(log.store(write, slot: slot), write)
    }
    for slot in 0..<3 { check(log.record(slot), write(slot, bytes: bytes)) }
    for slot in 0..<3 { log.remove(slot) }
    #expect(log.record(0) == nil)
    #expect(log.bytes <= log.segmentBytes)
  }

  /// Entries of sizes that change come and go, many times over; what is there stays as it was written,
  /// and takes no more than it weighs, or weighed at most before it was moved together, and the reserve.
  @Test func holesAreFilled() {
    let log = EntryLog(byteLimit: 1 << 20)
    let slots = 400
    log.extend(toSlots: slots)
    var writes: [Int: CacheWrite] = [:]
    var (weights, heaviest) = (0, 0)
    var (mapped, most) = (0, 0)
    for step in 0..<6_000 {
      let slot = Int.random(in: 0..<slots)
      if let old = writes.removeValue(forKey: slot) {
        weights -= log.weight(EntryRecord.bytes(old))
        log.remove(slot)
        #expect(log.record(slot) == nil)
      }
      // Now many and small, now few and large.
      let isFull = step / 750 % 2 == 0
      if isFull || slot < 20 {
        let large = Int.random(in: 0..<100) == 0
        let bytes = large ? 5_000 : Int.random(in: 0...(isFull ? 300 : 1_800))
        let write = write(step, bytes: bytes)
        _ = log.store(write, slot: slot)
        writes[slot] = write
        weights += log.weight(EntryRecord.bytes(write))
        mapped += EntryRecord.bytes(write)
        heaviest = max(heaviest, weights)
        #expect(log.bytes <= heaviest + log.reserveBytes)
      } else if step.isMultiple(of: 7) {
        while log.compact() {}
        #expect(log.bytes <= weights + log.reserveBytes)
      }
      most = max(most, log.bytes)
      if step.isMultiple(of: 500) {
        for (slot, write) in writes { check(log.record(slot), write) }
      }
    }
    #expect(mapped > 5 * most)
    for slot in writes.keys { log.remove(slot) }
    #expect(log.bytes <= log.segmentBytes)
  }
}
