import KeelsonCacheRules

@testable import KeelsonClient

/// What the client asks for, and what comes of it.
extension NearCacheWorld {
  /// - Parameters:
  ///   - entered: when those have asked who get it.
  ///   - time: as of when it has to be current, but for the limit.
  private mutating func check(
    _ key: Int, _ version: Int, entered: Int, asOf time: Int, _ what: String
  ) {
    for floor in floors[key]
    where floor.time <= (floor.isOwn ? entered : time) && version < floor.version {
      problems.append(
        "\(what) of key \(key) at \(now), asked for at \(entered), gave version \(version); "
          + "\(floor.version) was due at \(floor.time)\(floor.isOwn ? ", its own" : "")")
    }
  }

  @discardableResult
  mutating func look(_ key: Int) -> Bool {
    guard case .hit(let version, _) = machine.look(Self.keys[key], at: instant(now)) else {
      return false
    }
    hits += 1
    check(key, version, entered: now, asOf: now, "a copy")
    return true
  }

  mutating func remember(_ key: Int) {
    if look(key) { return }
    if let id = flights[key], let call = calls[id], isOpen(call) {
      calls[id]?.callers.append(now)
      shared += 1
    } else {
      flights[key] = begin(key, isFlight: true)
    }
  }

  private func isOpen(_ call: Call) -> Bool {
    guard let load = call.load else { return true }
    return machine.judge(Self.keys[call.key], load, at: instant(now)) == .current
  }

  @discardableResult
  mutating func begin(_ key: Int, isFlight: Bool) -> Int {
    lastCall += 1
    let ticket = machine.begin(Self.keys[key], at: instant(now))
    calls[lastCall] = Call(key: key, ticket: ticket, callers: [now], isFlight: isFlight)
    ask(lastCall)
    return lastCall
  }

  /// - Parameter waits: for what another loads: then whatever comes late is asked for again.
  private mutating func ask(_ id: Int, waits: Bool = false) {
    guard let key = calls[id]?.key else { return }
    calls[id]?.asked = now
    let asOf = machine.asOf(instant(now))
    calls[id]?.load =
      waits ? nil : CacheProvenance(position: nil, tags: Self.tags(key), asOf: asOf)
    schedule(.serve(call: id), after: waits ? below(200_000) : delay())
  }

  /// A server that may know of tags, patterns and all a little later than they were invalidated.
  mutating func serve(_ id: Int) {
    guard let call = calls[id] else { return }
    defer { schedule(.answer(call: id), after: delay()) }
    calls[id]?.answer = .nothing
    // Now and then it does not.
    guard below(20) != 0 else { return }
    let asOf = now - below(Self.serverLag)
    calls[id]?.epoch = epoch
    let entry = entries[call.key]
    let isVoid = log.contains {
      $0.epoch == epoch && $0.time <= asOf && $0.invalidation.sequence > (entry?.stamp ?? 0)
        && Self.isNamed(call.key, by: $0.invalidation.scope)
    }
    if let entry, !isVoid {
      calls[id]?.answer = .entry(entry)
    } else if call.isFlight, leases[call.key] == nil {
      leases[call.key] = sequence
      entries[call.key] = nil
      calls[id]?.answer = .lease(sequence)
    } else if call.isFlight {
      calls[id]?.answer = .leased
    }
  }

  mutating func answer(_ id: Int) {
    guard let call = calls[id] else { return }
    switch call.answer {
    case .entry(let entry): take(entry, id, call)
    case .lease(let stamp): load(id, at: CachePosition(epoch: call.epoch, sequence: stamp))
    case .leased where call.waits < 4:
      calls[id]?.waits += 1
      ask(id, waits: true)
    case .leased, .nothing:
      guard call.isFlight else { return end(id) }
      load(id, at: machine.position)
    }
  }

  private mutating func take(_ entry: Entry, _ id: Int, _ call: Call) {
    let key = Self.keys[call.key]
    let position = CachePosition(epoch: call.epoch, sequence: entry.stamp)
    let provenance = CacheProvenance(
      position: position, tags: Self.tags(call.key), asOf: machine.asOf(instant(call.asked)))
    let judgement = machine.judge(key, provenance, at: instant(now))
    let isLast = call.load != nil && call.attempts == 1
    switch judgement {
    case .current: break
    case .late where isLast: break
    case .overtaken where isLast && !call.isFlight: break
    case .void where isLast && !call.isFlight: return end(id)
    case .late, .overtaken, .void:
      guard !isLast else { return load(id, at: machine.position) }
      if call.load != nil { calls[id]?.attempts -= 1 }
      return ask(id)
    }
    for caller in call.callers {
      answers += 1
      let time = judgement == .current ? now : caller
      check(call.key, entry.version, entered: caller, asOf: time, "an answer")
    }
    keep(entry, of: call.ticket, call.key, at: position)
    end(id)
  }

  mutating func keep(
    _ entry: Entry, of ticket: Machine.Ticket, _ key: Int, at position: CachePosition
  ) {
    machine.keep(
      .init(
        value: entry.version, valueBytes: 8, position: position, tags: Self.tags(key),
        freshFor: .seconds(3_600), refreshAfter: nil),
      of: ticket, at: instant(now))
  }

  private mutating func end(_ id: Int) {
    guard let call = calls.removeValue(forKey: id) else { return }
    machine.end(call.ticket)
    if flights[call.key] == id { flights[call.key] = nil }
  }

  // MARK: Loading

  private mutating func load(_ id: Int, at position: CachePosition?) {
    guard let key = calls[id]?.key else { return }
    let asOf = instant(now)
    calls[id]?.load = CacheProvenance(position: position, tags: Self.tags(key), asOf: asOf)
    schedule(.read(call: id), after: delay())
  }

  mutating func read(_ id: Int) {
    guard let call = calls[id] else { return }
    if case .lease(let stamp) = call.answer {
      calls[id]?.loaded = Entry(version: versions[call.key], stamp: stamp)
      schedule(.fill(call: id), after: delay())
    } else {
      calls[id]?.loaded = Entry(version: versions[call.key], stamp: 0)
      schedule(.loaded(call: id), after: delay())
    }
  }

  /// What was loaded is stored if the lease stands, and only then kept.
  mutating func fill(_ id: Int) {
    guard let call = calls[id] else { return }
    if case .lease(let stamp) = call.answer, leases[call.key] == stamp, call.epoch == epoch {
      entries[call.key] = call.loaded
      leases[call.key] = nil
      calls[id]?.isStored = true
    }
    schedule(.loaded(call: id), after: delay())
  }

  mutating func loaded(_ id: Int) {
    guard let call = calls[id], let entry = call.loaded else { return }
    for caller in call.callers {
      answers += 1
      check(call.key, entry.version, entered: caller, asOf: caller, "a load")
    }
    if call.isStored {
      keep(
        entry, of: call.ticket, call.key,
        at: CachePosition(epoch: call.epoch, sequence: entry.stamp))
    }
    end(id)
  }
}
