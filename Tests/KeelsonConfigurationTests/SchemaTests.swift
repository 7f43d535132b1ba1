import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import Testing

@testable import KeelsonConfiguration

@Suite struct SchemaTests {
  private typealias API = KeelsonConfigurationV1

  @Test func aSchemaThatValuesBreakIsRefusedUnlessAllowed() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("Port", .stringValue("many"))
      try await server.set("Mode", .stringValue("quick"))
      var schema = API.Schema(
        application: "shop",
        rules: [
          .init(
            key: "Port", type: .integer, required: true,
            defaultValue: .init(kind: .integerValue(80))),
          .init(
            key: "Mode", type: .string,
            allowedValues: [.init(kind: .stringValue("fast"))]),
          .init(key: "Name", type: .string, required: true),
        ], closed: true)
      let error = await failure { try await server.client.defineSchema(.init(schema: schema)) }
      #expect(error?.code == .failedPrecondition)
      #expect(
        error?.fields == [
          "settings[\"test/Mode\"]", "settings[\"test/Name\"]", "settings[\"test/Port\"]",
        ])
      let allowed = try await server.client.defineSchema(
        .init(schema: schema, allowViolations: true))
      #expect(allowed.violations.map(\.rule) == ["allowed-values", "required", "type"])
      // What breaks the schema does not count; the default does.
      #expect(try await server.all() == ["Port=80"])
      // Mending one thing is not refused because of another.
      try await server.set("Port", .integerValue(81))
      #expect(try await server.all() == ["Port=81"])

      schema.etag = "none"
      #expect(
        await failure { try await server.client.defineSchema(.init(schema: schema)) }?.code
          == .aborted)
      schema.etag = allowed.schema?.etag ?? ""
      schema.rules.removeLast(2)
      schema.closed = false
      _ = try await server.client.defineSchema(.init(schema: schema))
      #expect(try await server.all() == ["Mode=quick", "Port=81"])
    }
  }

  @Test func aSchemaIsCheckedItself() async throws {
    try await ConfigurationServer.run { server in
      let schema = API.Schema(
        application: "shop",
        rules: [
          .init(key: "a b", type: .string), .init(key: "B"),
          .init(key: "C", type: .string, pattern: "("),
        ])
      let error = await failure { try await server.client.defineSchema(.init(schema: schema)) }
      #expect(error?.code == .invalidArgument)
      #expect(
        error?.fields == [
          "schema.rules[0].key", "schema.rules[1].type", "schema.rules[2].pattern",
        ])
    }
  }

  @Test func whatIsRequiredCannotBeDeleted() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("A", .integerValue(1))
      let schema = API.Schema(
        application: "shop", rules: [.init(key: "A", type: .integer, required: true)])
      _ = try await server.client.defineSchema(.init(schema: schema))
      let error = await failure {
        try await server.client.deleteSetting(.init(application: "shop", key: "A"))
      }
      #expect(error?.code == .invalidArgument)
      server.sources.set([FakeSources.file(["A": 2])])
      _ = try await server.client.reloadSettings(.init(application: "shop"))
      _ = try await server.client.deleteSetting(.init(application: "shop", key: "A"))
      #expect(try await server.all() == ["A=2"])
    }
  }

  @Test func validatingNamesEverythingAndChangesNothing() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("A", .integerValue(1))
      let schema = API.Schema(
        application: "shop",
        rules: [.init(key: "A", type: .integer), .init(key: "P", type: .string, sensitive: true)],
        closed: true)
      let response = try await server.client.validateSettings(
        .init(
          application: "shop",
          changes: [
            .init(key: "A", change: .value(.init(kind: .stringValue("x")))),
            .init(key: "Z", change: .value(.init(kind: .stringValue("x")))),
            .init(key: "P", change: .value(.init(kind: .integerValue(424_242)))),
          ], schema: schema))
      #expect(
        response.violations.map { "\($0.key) \($0.rule)" } == ["A type", "P type", "Z known-key"])
      #expect(!response.violations.map(\.message).joined().contains("424242"))
      #expect(try await server.all() == ["A=1"])
      #expect(
        try await server.client.validateSettings(.init(application: "shop")).violations == [])
    }
  }
}
