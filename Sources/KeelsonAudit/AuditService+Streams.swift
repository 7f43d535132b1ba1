package import KeelsonAPI
import KeelsonAuditTrail
package import KeelsonCore
import KeelsonStore
import Synchronization

extension AuditService {
  package func tailEntries(
    _ request: API.TailEntriesRequest, responses: ResponseWriter<API.TailEntriesResponse>,
    context: ServerContext
  ) async throws {
    let filter = try AuditFilter(request.filter, limits: limits)
    if let after = request.afterSequence {
      guard after >= 0 else {
        throw RPCError.invalidArgument(field: "after_sequence", "\(after) is negative")
      }
      try await checkKept(after: after)
    }
    try tail.enter()
    defer { tail.leave() }
    var position = request.afterSequence ?? database.liveEvents.auditSequence
    // Once for the stream: an entry for each page would be read by the stream again.
    await recordRead(
      "audit.tail_entries", of: "", context,
      [
        "filter": try await written(request.filter),
        "after_sequence": JSONValue(number: position),
      ])
    try await beat(at: position, to: responses)
    while true {
      switch try await tail.wait(after: position) {
      case .entries:
        let entries = try await tailed(after: position)
        // A name is compared with the opened entry: the key may have been made since the call.
        let closed = filter.namesSomebody ? entries : entries.filter(filter.matches)
        let keys = try await subjects.known(Set(closed.map(\.subjectKeyID)))
        for entry in closed where matches(filter, entry, keys) {
          let message = message(entry, keys)
          try await responses.write(.init(sequence: message.sequence, event: .entry(message)))
        }
        position = entries.last?.sequence ?? position
      case .heartbeat:
        try await beat(at: position, to: responses)
      case .closed:
        throw AuditTail.stopping
      }
    }
  }

  private func matches(
    _ filter: AuditFilter, _ entry: AuditEntry, _ keys: [String: SubjectKeys.Known]
  ) -> Bool {
    if filter.matches(entry) { return true }
    guard filter.namesSomebody, case .key(let key)? = keys[entry.subjectKeyID] else { return false }
    return filter.matches(key.named(entry))
  }

  private func beat(
    at position: Int64, to responses: ResponseWriter<API.TailEntriesResponse>
  ) async throws {
    let heartbeat = API.Heartbeat(interval: .init(limits.heartbeatInterval * 2))
    try await responses.write(.init(sequence: position, event: .heartbeat(heartbeat)))
  }

