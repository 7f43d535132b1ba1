import KeelsonAPI
import KeelsonCore
import KeelsonStore

extension FlagService {
  /// Loads all rules and follows the changes from then on. Called once, before the first call.
  ///
  /// - Throws: `RPCError` or `StoreError` when the database cannot be read.
  package func start() async throws {
    let hasDefault = try await database.read {
      try await FlagSetRepository.flagSet(defaultFlagSet, in: $0) != nil
    }
    if !hasDefault {
      var set = KeelsonFlagsV1.FlagSet()
      set.key = defaultFlagSet
      set.description = "The set that is always there."
      do {
        _ = try await createFlagSet(set, origin: .system())
      } catch let error as RPCError where error.code == .alreadyExists {
        // Another server that starts just now was first.
      }
    }
    let (sets, flags, revision) = try await database.feed.follow { transaction in
      (
        sets: try await FlagSetRepository.list(in: transaction),
        flags: try await FlagRepository.all(in: transaction),
        segments: try await SegmentRepository.list(nil, in: transaction),
        revision: try await transaction.currentRevision()
      )
    } taking: { stored in
      book.load(
        sets: stored.sets, flags: stored.flags, segments: stored.segments,
        revision: stored.revision)
      watches.advance(to: stored.revision)
      return (stored.sets.count, stored.flags.count, stored.revision)
    } _: { [self] events in
      follow(events)
    } onEnd: { [watches] in
      // Nothing new would come: subscribers are to go to another server.
      watches.close()
    }
    for (set, key, error) in book.failures() {
      logger.log(
        .warning, "A stored flag does not compile; it evaluates to PARSE_ERROR.",
        ["flag": "\(set)/\(key)", "error": "\(error)"])
    }
    logger.log(
      .info, "Loaded the flags.",
      ["flags": "\(flags)", "sets": "\(sets)", "revision": "\(revision)"])
  }

  /// Checks the name of the server's own environment.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT that says what a name consists of.
  package static func check(environment: String) throws {
    try FlagValidation(limits: FlagLimits()).checkEnvironment(environment, field: "environment")
  }

  /// Sends heartbeats to silent watches until the task is cancelled.
  package func run() async {
    await watches.run()
  }

  /// Ends all watches, so that their callers go to another server or come back later.
  package func stop() {
    watches.close()
  }

  /// Applies committed events, on the database's writer thread, before their changes are
  /// acknowledged.
  private func follow(_ events: [CommittedEvent]) {
    for event in events {
      do {
        if let change = try FlagRuleBook.Change(event) {
          book.apply(change, revision: event.revision)
          watches.publish(change, revision: event.revision)
        } else {
          book.advance(to: event.revision)
          watches.advance(to: event.revision)
        }
      } catch {
        logger.log(
          .error, "A committed event does not decode.",
          ["revision": "\(event.revision)", "type": event.type, "error": "\(error)"])
      }
    }
  }
}
