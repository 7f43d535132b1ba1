import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

extension WarmRuns {
  /// Errors that a run tells of.
  private static let errorsTold = 10
  /// Tries to keep what a run has come to, a second apart, while the database is away: longer than it
  /// takes to have another one in its place.
  private static let recordings = 60

  /// Loads a set, to its end or until the task is cancelled.
  func carryOut(
    _ set: WarmSet, _ run: Watchable<Run>, _ origin: ChangeOrigin, keepsFresh: Bool
  ) async {
    let start = ContinuousClock.now
    let pulse = Task { await self.tell(of: run) }
    await withTaskGroup(of: String?.self) { group in
      var rest = set.entries.makeIterator()
      func addNext() {
        guard !Task.isCancelled, let entry = rest.next() else { return }
        group.addTask { [loader] in
          do {
            try await loader.load(entry, keepsFresh: keepsFresh, origin: origin)
            return nil
          } catch {
            return "\(entry.key): \(error)."
          }
        }
      }
      for _ in 0..<max(1, set.concurrency) { addNext() }
      for await problem in group {
        // What fails since the run was cancelled has not failed.
        if problem == nil || !Task.isCancelled {
          run.update { $0.note(problem, upTo: Self.errorsTold) }
        }
        addNext()
      }
    }
    var ended = run.value
    ended.endTime = .init(UnixTime.now)
    ended.state =
      ended.loaded + ended.failed < ended.total
      ? .cancelled : ended.failed > 0 ? .failed : .completed
    // Nothing says that it runs once its end is written.
    pulse.cancel()
    await pulse.value
    // Cancelled or not: what it has done is kept, and then told.
    let record = Task { [ended] in await self.record(ended, origin, after: .now - start) }
    let kept = await record.value
    run.update { $0 = kept ?? ended }
    run.close()
  }

  /// Says in the database how far a run is and that this server lives, again and again, and hears
  /// whether it was called off. A database that is away does not keep the cache from being loaded.
  private func tell(of run: Watchable<Run>) async {
    let (dialect, lease) = (database.dialect, limits.warmLease)
    while !Task.isCancelled {
      try? await Task.sleep(for: interval)
      let now = run.value
      let goesOn = try? await database.write { transaction in
        let time = try await ChangeHead.current(in: transaction, dialect).time
        // Also one that others have called lost meanwhile runs again.
        return try await WarmRunRepository.prolong(now, until: time + lease, in: transaction)
      }
      if goesOn == false { callOff { $0.id == now.id } }
    }
  }

  /// - Returns: the run as it is kept; nil when that could not be done.
  private func record(
    _ run: Run, _ origin: ChangeOrigin, after duration: Duration
  ) async -> Run? {
    let fields: KeyValuePairs = [
      "warm_set": run.warmSet, "state": run.stateName, "loaded": "\(run.loaded)",
      "failed": "\(run.failed)", "seconds": "\(duration / .seconds(1))",
      "error": run.errors.first ?? "",
    ]
    logger.log(
      run.state == .failed ? .warning : .info, "The loading of a warm set has ended.", fields)
    for attempt in 1... {
      do {
        return try await database.change(origin) { change in
          // A try before this one may have been carried out although it was not answered.
          let now = try await WarmRunRepository.run(run.id, of: run.warmSet, in: change)?.run
          if let now, now.state != .running, now.state != .lost { throw Settled(run: now) }
          var run = run
          run.endTime = .init(change.time)
          try await WarmRunRepository.end(run, change)
          change.recordEnd(of: run, after: duration)
          return run
        }
      } catch let settled as Settled {
        return settled.run
      } catch let error as StoreError
        where Self.repeated.contains(error.code) && attempt < Self.recordings && !isStopped
      {
        try? await Task.sleep(for: .seconds(1))
      } catch {
        logger.log(
          .warning, "That a warm set was loaded could not be recorded.",
          ["warm_set": run.warmSet, "cause": "\(error)"])
        return nil
      }
    }
    return nil
  }

  private static let repeated = WarmSets.passing.union([.outcomeUnknown])
}

extension KeelsonCacheV1.WarmSetRun {
  /// Counts an entry.
  ///
  /// - Parameter problem: why it was not loaded; nil: it was.
  fileprivate mutating func note(_ problem: String?, upTo limit: Int) {
    guard let problem else {
      loaded += 1
      return
    }
    failed += 1
    if errors.count < limit { errors.append(problem) }
  }

  var stateName: String {
    switch state {
    case .running: "running"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    case .lost: "lost"
    case .stateUnspecified, .unrecognized: "unknown"
    }
  }
}

extension Change {
  /// Writes the audit entry and the event of a run that begins.
  func recordStart(of run: KeelsonCacheV1.WarmSetRun) {
    record(
      run, "warm_set.started", .warmingStarted,
      ["total": .number(Double(run.total))])
  }

  /// The same of one that was called off and will end.
  func recordCancellation(of run: KeelsonCacheV1.WarmSetRun) {
    record(run, "warm_set.cancelled", .warmingCancelled, [:])
  }

  /// The same of one that has ended.
  ///
  /// - Parameter duration: nil where it is not known.
  func recordEnd(of run: KeelsonCacheV1.WarmSetRun, after duration: Duration? = nil) {
    var data: [String: JSONValue] = [
      "state": .string(run.stateName), "total": .number(Double(run.total)),
      "loaded": .number(Double(run.loaded)), "failed": .number(Double(run.failed)),
      "errors": .array(run.errors.map { .string($0) }), "started_by": .string(run.actor),
    ]
    if let duration { data["duration_seconds"] = .number(duration / .seconds(1)) }
    record(
      run, "warm_set.loaded", .warmed, data,
      outcome: [.failed, .lost].contains(run.state) ? .failure : .success)
  }

  private func record(
    _ run: KeelsonCacheV1.WarmSetRun, _ action: String, _ event: CacheEvent,
    _ more: [String: JSONValue], outcome: AuditEntry.Outcome = .success
  ) {
    var data = more
    data["warm_set"] = .string(run.warmSet)
    data["run"] = .string(run.id)
    let text = JSONText(.object(data))
    audit(
      AuditDraft(
        action: action, entityType: "warm_set", entityID: run.warmSet, attributes: text,
        outcome: outcome))
    emit(
      EventDraft(
        type: event.rawValue, subject: run.warmSet, data: text, payload: Array(run.id.utf8)))
  }
}
