import Testing

@testable import KeelsonPostgres

@Suite struct PreparedStatementsTests {
  private typealias Plan = PreparedStatements.Plan

  @Test func aStatementIsPreparedOnceAndTheOldestMakesRoom() {
    var statements = PreparedStatements(limit: 2)
    #expect(statements.plan(for: "a") == Plan(name: "k1", isNew: true))
    #expect(statements.plan(for: "b") == Plan(name: "k2", isNew: true))
    #expect(statements.plan(for: "a") == Plan(name: "k1", isNew: false))
    #expect(statements.plan(for: "c") == Plan(name: "k3", isNew: true, released: ["k2"]))
    #expect(statements.plan(for: "b") == Plan(name: "k4", isNew: true, released: ["k1"]))
  }

  @Test func nothingIsReleasedAheadOfTheEndOfATransaction() {
    var statements = PreparedStatements(limit: 1)
    _ = statements.plan(for: "a")
    statements.owe("k0")
    #expect(statements.plan(for: "ROLLBACK") == Plan(name: "k2", isNew: true))
    #expect(
      statements.plan(for: "ROLLBACK TO SAVEPOINT member") == Plan(name: "k3", isNew: true))
    #expect(statements.plan(for: "COMMIT") == Plan(name: "k4", isNew: true))
    #expect(statements.plan(for: "b").released.contains("k0"))
  }

  @Test func whatTheServerStillHasIsLetGoOfOnceItCan() {
    var statements = PreparedStatements(limit: 8)
    _ = statements.plan(for: "stale")
    _ = statements.plan(for: "refused")
    // Its tables have changed: the server keeps it until it is told.
    statements.forget("stale", isOnServer: true)
    // This one it never took.
    statements.forget("refused", isOnServer: false)
    #expect(statements.plan(for: "stale") == Plan(name: "k3", isNew: true, released: ["k1"]))
    // The group failed, and the server still has it.
    statements.owe("k1")
    #expect(statements.plan(for: "stale") == Plan(name: "k3", isNew: false))
    #expect(statements.plan(for: "new") == Plan(name: "k4", isNew: true, released: ["k1"]))
    statements.owe("k1")
    statements.removeAll()
    #expect(statements.plan(for: "stale") == Plan(name: "k5", isNew: true))
  }
}