  private func tailed(after position: Int64) async throws -> [AuditEntry] {
    do {
      return try await tail.entries(after: position)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// - Throws: `RPCError` OUT_OF_RANGE when entries after a number are in archives, or it lies beyond
  ///   the newest, so that a reader who wants all of them misses none without knowing.
  private func checkKept(after sequence: Int64) async throws {
    let (archived, kept, newest) = try await read { transaction in
      let archived = try await AuditRepository.archivedChain(in: transaction).sequence
      return (
        archived,
        sequence > 0 && sequence < archived
          ? try await AuditRepository.count(after: sequence, upTo: archived, in: transaction) : 0,
        try await ChangeHead.current(in: transaction).audit.sequence
      )
    }
    guard sequence <= newest else {
      throw RPCError(
        .outOfRange,
        "after_sequence: the newest entry is \(newest), so \(sequence) is of another trail, or this "
          + "one was restored from a copy that is older.")
    }
    guard sequence > 0, sequence < archived, kept < archived - sequence else { return }
    throw RPCError(
      .outOfRange,
      "after_sequence: entries up to \(archived) have been moved to archives (ListArchives); read "
        + "them there, and go on here after \(archived).")
  }

  package func exportEntries(
    _ request: API.ExportEntriesRequest, responses: ResponseWriter<API.ExportEntriesResponse>,
    context: ServerContext
  ) async throws {
    let filter = try AuditFilter(request.filter, limits: limits)
    let format: AuditFileFormat
    switch request.format {
    case .unspecified, .ndjson: format = .ndjson
    case .csv: format = .csv
    case .unrecognized(let number):
      throw RPCError.invalidArgument(
        field: "format", "\(number) is no format; there are NDJSON and CSV")
    }
    guard request.afterSequence >= 0, request.upToSequence >= 0 else {
      throw RPCError.invalidArgument(field: "after_sequence", "a sequence number is negative")
    }
    guard request.upToSequence == 0 || request.upToSequence > request.afterSequence else {
      throw RPCError.invalidArgument(
        field: "up_to_sequence",
        "\(request.upToSequence) is not above after_sequence, \(request.afterSequence)")
    }
    try enterExport()
    defer { leaveExport() }
    let (after, last) = try await exportRange(request, isFiltered: !filter.isEmpty)
    await recordRead(
      "audit.export_entries", of: "", context,
      [
        "filter": try await written(request.filter),
        "after_sequence": JSONValue(number: after),
        "up_to_sequence": JSONValue(number: last),
      ])
    try await export(
      AuditQuery(try await resolved(filter), limits: limits),
      AuditFileWriter(
        format,
        AuditFileHeader(
          isFiltered: !filter.isEmpty, afterSequence: after, time: .now)),
      after: after, upTo: last, to: responses)
  }

  /// Which entries an export has. One without a filter is whole, so that it verifies: when entries
  /// have been moved to archives, one from the beginning goes on where those end.
  ///
  /// - Throws: `RPCError` OUT_OF_RANGE when other entries were asked for that are in archives.
  private func exportRange(
    _ request: API.ExportEntriesRequest, isFiltered: Bool
  ) async throws -> (after: Int64, last: Int64) {
    let after = request.afterSequence
    let (newest, archived, kept) = try await read { transaction in
      // Not what this node has heard of: another may have recorded more.
      let newest = try await ChangeHead.current(in: transaction).audit.sequence
      let archived = try await AuditRepository.archivedChain(in: transaction).sequence
      return (
        newest, archived,
        isFiltered || after >= archived
          ? 0 : try await AuditRepository.count(after: after, upTo: archived, in: transaction)
      )
    }
    let last = request.upToSequence == 0 ? newest : min(request.upToSequence, newest)
    guard !isFiltered, after < archived, kept < archived - after else { return (after, last) }
    guard after == 0, last > archived else {
      throw RPCError(
        .outOfRange,
        "Entries up to \(archived) have been moved to archives (ListArchives): download those, and "
          + "export what comes after \(archived).")
    }
    return (archived, last)
  }

  private func export(
    _ query: AuditQuery, _ begun: AuditFileWriter, after: Int64, upTo last: Int64,
    to responses: ResponseWriter<API.ExportEntriesResponse>
  ) async throws {
    var writer = begun
    var position = after
    var isDone = false
    var pace = ReadPace(most: limits.entriesPerRead, bytes: limits.readBytes)
    while !isDone {
      try Task.checkCancellation()
      if position < last {
        let (from, count) = (position, pace.count)
        let page = try await read {
          try await query.page(
            beyond: from, upTo: last, limit: count, .oldestFirst, in: $0)
        }
        pace.took(page.entries)
        for entry in page.entries { writer.add(entry) }
        position = page.next ?? last
      }
      isDone = position >= last
      if isDone { writer.finish() }
      guard isDone || writer.bytes.count >= limits.exportPieceBytes else { continue }
      var sent = 0
      while sent < writer.bytes.count {
        let end = min(writer.bytes.count, sent + limits.exportPieceBytes * 4)
        let piece = Array(writer.bytes[sent..<end])
        sent = end
        try await responses.write(
          .init(
            data: piece, sequence: position, entries: writer.entries, lastSequence: last))
      }
      writer.bytes = []
    }
  }

  package func downloadArchive(
    _ request: API.DownloadArchiveRequest, responses: ResponseWriter<API.DownloadArchiveResponse>,
    context: ServerContext
  ) async throws {
    let manifest = try await archive(request.name)
    try enterExport()
    defer { leaveExport() }
    let path = "\(configuration.archiveFolder)/\(manifest.name)"
    let input: AuditFileInput?
    do {
      input = try await offLoop { try AuditFileInput(path) }
    } catch {
      throw unreadable(manifest, error)
    }
    guard let input else {
      throw RPCError(
        .failedPrecondition,
        "The file of the archive '\(manifest.name)' does not lie on this server: ask the one that "
          + "made it, or find it among the backups.",
        details: [
          .preconditionFailure([
            PreconditionViolation(
              type: "ARCHIVE_ELSEWHERE", subject: manifest.name,
              description: "The file is not in this server's archive folder.")
          ])
        ])
    }
    await recordRead("audit.download_archive", of: manifest.name, context, [:])
    while true {
      let piece: [UInt8]
      do {
        piece = try await offLoop { [limits] in try input.read(limits.exportPieceBytes) }
      } catch {
        throw unreadable(manifest, error)
      }
      guard !piece.isEmpty else { return }
      try await responses.write(.init(data: piece))
    }
  }

  private func unreadable(_ manifest: AuditArchiveManifest, _ error: any Error) -> RPCError {
    RPCError(
      .dataLoss, "The file of the archive '\(manifest.name)' cannot be read; the log says why.",
      cause: "\(error)")
  }

  private func enterExport() throws {
    try exports.withLock { running in
      guard running < limits.exports else {
        throw RPCError(
          .resourceExhausted,
          "\(limits.exports) exports run already, the limit; try again when one has ended.",
          details: [.retryInfo(.seconds(5))])
      }
      running += 1
    }
  }

  private func leaveExport() {
    exports.withLock { $0 -= 1 }
  }
}
