import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto

// What people see of the audit trail.

extension KeelsonAuditV1.Outcome {
  var word: String {
    switch self {
    case .unspecified: ""
    case .success: "success"
    case .failure: "failure"
    case .denied: "denied"
    case .unrecognized(let number): "\(number)"
    }
  }
}

extension KeelsonAuditV1.AuditEntry {
  private var entity: String { entityId.isEmpty ? entityType : "\(entityType) \(entityId)" }

  /// One line, as a tail shows it.
  var line: String {
    let flaw = outcome == .success ? "" : "  \(outcome.word)"
    return "\(sequence)  \(time.text)  \(actor)  \(action)  \(entity)\(flaw)".printable()
  }

  var sheet: String {
    var sheet = Sheet()
    sheet.add("sequence", String(sequence))
    sheet.add("id", entryId)
    sheet.add("time", time.text)
    sheet.add("occurred", occurTime.text)
    sheet.add("actor", actor)
    sheet.add("action", action)
    sheet.add("entity", entity)
    sheet.add("outcome", outcome.word)
    sheet.add("category", category)
    sheet.add("before", before)
    sheet.add("after", after)
    for change in changes {
      let was = change.before.isEmpty ? "nothing" : change.before
      let `is` = change.after.isEmpty ? "nothing" : change.after
      sheet.add("changed", "\(change.path.isEmpty ? "/" : change.path): \(was) -> \(`is`)")
    }
    for (name, value) in attributes.sorted(by: { $0.key < $1.key }) {
      sheet.add("attribute", "\(name)=\(value)")
    }
    sheet.add("subject", erased ? "erased" : unreadable ? "unreadable here" : subject)
    sheet.add("correlation id", correlationId)
    sheet.add("peer", peer)
    sheet.add("user agent", userAgent)
    sheet.add("recorder", recorder)
    sheet.add("revision", revision > 0 ? String(revision) : "")
    sheet.add("previous hash", Hexadecimal.text(previousHash))
    sheet.add("hash", Hexadecimal.text(hash_))
    return sheet.text
  }
}

extension KeelsonAuditV1.ListEntriesResponse {
  var table: String {
    let more = nextPageToken.isEmpty ? "" : "\n\nThere are more: --page-token \(nextPageToken)"
    guard !entries.isEmpty else { return "No entries." + more }
    var table = Table("SEQUENCE", "TIME", "ACTOR", "ACTION", "ENTITY", "OUTCOME")
    for entry in entries {
      table.add(
        String(entry.sequence), entry.time.text, entry.actor, entry.action,
        entry.entityId.isEmpty ? entry.entityType : "\(entry.entityType) \(entry.entityId)",
        entry.outcome.word)
    }
    return table.text + more
  }
}

extension KeelsonAuditV1.VerifyEntriesResponse {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("result", valid ? "everything fits" : "DOES NOT FIT")
    sheet.add("failure", failure)
    sheet.add("at entry", valid ? "" : String(failedSequence))
    sheet.add("id", failedEntryId)
    sheet.add("checked", "\(entries) entries, \(startSequence) to \(endSequence)")
    sheet.add("checkpoints", String(checkpoints))
    if archivedSequence > 0 {
      sheet.add("archived", "up to \(archivedSequence): verify the archives by themselves")
    }
    sheet.add("keys relied upon", trustedKeyIds.joined(separator: ", "))
    sheet.add("keys not trusted", untrustedKeyIds.joined(separator: ", "))
    if unreadArchiveCount > 0 {
      let more = unreadArchiveCount > unreadArchives.count ? ", ..." : ""
      sheet.add(
        "files not here",
        "\(unreadArchiveCount) archives, believed by their signatures: "
          + unreadArchives.joined(separator: ", ") + more)
    }
    sheet.add("hash at the end", valid ? Hexadecimal.text(endHash) : "")
    return sheet.text
  }
}

extension AuditFileCheck.Report {
  var sheet: String {
    var sheet = Sheet()
    let fits = file.entries > 0 ? "everything fits" : "no entries: the file shows nothing"
    sheet.add("result", isValid ? fits : "DOES NOT FIT")
    sheet.add("failure", failure?.message ?? "")
    sheet.add("at entry", failure.map { String($0.sequence) } ?? "")
    let range = file.entries > 0 ? ", \(file.firstSequence) to \(file.lastSequence)" : ""
    sheet.add("checked", "\(file.entries) entries\(range)")
    if file.isFiltered {
      sheet.add("filtered", "each entry is proven, not that none is missing")
    }
    sheet.add("checkpoints", String(file.checkpoints))
    if let manifest {
      sheet.add(
        "manifest",
        isManifestSigned
          ? "signed by key \(manifest.keyID)" : "fits; its signature was not checked: --public-key")
    }
    sheet.add("hash at the end", isValid ? Hexadecimal.text(file.lastHash) : "")
    return sheet.text
  }

