import KeelsonCore

/// Values by key within a limit in bytes: what is asked for often stays, what has an end goes at its
/// end. For one thread at a time: it stands behind its owner's lock.
package struct CacheTable<Value>: ~Copyable {
  @usableFromInline package struct Item {
    @usableFromInline package let key: String
    @usableFromInline package var value: Value
    @usableFromInline package var expires: CacheInstant
  }

  @usableFromInline package var slots: CacheSlots
  @usableFromInline package var items: [Item?] = []

  /// - Parameter byteLimit: of all entries and what it takes to keep them, keys included.
  package init(byteLimit: Int, now: CacheInstant = .now) {
    slots = CacheSlots(byteLimit: byteLimit, ownerBytes: MemoryLayout<Item?>.stride, now: now)
  }

  package var count: Int { slots.count }
  /// Of the entries and of what it takes to keep them.
  package var bytes: Int { slots.bytes }
  /// Entries that had to go for others, so far.
  package var evictions: UInt64 { slots.evictions }

  @usableFromInline package static func hash(_ key: String) -> UInt32 {
    var hasher = Hasher()
    key.hashBytes(into: &hasher)
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }

  @usableFromInline package func slot(_ key: String, _ hash: UInt32) -> Int? {
    var slot = slots.first(hash)
    while let found = slot {
      if items[found]?.key.hasSameBytes(as: key) == true { return found }
      slot = slots.next(after: found)
    }
    return nil
  }

  /// What is there under a key, if its time is not over.
  @inlinable package mutating func get(_ key: String, now: CacheInstant) -> Value? {
    guard let slot = slot(key, Self.hash(key)), let item = items[slot] else { return nil }
    guard item.expires > now else {
      slots.removeExpired(slot)
      items[slot] = nil
      return nil
    }
    slots.touch(slot)
    return item.value
  }

  /// Puts a value in place of what is there under a key.
  ///
  /// - Parameters:
  ///   - weight: bytes of the value on the heap (``HeapBytes``); the key and the entry's place are
  ///     counted beside it.
  ///   - expires: when it ends; `.distantFuture`: never.
  /// - Returns: false when it is larger than the whole table: then nothing is there.
  @inlinable @discardableResult package mutating func set(
    _ key: String, _ value: Value, weight: Int, expires: CacheInstant, now: CacheInstant
  ) -> Bool {
    expire(at: now, budget: 4)
    let hash = Self.hash(key)
    let bytes = weight + HeapBytes.string(key)
    guard slots.fits(bytes) else {
      remove(key)
      return false
    }
    if let slot = slot(key, hash) {
      items[slot]?.value = value
      items[slot]?.expires = expires
      slots.replace(slot, bytes: bytes, deadline: expires)
    } else {
      let slot = slots.insert(hash, bytes: bytes, deadline: expires)
      if items.count < slots.capacity { extendItems() }
      items[slot] = Item(key: key, value: value, expires: expires)
    }
    while let slot = slots.evict() { items[slot] = nil }
    return true
  }

  @usableFromInline package mutating func extendItems() {
    items.reserveCapacity(slots.capacity)
    items.append(contentsOf: repeatElement(nil, count: slots.capacity - items.count))
  }

  /// Takes out what is there under a key.
  @inlinable @discardableResult package mutating func remove(_ key: String) -> Value? {
    guard let slot = slot(key, Self.hash(key)) else { return nil }
    slots.remove(slot)
    defer { items[slot] = nil }
    return items[slot]?.value
  }

  package mutating func removeAll(now: CacheInstant = .now) {
    items = []
    slots.removeAll(now: now)
  }

  /// Places of entries: those of ``removeAll(inSlots:where:)``.
  package var capacity: Int { items.count }

  /// Takes out what is to go among the entries of some places. Who goes through all places meets each
  /// entry that is there all the while.
  ///
  /// - Returns: where to go on.
  package mutating func removeAll(
    inSlots range: Range<Int>, where isToGo: (_ key: String, _ value: Value) -> Bool
  ) -> Int {
    let end = min(range.upperBound, items.count)
    for slot in min(range.lowerBound, end)..<end {
      guard let item = items[slot], isToGo(item.key, item.value) else { continue }
      slots.remove(slot)
      items[slot] = nil
    }
    return end
  }

  /// Lets go of entries whose time is over, looking at no more than so many. ``set(_:_:weight:expires:now:)``
  /// does so too, a few at a time.
  @inlinable package mutating func expire(at now: CacheInstant, budget: Int) {
    var budget = budget
    while let slot = slots.expire(at: now, budget: &budget) { items[slot] = nil }
  }
}
