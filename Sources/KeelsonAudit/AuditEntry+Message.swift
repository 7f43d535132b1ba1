import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore

extension KeelsonAuditV1.AuditEntry {
  /// What of an entry's personal data can be read.
  enum Reading {
    /// All, or there is none.
    case whole
    /// Nothing, for ever.
    case erased
    /// Nothing, by this server.
    case unreadable
  }

  /// An entry as callers read it.
  ///
  /// - Parameters:
  ///   - opened: the entry with its personal data readable, as far as it is.
  ///   - stored: the entry as it is stored, whose hashes these are.
  ///   - subject: whose personal data it holds; empty when that is nobody's or unreadable.
  init(_ opened: AuditEntry, stored: AuditEntry, subject: String, reading: Reading) {
    self.init()
    sequence = stored.sequence
    entryId = stored.id
    time = GoogleProtobuf.Timestamp(stored.time)
    occurTime = stored.occurTime.map { GoogleProtobuf.Timestamp($0) }
    actor = opened.actor
    action = opened.action
    entityType = opened.entityType
    entityId = opened.entityID
    before = opened.before ?? ""
    after = opened.after ?? ""
    changes = JSONDifference.changes(from: opened.before, to: opened.after).map {
      KeelsonAuditV1.FieldChange(path: $0.path, before: $0.before, after: $0.after)
    }
    category = opened.category
    outcome = KeelsonAuditV1.Outcome(opened.outcome)
    correlationId = opened.correlationID
    peer = opened.peer
    userAgent = opened.userAgent
    attributes = Self.attributes(opened.attributes)
    self.subject = subject
    erased = reading == .erased
    unreadable = reading == .unreadable
    revision = stored.revision
    recorder = stored.recorder
    previousHash = stored.previousHash
    hash_ = stored.hash
  }

  private static func attributes(_ text: String?) -> [String: String] {
    guard let text, case .object(let members)? = try? JSONValue(parsing: text) else { return [:] }
    return members.mapValues { value in
      if case .string(let text) = value { text } else { value.text }
    }
  }
}

extension KeelsonAuditV1.Outcome {
  init(_ outcome: AuditEntry.Outcome) {
    self =
      switch outcome {
      case .success: .success
      case .failure: .failure
      case .denied: .denied
      }
  }
}

/// What differs between two JSON texts, field by field.
enum JSONDifference {
  struct Change: Sendable, Hashable {
    /// A JSON Pointer (RFC 6901).
    var path: String
    /// JSON; empty when it was not there.
    var before: String
    var after: String
  }

  /// Further differences are not told one by one: both texts are there to be compared.
  static let maximumChanges = 200
  /// Bytes of all paths and values together. Paths repeat names, so without it the differences of
  /// two small texts could be much larger than both.
  static let maximumBytes = 64 << 10

  /// Nothing when one of the two is missing: then all of the other is the difference.
  static func changes(from before: String?, to after: String?) -> [Change] {
    guard let before, let after, before != after, let old = try? JSONValue(parsing: before),
      let new = try? JSONValue(parsing: after)
    else { return [] }
    var found = Found()
    compare(old, new, path: "", into: &found)
    return found.changes
  }

  private struct Found {
    var changes: [Change] = []
    var bytes = 0
    var isFull = false

    mutating func add(_ change: Change) {
      bytes += change.path.utf8.count + change.before.utf8.count + change.after.utf8.count
      isFull = bytes > maximumBytes || changes.count == maximumChanges
      if !isFull { changes.append(change) }
    }
  }

  private static func compare(
    _ old: JSONValue?, _ new: JSONValue?, path: String, into found: inout Found
  ) {
    guard old != new, !found.isFull else { return }
    guard case .object(let oldMembers)? = old, case .object(let newMembers)? = new else {
      found.add(Change(path: path, before: old?.text ?? "", after: new?.text ?? ""))
      return
    }
    for name in Set(oldMembers.keys).union(newMembers.keys).sorted() {
      let escaped = name.replacing("~", with: "~0").replacing("/", with: "~1")
      compare(
        oldMembers[name], newMembers[name], path: "\(path)/\(escaped)", into: &found)
    }
  }
}
