import KeelsonCacheRules

#if canImport(Glibc)
  import Glibc
#endif

/// The memory of a shard's entries, by slot: a log in segments that are mapped from the system
/// (Rumble, Kejriwal, Ousterhout, "Log-structured Memory for DRAM-based Storage", 2014).
///
/// A new entry is written behind the last one. What is removed leaves a hole; a segment with nothing
/// but holes is unmapped, and when holes make up too much, the segment with the most of them is emptied
/// by writing its entries anew at the end. So memory never takes more than an eighth of what is in it
/// and two segments beyond that, whatever sizes come and go and whichever threads do it: the heap,
/// where each thread has its own part, cannot promise that. Entries of more than an eighth of a segment
/// are mapped by themselves.
///
/// `@unchecked Sendable`: the lock of the shard that owns it guards all of it.
final class EntryLog: @unchecked Sendable {
  private struct Segment {
    var base: UnsafeMutableRawPointer
    /// Bytes that are written.
    var used = 0
    /// Of them, those of entries that are there.
    var live = 0
  }

  /// An entry's place: segment and offset in units of the records' alignment, or, with the upper bit,
  /// a number of ``large``.
  private typealias Location = UInt32
  private static let nowhere = Location.max
  private static let isLarge: Location = 1 << 31
  private static let unit = EntryRecord.alignment

  let segmentBytes: Int
  private let unitsPerSegment: Int
  private var segments: [Segment?] = []
  private var freeSegments: [Int] = []
  private var large: [UnsafeMutableRawBufferPointer?] = []
  private var freeLarge: [Int] = []
  private var locations: [Location] = []
  /// The segment that is written to.
  private var head: Int?
  private var mappedSegments = 0
  private var liveBytes = 0
  private var largeBytes = 0

  /// Of a shard: a ``Location`` can name twice as much.
  static let maximumBytes = 8 << 30
  /// Larger ones would hold the shard's lock for too long when their entries are moved. Smaller ones would be
  /// too many, with the entries that are mapped by themselves: the system allows a process 65,530
  /// (vm.max_map_count).
  private static let maximumSegmentBytes = 16 << 20

  /// - Parameter byteLimit: of the shard, at most ``maximumBytes``.
  init(byteLimit: Int) {
    // Or entries would be taken for others; the server's settings allow no more.
    precondition(byteLimit <= Self.maximumBytes)
    var bytes = 16 << 10
    while bytes < Self.maximumSegmentBytes, bytes * 2 <= byteLimit / 64 { bytes *= 2 }
    segmentBytes = bytes
    unitsPerSegment = bytes / Self.unit
  }

  deinit {
    for segment in segments {
      if let segment { munmap(segment.base, segmentBytes) }
    }
    for buffer in large {
      if let buffer { munmap(buffer.baseAddress, buffer.count) }
    }
  }

  /// Bytes that are mapped.
  var bytes: Int { mappedSegments * segmentBytes + largeBytes }

  /// What the log may take beside what its entries weigh.
  var reserveBytes: Int { 2 * segmentBytes }

  /// What of the log is there for an entry whose record has so many bytes: its part of the holes, or
  /// its pages.
  func weight(_ recordBytes: Int) -> Int {
    isLarge(recordBytes) ? Self.pages(recordBytes) : recordBytes + recordBytes / 7 + 1
  }

  /// What is mapped for an entry by itself.
  func pages(for write: CacheWrite) -> Int {
    let bytes = EntryRecord.bytes(write)
    return isLarge(bytes) ? Self.pages(bytes) : 0
  }

  private func isLarge(_ recordBytes: Int) -> Bool { recordBytes > segmentBytes / 8 }
  private static let pageBytes = Int(getpagesize())
  private static func pages(_ bytes: Int) -> Int { (bytes + pageBytes - 1) & ~(pageBytes - 1) }

  /// Of the slots: 4 bytes each.
  static let slotBytes = MemoryLayout<Location>.stride
  var slots: Int { locations.count }

  func extend(toSlots slots: Int) {
    locations.reserveCapacity(slots)
    locations.append(contentsOf: repeatElement(Self.nowhere, count: slots - locations.count))
  }

  func record(_ slot: Int) -> EntryRecord? {
    let location = locations[slot]
    if location == Self.nowhere { return nil }
    return record(at: location)
  }

  private func record(at location: Location) -> EntryRecord? {
    if location & Self.isLarge != 0 {
      return large[Int(location & ~Self.isLarge)]?.baseAddress.map(EntryRecord.init)
    }
    let (segment, offset) = Int(location).quotientAndRemainder(dividingBy: unitsPerSegment)
    return segments[segment].map { EntryRecord(base: $0.base + offset * Self.unit) }
  }

  /// Writes an entry for a slot that has none.
  func store(_ write: CacheWrite, slot: Int) -> EntryRecord {
    let bytes = EntryRecord.bytes(write)
    let record: EntryRecord
    if isLarge(bytes) {
      record = mapLarge(bytes, slot)
    } else {
      let (segment, base) = take(bytes)
      record = EntryRecord(base: base)
      locate(slot, segment, base)
      liveBytes += bytes
    }
    record.initialize(write, slot: slot)
    return record
  }

