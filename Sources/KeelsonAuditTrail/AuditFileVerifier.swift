/// Checks an export or an archive without a server: every entry's hash, how they follow one another,
/// what the file says of itself, and checkpoints that somebody kept.
package struct AuditFileVerifier: Sendable {
  /// What was found.
  package struct Report: Sendable, Hashable {
    package var entries: Int64 = 0
    package var firstSequence: Int64 = 0
    package var lastSequence: Int64 = 0
    /// The hash before the first entry.
    package var previousHash: [UInt8] = []
    package var lastHash: [UInt8] = []
    /// Entries in between were left out: only those that are there are proven.
    package var isFiltered = false
    /// How many of the checkpoints lie in the file.
    package var checkpoints = 0
    /// The first thing that does not fit; nil when everything does.
    package var failure: AuditChainBreak?
  }

  package private(set) var report = Report()
  private var reader = AuditFileReader()
  private var chain: AuditChain?
  private var hasTrailer = false
  /// The entry after which the file says that it begins.
  private var afterSequence: Int64?
  private let maySkip: Bool
  /// By the entry they speak of.
  private let checkpoints: [Int64: [AuditCheckpoint]]
  private let lastCheckpoint: AuditCheckpoint?

  /// - Parameters:
  ///   - isFiltered: whether the file may have gaps on purpose. What it says of itself is not
  ///     signed: whoever takes an entry out can have it say so.
  ///   - checkpoints: whose signatures have been checked.
  package init(isFiltered: Bool = false, checkpoints: [AuditCheckpoint] = []) {
    maySkip = isFiltered
    report.isFiltered = isFiltered
    self.checkpoints = Dictionary(grouping: checkpoints, by: \.sequence)
    lastCheckpoint = checkpoints.max { $0.sequence < $1.sequence }
  }

  /// Takes the next piece of the file, as it is without compression. Once something does not fit,
  /// the rest is not looked at.
  ///
  /// - Throws: ``AuditFileError`` when it is no file of entries at all.
  package mutating func read(_ bytes: [UInt8]) throws {
    guard report.failure == nil else { return }
    var items: [(AuditFileReader.Item, Int)] = []
    do {
      try reader.read(bytes) { item, line in items.append((item, line)) }
    } catch let error as AuditFileError {
      for (item, line) in items where report.failure == nil { take(item, line: line) }
      // Without a header it is some other file.
      guard reader.line > 1 else { throw error }
      fail(.unreadable, error.message)
      return
    }
    for (item, line) in items where report.failure == nil { take(item, line: line) }
  }

  /// Says what came out.
  ///
  /// - Throws: ``AuditFileError`` when it is no file of entries at all.
  package mutating func finish() throws -> Report {
    guard report.failure == nil else { return report }
    do {
      try reader.finish()
    } catch {
      guard reader.line > 1 else { throw error }
      fail(.missing, error.message)
      return report
    }
    if reader.format == .ndjson, !hasTrailer {
      fail(
        .missing,
        "The file ends without its last line: entries after \(report.lastSequence) may be missing.")
    } else if report.isFiltered {
      // Where it ends, and which checkpoints it has an entry for, is a matter of its filters.
    } else if let checkpoint = lastCheckpoint, checkpoint.sequence > report.lastSequence {
      fail(
        .missing,
        """
        The file ends with entry \(report.lastSequence), but checkpoint \(checkpoint.number) was \
        signed after entry \(checkpoint.sequence): entries at the end are missing.
        """)
    } else if report.checkpoints == 0, let checkpoint = lastCheckpoint {
      fail(
        .missing,
        """
        The file has no entry \(checkpoint.sequence), of which checkpoint \(checkpoint.number) \
        speaks.
        """)
    }
    return report
  }

  private mutating func take(_ item: AuditFileReader.Item, line: Int) {
    switch item {
    case .header(let header):
      guard let header else { return }
      report.isFiltered = header.isFiltered
      if header.isFiltered, !maySkip {
        fail(
          .missing,
          """
          The file says that entries were left out of it on purpose, which anybody can have written. \
          If it was exported with filters, say so (--filtered): then each entry in it is checked, \
          but not whether one is missing.
          """)
      }
      if !header.isFiltered { afterSequence = header.afterSequence }
    case .entry(let entry):
      guard !hasTrailer else {
        return fail(.order, "Line \(line): an entry stands after the end of the file.")
      }
      take(entry)
    case .trailer(let entries, let lastSequence, let lastHash):
      hasTrailer = true
      if entries != report.entries || lastSequence != report.lastSequence
        || lastHash != report.lastHash
      {
        fail(
          .missing,
          """
          The file has \(report.entries) entries up to \(report.lastSequence), but its last line \
          says \(entries) up to \(lastSequence).
          """)
      }
    }
  }

  private mutating func take(_ entry: AuditEntry) {
    do throws(AuditChainBreak) {
      if chain == nil, let afterSequence, afterSequence != entry.sequence - 1 {
        throw AuditChainBreak(
          sequence: entry.sequence, kind: .missing,
          message: "The file says that it begins after entry \(afterSequence), but its first is "
            + "\(entry.sequence): entries at the beginning are missing.")
      }
      var next = chain ?? AuditChain(sequence: entry.sequence - 1, hash: entry.previousHash)
      if report.isFiltered, entry.sequence > next.sequence + 1 {
        // What lies between is not there to be checked against.
        next = AuditChain(sequence: entry.sequence - 1, hash: entry.previousHash)
      }
      try next.verify(entry)
      if entry.sequence == 1, entry.previousHash != AuditChain.origin {
        throw AuditChainBreak(
          sequence: 1, kind: .link, message: "Entry 1 claims that there was one before it.")
      }
      chain = next
    } catch {
      report.failure = error
      return
    }
    if report.entries == 0 {
      report.firstSequence = entry.sequence
      report.previousHash = entry.previousHash
      check(at: entry.sequence - 1, hash: entry.previousHash)
    }
    report.entries += 1
    report.lastSequence = entry.sequence
    report.lastHash = entry.hash
    check(at: entry.sequence, hash: entry.hash)
  }

  private mutating func check(at sequence: Int64, hash: [UInt8]) {
    for checkpoint in checkpoints[sequence] ?? [] {
      report.checkpoints += 1
      guard checkpoint.hash != hash, report.failure == nil else { continue }
      report.failure = AuditChainBreak(
        sequence: sequence, kind: .content,
        message: """
          Entry \(sequence) has another hash than checkpoint \(checkpoint.number) was signed over: \
          the trail was rewritten.
          """)
    }
  }

  private mutating func fail(_ kind: AuditChainBreak.Kind, _ message: String) {
    report.failure = AuditChainBreak(
      sequence: report.lastSequence + 1, kind: kind, message: message)
  }
}
