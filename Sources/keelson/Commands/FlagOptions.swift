import FoundationEssentials
import KeelsonAPI
import KeelsonCore

/// The options that flag commands share, and how their values are read.
enum FlagOptions {
  static let flagSet = Command.Option(
    name: "flag-set", value: "SET", help: "The flag set.", defaultValue: "default")
  static let environment = Command.Option(
    name: "environment", value: "NAME", help: "The environment; the server's own when not given.")
  static let etag = Command.Option(
    name: "etag", value: "ETAG", help: "Refuse when it has changed since this etag.")
  static let pageSize = Command.Option(
    name: "page-size", value: "N", help: "Show one page of at most N; all when not given.")
  static let pageToken = Command.Option(
    name: "page-token", value: "TOKEN", help: "Show the page after an earlier one.")

  /// What a flag can be given when it is created or updated.
  static let definition: [Command.Option] = [
    .init(name: "description", value: "TEXT", help: "What it is for."),
    .init(
      name: "variant", value: "NAME=JSON",
      help: "A value it can have; text that is not JSON is taken as a string.",
      isRepeatable: true),
    .init(name: "owner", value: "TEXT", help: "Who answers for it."),
    .init(name: "tag", value: "TAG", help: "A word to find it by.", isRepeatable: true),
    .init(
      name: "expires", value: "TIME",
      help: "When a temporary flag should be gone, 2027-01-31T00:00:00Z for example."),
    .init(name: "metadata", value: "JSON", help: "An object that evaluations hand out."),
    .init(
      name: "default-variant", value: "NAME",
      help: "The variant in the environment when no rule decides."),
    .init(
      name: "targeting", value: "JSON|@FILE",
      help: "The environment's rules in flagd's targeting JSON, or a file that holds them."),
  ]

  /// `NAME=JSON` pairs.
  static func variants(_ invocation: Invocation) throws -> [String: GoogleProtobuf.Value] {
    var variants: [String: GoogleProtobuf.Value] = [:]
    for pair in invocation.all("variant") {
      guard let equals = pair.firstIndex(of: "="), equals > pair.startIndex else {
        throw UsageError("--variant takes NAME=JSON, on=true for example, not '\(pair)'.")
      }
      let text = String(pair[pair.index(after: equals)...])
      // What begins like JSON is meant as JSON; anything else may be text without quotes.
      let isJSON = text.first.map { "{[\"".contains($0) } ?? false
      let value =
        isJSON ? try json("variant", text) : (try? JSONValue(parsing: text)) ?? .string(text)
      variants[String(pair[..<equals])] = GoogleProtobuf.Value(value)
    }
    return variants
  }

  /// A JSON object given as text or as `@file`; nil for an empty text too, which clears.
  static func object(_ name: String, _ invocation: Invocation) throws -> GoogleProtobuf.Struct? {
    guard let text = try text(name, invocation), !text.isEmpty else { return nil }
    guard case .object(let members) = try json(name, text) else {
      throw UsageError("--\(name) takes a JSON object, {\"country\": \"NL\"} for example.")
    }
    return GoogleProtobuf.Struct(members)
  }

  /// JSON given as text or as `@file`, kept as it was written; an empty text stays empty.
  static func rules(_ name: String, _ invocation: Invocation) throws -> String? {
    guard let text = try text(name, invocation) else { return nil }
    if !text.isEmpty { _ = try json(name, text) }
    return text
  }

  /// A moment in ISO 8601; nil for an empty text too, which clears.
  static func time(_ name: String, _ invocation: Invocation) throws -> GoogleProtobuf.Timestamp? {
    guard let text = invocation.option(name), !text.isEmpty else { return nil }
    guard let date = try? Date(text, strategy: .iso8601) else {
      throw UsageError("--\(name) takes a time such as 2027-01-31T00:00:00Z, not '\(text)'.")
    }
    guard let time = timestamp(date) else {
      throw UsageError("--\(name) takes a time in the years 0001 to 9999, not '\(text)'.")
    }
    return time
  }

  /// A moment in ISO 8601; nil for what is none.
  static func moment(_ text: String) -> GoogleProtobuf.Timestamp? {
    (try? Date(text, strategy: .iso8601)).flatMap(timestamp)
  }

  private static func timestamp(_ date: Date) -> GoogleProtobuf.Timestamp? {
    // What a protobuf Timestamp holds: the years 1 to 9999.
    let seconds = date.timeIntervalSince1970
    guard (-62_135_596_800..<253_402_300_800).contains(seconds) else { return nil }
    return GoogleProtobuf.Timestamp(UnixTime(microseconds: Int64(seconds * 1_000_000)))
  }

  private static func json(_ name: String, _ text: String) throws -> JSONValue {
    do {
      return try JSONValue(parsing: text)
    } catch {
      throw UsageError("--\(name) is \(error)")
    }
  }

  private static func text(_ name: String, _ invocation: Invocation) throws -> String? {
    guard let given = invocation.option(name) else { return nil }
    guard given.hasPrefix("@") else { return given }
    let path = String(given.dropFirst())
    do {
      return try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw UsageError("--\(name): cannot read the file '\(path)'.")
    }
  }
}
