import KeelsonCore
import KeelsonCrypto

/// A field of an entry as a file has it.
struct AuditField: Sendable {
  let name: String
  /// Whether JSON has it as a number.
  let isNumber: Bool
  /// The field as text; nil when the entry has none.
  let text: @Sendable (AuditEntry) -> String?
  /// Puts a text back; false when it cannot be this field's.
  let set: @Sendable (inout AuditEntry, String) -> Bool

  private init(
    _ name: String, isNumber: Bool = false,
    text: @escaping @Sendable (AuditEntry) -> String?,
    set: @escaping @Sendable (inout AuditEntry, String) -> Bool
  ) {
    self.name = name
    self.isNumber = isNumber
    self.text = text
    self.set = set
  }

  /// All that is stored of an entry, in the order in which files have it.
  static let all: [AuditField] = [
    number("sequence", \.sequence),
    text("entry_id", \.id),
    AuditField(
      "time", text: { $0.time.description },
      set: { entry, text in
        guard let time = UnixTime(exactly: text) else { return false }
        entry.time = time
        return true
      }),
    AuditField(
      "occur_time", text: { $0.occurTime?.description },
      set: { entry, text in
        guard let time = UnixTime(exactly: text) else { return false }
        entry.occurTime = time
        return true
      }),
    number("revision", \.revision),
    text("recorder", \.recorder),
    text("actor", \.actor),
    text("action", \.action),
    text("entity_type", \.entityType),
    text("entity_id", \.entityID),
    optional("before", \.before),
    optional("after", \.after),
    optional("attributes", \.attributes),
    text("category", \.category),
    AuditField(
      "outcome", text: { $0.outcome.rawValue },
      set: { entry, text in
        guard let outcome = AuditEntry.Outcome(rawValue: text) else { return false }
        entry.outcome = outcome
        return true
      }),
    text("correlation_id", \.correlationID),
    text("peer", \.peer),
    text("user_agent", \.userAgent),
    text("subject_key_id", \.subjectKeyID),
    AuditField(
      "sealed", text: { $0.sealed.map { Hexadecimal.text($0) } },
      set: { entry, text in
        entry.sealed = canonicalBytes(text)
        return entry.sealed != nil
      }),
    hash("previous_hash", \.previousHash),
    hash("hash", \.hash),
  ]

  static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

  private typealias Path<Value> = any WritableKeyPath<AuditEntry, Value> & Sendable

  private static func text(_ name: String, _ path: Path<String>) -> AuditField {
    AuditField(
      name, text: { $0[keyPath: path] },
      set: { entry, text in
        entry[keyPath: path] = text
        return true
      })
  }

  private static func optional(_ name: String, _ path: Path<String?>) -> AuditField {
    AuditField(
      name, text: { $0[keyPath: path] },
      set: { entry, text in
        entry[keyPath: path] = text
        return true
      })
  }

  private static func number(_ name: String, _ path: Path<Int64>) -> AuditField {
    AuditField(
      name, isNumber: true, text: { String($0[keyPath: path]) },
      set: { entry, text in
        guard let number = Int64(text), String(number) == text else { return false }
        entry[keyPath: path] = number
        return true
      })
  }

  private static func hash(_ name: String, _ path: Path<[UInt8]>) -> AuditField {
    AuditField(
      name, text: { Hexadecimal.text($0[keyPath: path]) },
      set: { entry, text in
        guard let bytes = canonicalBytes(text) else { return false }
        entry[keyPath: path] = bytes
        return true
      })
  }

  /// Bytes in small digits only, so that a file has one form for each entry.
  private static func canonicalBytes(_ text: String) -> [UInt8]? {
    guard let bytes = Hexadecimal.bytes(text), Hexadecimal.text(bytes) == text else { return nil }
    return bytes
  }
}

extension AuditEntry {
  /// An entry without content, to be filled field by field.
  static var blank: AuditEntry {
    AuditEntry(
      id: "", time: UnixTime(microseconds: 0), actor: "", action: "", entityType: "", entityID: "",
      category: "", outcome: .success)
  }
}