  func remove(_ slot: Int) {
    let location = locations[slot]
    guard location != Self.nowhere, let record = record(at: location) else { return }
    locations[slot] = Self.nowhere
    if location & Self.isLarge != 0 {
      let number = Int(location & ~Self.isLarge)
      guard let buffer = large[number] else { return }
      largeBytes -= buffer.count
      munmap(buffer.baseAddress, buffer.count)
      large[number] = nil
      freeLarge.append(number)
    } else {
      let number = Int(location) / unitsPerSegment
      let bytes = record.bytes
      liveBytes -= bytes
      segments[number]?.live -= bytes
      guard segments[number]?.live == 0 else { return }
      if number == head { segments[number]?.used = 0 } else { unmap(number) }
    }
  }

  /// Moves the entries of one segment together when there are more holes than there should be. Returns
  /// whether there may be more to do.
  func compact() -> Bool {
    guard mappedSegments * segmentBytes > allowedBytes + segmentBytes, let victim else {
      return false
    }
    empty(victim)
    return true
  }

  // MARK: Segments

  /// What segments may take: an eighth of holes, the one that is written to and the one that is emptied.
  private var allowedBytes: Int { liveBytes + liveBytes / 7 + segmentBytes }

  /// Room for a record in the segment that is written to.
  private func take(_ bytes: Int) -> (segment: Int, base: UnsafeMutableRawPointer) {
    if let place = takeFromHead(bytes) { return place }
    // Each turn makes a hole's worth of room; there are not more of them than segments.
    for _ in 0..<segments.count where (mappedSegments + 1) * segmentBytes > allowedBytes {
      guard let victim else { break }
      empty(victim)
      if let place = takeFromHead(bytes) { return place }
    }
    return takeFromNew(bytes)
  }

  private func takeFromHead(_ bytes: Int) -> (segment: Int, base: UnsafeMutableRawPointer)? {
    guard let head, let segment = segments[head], segment.used + bytes <= segmentBytes else {
      return nil
    }
    segments[head]?.used += bytes
    segments[head]?.live += bytes
    return (head, segment.base + segment.used)
  }

  private func takeFromNew(_ bytes: Int) -> (segment: Int, base: UnsafeMutableRawPointer) {
    let old = head
    let base = Self.map(segmentBytes)
    let segment = Segment(base: base, used: bytes, live: bytes)
    let number: Int
    if let free = freeSegments.popLast() {
      segments[free] = segment
      number = free
    } else {
      segments.append(segment)
      number = segments.count - 1
    }
    mappedSegments += 1
    head = number
    if let old, segments[old]?.live == 0 { unmap(old) }
    return (number, base)
  }

  /// The segment with the fewest bytes in it, if it has any holes.
  private var victim: Int? {
    var best: Int?
    var least = segmentBytes
    for (number, segment) in segments.enumerated() where number != head {
      guard let segment, segment.live < least else { continue }
      least = segment.live
      best = number
    }
    return best
  }

  /// Writes what is in a segment anew at the end, and unmaps it.
  private func empty(_ number: Int) {
    guard let segment = segments[number] else { return }
    var offset = 0
    while offset < segment.used {
      let record = EntryRecord(base: segment.base + offset)
      let bytes = record.bytes
      let slot = Int(record.header.slot)
      if locations[slot] == location(number, offset) {
        let (target, base) = takeFromHead(bytes) ?? takeFromNew(bytes)
        base.copyMemory(from: record.base, byteCount: bytes)
        locate(slot, target, base)
      }
      offset += bytes
    }
    unmap(number)
  }

  private func location(_ segment: Int, _ offset: Int) -> Location {
    Location(segment * unitsPerSegment + offset / Self.unit)
  }

  private func locate(_ slot: Int, _ number: Int, _ base: UnsafeMutableRawPointer) {
    guard let segment = segments[number] else { return }
    locations[slot] = location(number, base - segment.base)
  }

  private func unmap(_ number: Int) {
    guard let segment = segments[number] else { return }
    munmap(segment.base, segmentBytes)
    segments[number] = nil
    freeSegments.append(number)
    mappedSegments -= 1
  }

  private func mapLarge(_ bytes: Int, _ slot: Int) -> EntryRecord {
    let count = Self.pages(bytes)
    let base = Self.map(count)
    let buffer = UnsafeMutableRawBufferPointer(start: base, count: count)
    largeBytes += count
    if let free = freeLarge.popLast() {
      large[free] = buffer
      locations[slot] = Self.isLarge | Location(free)
    } else {
      large.append(buffer)
      locations[slot] = Self.isLarge | Location(large.count - 1)
    }
    return EntryRecord(base: base)
  }

  private static func map(_ bytes: Int) -> UnsafeMutableRawPointer {
    let found = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let found, found != MAP_FAILED else {
      // Like an allocation that fails anywhere else in Swift.
      fatalError("no memory for \(bytes) bytes of cache entries")
    }
    return found
  }
}
