import KeelsonAPI
import KeelsonCore
import Testing

@testable import KeelsonFlags

@Suite struct FlagUpdateTests {
  private typealias Flag = KeelsonFlagsV1.Flag

  private let old = Flag(
    key: "a", description: "old", type: .boolean,
    variants: [
      "on": GoogleProtobuf.Value(.bool(true)), "off": GoogleProtobuf.Value(.bool(false)),
    ],
    environments: ["production": .init(enabled: true, defaultVariant: "on", targeting: "{}")],
    owner: "us", tags: ["x"])

  @Test func changesWhatTheMaskNamesAndNothingElse() throws {
    let update = Flag(key: "b", description: "new", owner: "them", tags: ["y", "z"])
    var expected = old
    expected.description = "new"
    expected.tags = ["y", "z"]
    #expect(try FlagUpdate.apply(["description", "tags"], of: update, to: old) == expected)
  }

  @Test func aStarChangesEverythingThatCanChange() throws {
    let update = Flag(key: "b", description: "new", type: .string)
    let changed = try FlagUpdate.apply(["*"], of: update, to: old)
    #expect(changed == Flag(key: "a", description: "new", type: .boolean))
  }

  @Test func reachesIntoOneEnvironment() throws {
    var update = Flag()
    update.environments["production"] = .init(enabled: false, targeting: "{\"if\":[]}")
    let changed = try FlagUpdate.apply(["environments.production.targeting"], of: update, to: old)
    #expect(changed.environments["production"]?.targeting == "{\"if\":[]}")
    #expect(changed.environments["production"]?.enabled == true)
    #expect(changed.environments["production"]?.defaultVariant == "on")
  }

  @Test func makesAnEnvironmentThatWasNotThere() throws {
    var update = Flag()
    update.environments["staging"] = .init(enabled: true)
    let changed = try FlagUpdate.apply(["environments.staging.enabled"], of: update, to: old)
    #expect(changed.environments["staging"] == .init(enabled: true, defaultVariant: "on"))
    #expect(changed.environments["production"] == old.environments["production"])
  }

  @Test func takesAnEnvironmentAway() throws {
    let changed = try FlagUpdate.apply(["environments.`production`"], of: Flag(), to: old)
    #expect(changed.environments.isEmpty)
  }

  @Test(arguments: [
    [], ["key"], ["type"], ["revision"], ["nonsense"], ["*", "owner"], ["environments."],
    ["environments.production.nonsense"], ["environments.a.b.c"], [""],
  ])
  func refusesWhatCannotChange(paths: [String]) {
    let error = #expect(throws: RPCError.self) {
      try FlagUpdate.apply(paths, of: Flag(), to: old)
    }
    #expect(error?.code == .invalidArgument)
    guard case .badRequest(let violations)? = error?.details.first else {
      Issue.record("no field violation")
      return
    }
    #expect(violations.map(\.field) == ["update_mask"])
  }
}
