import Testing

@testable import KeelsonPostgres

@Suite struct ConnectionSettingsTests {
  private static func settings(_ url: String) throws -> ConnectionSettings {
    try ConnectionSettings(url: url, connectTimeout: .seconds(5))
  }

  @Test(arguments: [
    ("postgres://u@db.example.com/k", false),
    ("postgres://u@db.example.com/k?sslmode=prefer", false),
    ("postgres://u@db.example.com/k?sslmode=disable", true),
    ("postgres://u@127.0.0.1/k", true),
    ("postgres://u@localhost/k", true),
    ("postgres://u@[::1]/k", true),
    ("host=/run/postgresql dbname=k", true),
    ("postgres://u@db.example.com,db2.example.com/k", false),
    ("postgres://u@localhost,db2.example.com/k", false),
  ])
  func onlyThisMachineNeedsNoEncryption(url: String, mayBePlain: Bool) throws {
    #expect(try Self.settings(url).mayBePlain == mayBePlain)
  }

  @Test func thePrimaryIsLookedForUnlessTheAddressSaysOtherwise() throws {
    func wanted(_ url: String) throws -> String? {
      try Self.settings(url).parameters.first { $0.keyword == "target_session_attrs" }?.value
    }
    #expect(try wanted("postgres://u@a,b/k") == "read-write")
    #expect(try wanted("postgres://u@a,b/k?target_session_attrs=primary") == "primary")
  }

  @Test func whatIsSaidHasNoPassword() throws {
    let settings = try Self.settings("postgres://u:marked-secret@h:5433/k")
    #expect(settings.description == "postgres://u@h:5433/k")
    #expect(settings.safe("it said marked-secret.\n") == "it said ***")
  }
}