  var json: JSONValue {
    [
      "file": .string(path), "valid": .bool(isValid),
      "failed_sequence": JSONValue(number: failure?.sequence ?? 0),
      "failure": .string(failure?.message ?? ""), "entries": JSONValue(number: file.entries),
      "start_sequence": JSONValue(number: file.firstSequence),
      "end_sequence": JSONValue(number: file.lastSequence),
      "filtered": .bool(file.isFiltered), "checkpoints": JSONValue(number: file.checkpoints),
      "manifest_signed": .bool(isManifestSigned),
      "end_hash": .string(Hexadecimal.text(file.lastHash)),
    ]
  }
}

extension KeelsonAuditV1.Checkpoint {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("number", String(number))
    sheet.add("time", time.text)
    sheet.add("entry", String(sequence))
    sheet.add("entries since the last", String(count))
    sheet.add("hash", Hexadecimal.text(hash_))
    sheet.add("previous", Hexadecimal.text(previous))
    sheet.add("key", keyId)
    sheet.add("signature", Hexadecimal.text(signature))
    return sheet.text
  }
}

extension KeelsonAuditV1.ListCheckpointsResponse {
  var table: String {
    guard !checkpoints.isEmpty else { return "No checkpoints." }
    var table = Table("NUMBER", "TIME", "ENTRY", "NEW", "HASH", "KEY")
    for checkpoint in checkpoints {
      table.add(
        String(checkpoint.number), checkpoint.time.text, String(checkpoint.sequence),
        String(checkpoint.count), Hexadecimal.text(checkpoint.hash_.prefix(8)), checkpoint.keyId)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonAuditV1.ListSigningKeysResponse {
  var table: String {
    var table = Table("KEY", "SINCE", "CURRENT")
    for key in keys { table.add(key.keyId, key.createTime.text, key.current ? "yes" : "") }
    return table.text
  }
}

extension KeelsonAuditV1.RetentionPolicy {
  private static func text(_ duration: GoogleProtobuf.Duration?) -> String {
    let seconds = duration?.seconds ?? 0
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60)] as [(String, Int64)]
    where seconds >= size && seconds % size == 0 {
      return "\(seconds / size)\(unit)"
    }
    return seconds == 0 ? "" : "\(seconds)s"
  }

  var sheet: String {
    func kept(_ duration: GoogleProtobuf.Duration?) -> String {
      let text = Self.text(duration)
      return text.isEmpty ? "forever" : text
    }
    var sheet = Sheet()
    sheet.add("default", kept(defaultRetention))
    for (category, duration) in categories.sorted(by: { $0.key < $1.key }) {
      sheet.add("category \(category)", kept(duration))
    }
    let interval = Self.text(archiveInterval)
    sheet.add("archives every", interval.isEmpty ? "never by itself" : interval)
    sheet.add("reads are recorded", auditReads ? "yes" : "no")
    sheet.add("updated", updateTime.text)
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension KeelsonAuditV1.ArchiveEntriesResponse {
  func text(isPlan: Bool) -> String {
    guard !isPlan else {
      return "Would archive \(archived) entries and delete \(deleted)."
    }
    let done = "Archived \(archived) entries and deleted \(deleted)."
    return ([done] + archives.map { "  \($0.name)" }).joined(separator: "\n")
  }
}

extension KeelsonAuditV1.Archive {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("name", name)
    sheet.add("entries", "\(entries), \(firstSequence) to \(lastSequence)")
    sheet.add("from", firstTime.text)
    sheet.add("to", lastTime.text)
    sheet.add("size", "\(sizeBytes) bytes")
    sheet.add("file hash", Hexadecimal.text(fileHash))
    sheet.add("last hash", Hexadecimal.text(lastHash))
    sheet.add("created", createTime.text)
    sheet.add("key", keyId)
    return sheet.text
  }
}

extension KeelsonAuditV1.ListArchivesResponse {
  var table: String {
    guard !archives.isEmpty else { return "No archives." }
    var table = Table("NAME", "ENTRIES", "FROM", "TO", "BYTES")
    for archive in archives {
      table.add(
        archive.name, String(archive.entries), archive.firstTime.text, archive.lastTime.text,
        String(archive.sizeBytes))
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}
