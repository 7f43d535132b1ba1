import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto

/// The key of one person's data in the trail. Destroying it makes the data unreadable, wherever
/// copies of it lie.
struct SubjectKey: Sendable, Hashable {
  let id: String
  /// The person's name, as callers give it.
  let subject: String
  private let key: [UInt8]

  init(id: String, subject: String, key: [UInt8]) {
    self.id = id
    self.subject = subject
    self.key = key
  }

  /// What stands in place of the name where it is actor or entity. It finds the entries for as
  /// long as the key is there, and cannot be guessed without it.
  var pseudonym: String {
    let code = HMACSHA256.code(Array("keelson.audit.pseudonym \(subject)".utf8), key: key)
    return "subject:" + Hexadecimal.text(code.prefix(16))
  }

  /// The entry with everything personal encrypted or replaced.
  ///
  /// - Throws: `CryptoError`.
  func seal(_ entry: AuditEntry) throws -> AuditEntry {
    var sealed = entry
    sealed.subjectKeyID = id
    sealed.sealed = try AES256GCM.seal(
      SealedContent(of: entry).encoded, key: key, binding: binding(entry))
    sealed.before = nil
    sealed.after = nil
    sealed.attributes = nil
    sealed.peer = ""
    sealed.userAgent = ""
    if entry.actor == subject { sealed.actor = pseudonym }
    if entry.entityID == subject { sealed.entityID = pseudonym }
    return sealed
  }

  /// The opposite.
  ///
  /// - Throws: `CryptoError` unauthentic when what is stored was changed.
  func open(_ entry: AuditEntry) throws -> AuditEntry {
    var opened = entry
    if let sealed = entry.sealed {
      let content = try SealedContent(
        decoding: AES256GCM.open(sealed, key: key, binding: binding(entry)))
      opened.before = content.before
      opened.after = content.after
      opened.attributes = content.attributes
      opened.peer = content.peer
      opened.userAgent = content.userAgent
    }
    return named(opened)
  }

  /// The entry with the subject's name in place of its pseudonym.
  func named(_ entry: AuditEntry) -> AuditEntry {
    var named = entry
    let pseudonym = pseudonym
    if entry.actor == pseudonym { named.actor = subject }
    if entry.entityID == pseudonym { named.entityID = subject }
    return named
  }

  /// A value cannot be moved into another entry.
  private func binding(_ entry: AuditEntry) -> [UInt8] {
    Array("keelson.audit.entry \(entry.id)".utf8)
  }
}

/// What of an entry is encrypted, as one JSON object.
private struct SealedContent {
  var before: String?
  var after: String?
  var attributes: String?
  var peer = ""
  var userAgent = ""

  init(of entry: AuditEntry) {
    before = entry.before
    after = entry.after
    attributes = entry.attributes
    peer = entry.peer
    userAgent = entry.userAgent
  }

  var encoded: [UInt8] {
    var members: [String: JSONValue] = [:]
    members["before"] = before.map { .string($0) }
    members["after"] = after.map { .string($0) }
    members["attributes"] = attributes.map { .string($0) }
    members["peer"] = .string(peer)
    members["user_agent"] = .string(userAgent)
    return Array(JSONValue.object(members).text.utf8)
  }

  init(decoding bytes: [UInt8]) throws {
    guard
      case .object(let members) = try JSONValue(
        parsing: String(decoding: bytes, as: UTF8.self))
    else { throw CryptoError(.malformed, "What was encrypted is no entry's content.") }
    func text(_ name: String) -> String? {
      if case .string(let text)? = members[name] { text } else { nil }
    }
    before = text("before")
    after = text("after")
    attributes = text("attributes")
    peer = text("peer") ?? ""
    userAgent = text("user_agent") ?? ""
  }
}
