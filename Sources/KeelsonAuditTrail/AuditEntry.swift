package import KeelsonCore
import KeelsonCrypto

/// One entry of the audit trail, as it is stored: who did what to which entity, and its place in
/// the chain of hashes. Source: SYS-107.
package struct AuditEntry: Sendable, Hashable {
  /// Its number: 1, 2, 3, ... in the order of commits, without a gap.
  package var sequence: Int64
  /// A UUID, given by whoever recorded it or made here.
  package var id: String
  /// When it was recorded.
  package var time: UnixTime
  /// When it happened, where another service recorded that later.
  package var occurTime: UnixTime?
  /// The revision of the change that it belongs to; 0 where another service recorded it.
  package var revision: Int64
  /// Who recorded it: empty for Keelson itself, else the service's identity or address.
  package var recorder: String
  package var actor: String
  /// What was done, `flag.toggle` for example.
  package var action: String
  package var entityType: String
  package var entityID: String
  /// JSON of the entity before; nil when it was created, or nothing is known.
  package var before: String?
  /// JSON of the entity after; nil when it was deleted, or nothing is known.
  package var after: String?
  /// JSON of what else there is to say; nil: nothing.
  package var attributes: String?
  /// What retention goes by.
  package var category: String
  package var outcome: Outcome
  package var correlationID: String
  /// The caller's address in gRPC's naming; empty for the server itself.
  package var peer: String
  package var userAgent: String
  /// Names the key of the person whose data the entry holds; empty when it is nobody's.
  package var subjectKeyID: String
  /// What is encrypted under that key, and so is gone when the key is destroyed.
  package var sealed: [UInt8]?
  /// The hash of the entry before; ``AuditChain/origin`` for the first.
  package var previousHash: [UInt8]
  /// ``computedHash``, when nobody has tampered with it.
  package var hash: [UInt8]

  package enum Outcome: String, Sendable, CaseIterable {
    case success, failure, denied
  }

  /// An entry without a place in the chain: see ``AuditChain/append(_:)``.
  package init(
    id: String, time: UnixTime, occurTime: UnixTime? = nil, revision: Int64 = 0,
    recorder: String = "", actor: String, action: String, entityType: String, entityID: String,
    before: String? = nil, after: String? = nil, attributes: String? = nil,
    category: String, outcome: Outcome, correlationID: String = "", peer: String = "",
    userAgent: String = "", subjectKeyID: String = "", sealed: [UInt8]? = nil
  ) {
    sequence = 0
    self.id = id
    self.time = time
    self.occurTime = occurTime
    self.revision = revision
    self.recorder = recorder
    self.actor = actor
    self.action = action
    self.entityType = entityType
    self.entityID = entityID
    self.before = before
    self.after = after
    self.attributes = attributes
    self.category = category
    self.outcome = outcome
    self.correlationID = correlationID
    self.peer = peer
    self.userAgent = userAgent
    self.subjectKeyID = subjectKeyID
    self.sealed = sealed
    previousHash = []
    hash = []
  }

  /// The hash that belongs to what the entry says: SHA-256 of ``canonicalForm``.
  package var computedHash: [UInt8] { SHA256.hash(canonicalForm) }

  /// The bytes that are hashed. Two entries that differ anywhere have different ones: each field
  /// is there, in this order, with its length ahead of it.
  ///
  /// Numbers are 8 bytes, the highest first; a text or bytes have their length as such a number
  /// ahead; what may be missing has a byte ahead, 0 when it is and 1 when not.
  package var canonicalForm: [UInt8] {
    var form = CanonicalForm(of: "keelson.audit.entry.v1")
    form.append(previousHash)
    form.append(sequence)
    form.append(id)
    form.append(time.microseconds)
    form.append(optional: occurTime) { $0.append($1.microseconds) }
    form.append(revision)
    form.append(recorder)
    form.append(actor)
    form.append(action)
    form.append(entityType)
    form.append(entityID)
    form.append(optional: before) { $0.append($1) }
    form.append(optional: after) { $0.append($1) }
    form.append(optional: attributes) { $0.append($1) }
    form.append(category)
    form.append(outcome.rawValue)
    form.append(correlationID)
    form.append(peer)
    form.append(userAgent)
    form.append(subjectKeyID)
    form.append(optional: sealed) { $0.append($1) }
    return form.bytes
  }

  /// About how much memory it takes, and somewhat less than it takes in a file or on the wire.
  package var sizeBytes: Int {
    var size = 512 + (before?.utf8.count ?? 0) + (after?.utf8.count ?? 0)
    size += (attributes?.utf8.count ?? 0) + (sealed?.count ?? 0)
    return size + entityID.utf8.count + actor.utf8.count + userAgent.utf8.count
  }
}
