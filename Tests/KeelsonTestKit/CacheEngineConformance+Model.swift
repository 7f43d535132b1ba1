import KeelsonCacheRules
import Testing

/// What a cache should do, without anything that could go wrong: no limits, no sweeps, no time.
private struct CacheModel {
  struct Entry {
    var text: String
    var tags: [String]
    var sequence: Int
  }

  var entries: [String: Entry] = [:]
  var leases: [String: (token: UInt64, sequence: Int)] = [:]
  var tags: [String: Int] = [:]
  var patterns: [(prefix: String, sequence: Int)] = []
  var floor = 0
  var sequence = 0

  mutating func set(_ key: String, _ text: String, _ tags: [String]) {
    sequence += 1
    entries[key] = Entry(text: text, tags: tags, sequence: sequence)
    leases[key] = nil
  }

  mutating func delete(_ key: String) -> Bool {
    let found = text(key) != nil
    sequence += 1
    entries[key] = nil
    leases[key] = nil
    return found
  }

  func text(_ key: String) -> String? {
    guard let entry = entries[key], !isSwept(key, entry.sequence) else { return nil }
    if entry.tags.contains(where: { tags[$0, default: 0] > entry.sequence }) { return nil }
    return entry.text
  }

  /// Whether a sweep takes away what has this sequence: leases too, since what is filled under them
  /// would be void.
  func isSwept(_ key: String, _ sequence: Int) -> Bool {
    sequence < floor
      || patterns.contains { $0.sequence > sequence && key.hasPrefix($0.prefix) }
  }

  /// What may come of asking about a lease: both where a sweep may have been.
  func allowed(_ isStanding: Bool, _ key: String) -> Set<Bool> {
    guard let lease = leases[key], isSwept(key, lease.sequence) else { return [isStanding] }
    return [isStanding, false]
  }
}

extension CacheEngineConformance {
  /// Random operations on few keys, beside a model.
  static let model = Self("does what a simple model does, whatever the order") { engine in
    for seed in 0..<10 as Range<UInt64> {
      var random = SeededGenerator(seed: seed)
      var model = CacheModel()
      var leases: [(key: String, lease: CacheLease)] = []
      _ = try await engine.invalidate(.all)
      let keys = ["acme:books:a:1", "acme:books:a:2", "acme:books:b:1", "acme:crm:a:1", "b:c:d:1"]
      let tags = ["t1", "t2", "t3"]
      for step in 0..<120 {
        let key = keys.randomElement(using: &random) ?? ""
        let some = tags.filter { _ in Bool.random(using: &random) }
        let text = "\(seed)/\(step)"
        let note = Comment(rawValue: "seed \(seed), step \(step)")
        switch Int.random(in: 0..<12, using: &random) {
        case 0...1:
          _ = try await engine.store(write(key, text, tags: some))
          model.set(key, text, some)
        case 2:
          let (found, _) = try await engine.delete([key])
          #expect(found == [model.delete(key)], note)
        case 3:
          guard let tag = some.first else { continue }
          _ = try await engine.invalidate(.tags([tag]))
          model.sequence += 1
          model.tags[tag] = model.sequence
        case 4:
          let prefix = String(key.prefix(Int.random(in: 1...12, using: &random)))
          _ = try await engine.invalidate(.pattern(try CachePattern(prefix + "*")))
          model.sequence += 1
          model.patterns.append((prefix, model.sequence))
        case 5 where step % 4 == 0:
          _ = try await engine.invalidate(.all)
          model.sequence += 1
          model.floor = model.sequence
        case 6...8:
          let outcome = try await engine.lease(key, CacheLeaseRequest(duration: .seconds(3_600)))
          let expected = model.text(key)
          #expect(outcome.entry?.text == expected, note)
          if expected == nil {
            let isLeased = model.allowed(model.leases[key] != nil, key)
            #expect(isLeased.contains(outcome.lease == nil), note)
          } else {
            #expect(outcome.lease == nil, note)
          }
          guard let lease = outcome.lease else { continue }
          model.leases[key] = (lease.token, model.sequence)
          leases.append((key, lease))
        case 9...10:
          guard let (key, lease) = leases.randomElement(using: &random) else { continue }
          let outcome = try await engine.fill(write(key, text, tags: some), under: lease)
          let stands = model.leases[key]?.token == lease.token
          let isStored = outcome == .stored(lease.position)
          #expect(isStored || outcome == .leaseLost, note)
          #expect(model.allowed(stands, key).contains(isStored), note)
          if isStored, let standing = model.leases[key] {
            model.entries[key] = CacheModel.Entry(
              text: text, tags: some, sequence: standing.sequence)
          }
          if stands { model.leases[key] = nil }
        default:
          guard let (key, lease) = leases.randomElement(using: &random) else { continue }
          let stands = model.leases[key]?.token == lease.token
          let isReleased = try await engine.release(lease, of: key)
          #expect(model.allowed(stands, key).contains(isReleased), note)
          if stands { model.leases[key] = nil }
        }
        let found = try await engine.get(keys).map { $0?.text }
        #expect(found == keys.map { model.text($0) }, note)
      }
      for (key, lease) in leases { _ = try await engine.release(lease, of: key) }
    }
  }
}
