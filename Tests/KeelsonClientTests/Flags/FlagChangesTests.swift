import Testing

@testable import KeelsonClient

@Suite("The sequence of flag changes")
struct FlagChangesTests {
  private func change(_ revision: Int64, _ keys: Set<String>? = nil) -> FlagChange {
    FlagChange(keys: keys ?? ["flag-\(revision)"], revision: revision)
  }

  @Test("a slow reader gets the first ones one by one, the rest merged into the last")
  func coalesces() async {
    let mailbox = FlagChangeMailbox()
    let limit = Int64(FlagChanges.bufferedChanges)
    for revision in 1...(limit + 10) { mailbox.post(change(revision)) }
    mailbox.close()
    for revision in 1..<limit { #expect(await mailbox.next() == change(revision)) }
    let rest = await mailbox.next()
    #expect(rest?.revision == limit + 10)
    #expect(rest?.keys == Set((limit...(limit + 10)).map { "flag-\($0)" }))
    #expect(await mailbox.next() == nil)
  }

  @Test("a merged change that names too many flags says that everything changed")
  func everything() {
    var merged = change(1, ["first"])
    merged.merge(change(2, Set((0..<FlagChange.maximumKeys).map { "flag-\($0)" })))
    #expect(merged.isEverything)
    #expect(merged.keys.isEmpty)
    #expect(merged.concerns("anything"))
    merged.merge(change(3))
    #expect(merged.isEverything)
    #expect(merged.revision == 3)
    #expect(!change(4).concerns("anything"))
    #expect(change(4).concerns("flag-4"))
  }

  @Test("everyone who asks gets every change")
  func severalReaders() async {
    let store = FlagStore(isSubscribed: true)
    let first = store.changes()
    let second = store.changes()
    store.update(FlagSubscriptionStateMachine(policy: .init()), change: change(1))
    store.close()
    for changes in [first, second] {
      var seen: [FlagChange] = []
      for await change in changes { seen.append(change) }
      #expect(seen == [change(1)])
    }
  }

  @Test("cancelling the reader's task ends its loop")
  func cancellation() async {
    let mailbox = FlagChangeMailbox()
    let changes = FlagChanges(mailbox: mailbox) {}
    let reader = Task {
      for await _ in changes {}
    }
    reader.cancel()
    await reader.value
  }

  @Test("a reader who leaves is forgotten")
  func leaves() {
    let store = FlagStore(isSubscribed: true)
    #expect(store.readers == 0)
    do {
      let changes = store.changes()
      #expect(store.readers == 1)
      _ = changes.makeAsyncIterator()
    }
    #expect(store.readers == 0)
  }
}
