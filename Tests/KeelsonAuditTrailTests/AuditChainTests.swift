import KeelsonAuditTrail
import KeelsonCore
import Testing

@Suite struct AuditChainTests {
  private func entry(_ number: Int) -> AuditEntry {
    AuditEntry(
      id: "id-\(number)", time: UnixTime(microseconds: Int64(number)), revision: Int64(number),
      actor: "ada", action: "thing.update", entityType: "thing", entityID: "\(number)",
      before: number.isMultiple(of: 2) ? nil : "{}", after: #"{"n":1}"#, category: "change",
      outcome: .success)
  }

  private func entries(_ count: Int) -> [AuditEntry] {
    var chain = AuditChain()
    return (1...count).map { chain.append(entry($0)) }
  }

  private func firstBreak(_ entries: [AuditEntry]) -> AuditChainBreak? {
    var chain = AuditChain()
    do throws(AuditChainBreak) {
      for entry in entries { try chain.verify(entry) }
      return nil
    } catch {
      return error
    }
  }

  @Test func anUntouchedChainVerifies() {
    let entries = entries(20)
    #expect(entries.map(\.sequence) == Array(1...20))
    #expect(firstBreak(entries) == nil)
  }

  /// Each field of an entry in the middle.
  @Test(
    arguments: [
      { $0.id = "other" }, { $0.time.microseconds += 1 }, { $0.occurTime = $0.time },
      { $0.revision += 1 }, { $0.recorder = "other" }, { $0.actor = "eve" },
      { $0.action = "thing.delete" }, { $0.entityType = "other" }, { $0.entityID = "other" },
      { $0.before = nil }, { $0.after = nil }, { $0.attributes = "{}" }, { $0.category = "other" },
      { $0.outcome = .denied }, { $0.correlationID = "other" }, { $0.peer = "other" },
      { $0.userAgent = "other" }, { $0.subjectKeyID = "other" }, { $0.sealed = [] },
      { $0.previousHash[0] ^= 1 }, { $0.hash[31] ^= 1 },
    ] as [@Sendable (inout AuditEntry) -> Void])
  func aChangedFieldIsFound(change: @Sendable (inout AuditEntry) -> Void) {
    var entries = entries(9)
    change(&entries[4])
    let found = firstBreak(entries)
    #expect(found?.sequence == 5)
    #expect(found?.kind == .content)
  }

  @Test func aRewrittenEntryBreaksTheLinkAfterIt() {
    var entries = entries(9)
    entries[4].actor = "eve"
    entries[4].hash = entries[4].computedHash
    #expect(firstBreak(entries)?.sequence == 6)
    #expect(firstBreak(entries)?.kind == .link)
  }

  @Test func deletedAndSwappedEntriesAreFound() {
    var deleted = entries(9)
    deleted.remove(at: 4)
    #expect(firstBreak(deleted)?.sequence == 6)
    #expect(firstBreak(deleted)?.kind == .missing)
    var swapped = entries(9)
    swapped.swapAt(4, 5)
    #expect(firstBreak(swapped)?.sequence == 6)
    var repeated = entries(9)
    repeated.insert(repeated[4], at: 5)
    #expect(firstBreak(repeated)?.sequence == 5)
    #expect(firstBreak(repeated)?.kind == .order)
  }

  @Test func fieldsDoNotRunIntoOneAnother() {
    var one = entry(1)
    var other = entry(1)
    (one.actor, one.action) = ("ab", "c")
    (other.actor, other.action) = ("a", "bc")
    #expect(one.canonicalForm != other.canonicalForm)
  }
}
