import FoundationEssentials
import Glibc
import KeelsonAPI
import KeelsonClient
import KeelsonConfigurationRules
import KeelsonCore

/// The options that the commands about settings share, and how their values are read.
enum ConfigOptions {
  static let application = Command.Option(
    name: "application", value: "NAME", help: "Whose settings; required.",
    environmentVariable: "KEELSON_APPLICATION")
  static let environment = FlagOptions.environment
  static let etag = Command.Option(
    name: "etag", value: "ETAG",
    help: "Refuse when it has changed since this etag; 'none': when it is set already.")
  static let reveal = Command.Option(
    name: "reveal", help: "Show secrets, too; who did is in the audit trail.")

  /// What each of them takes.
  static let scope = [application, environment] + Session.options
  static let paging = [FlagOptions.pageSize, FlagOptions.pageToken]

  static func application(_ invocation: Invocation) throws -> String {
    guard let name = invocation.option("application"), !name.isEmpty else {
      throw UsageError("--application is required, or set KEELSON_APPLICATION.")
    }
    return name
  }

  // MARK: Values

  /// Whether a setting is a secret already, whatever made it one.
  static func isSecret(
    _ key: String, _ session: Session, _ invocation: Invocation
  ) async throws -> Bool {
    do {
      return try await session.client.admin.configuration.getSetting(
        .init(
          application: try application(invocation),
          environment: invocation.option("environment") ?? "", key: key)
      ).sensitive
    } catch let error as RPCError where error.code == .notFound {
      return false
    }
  }

  /// The schema of the application that a command names.
  static func schema(_ session: Session, _ invocation: Invocation) async throws
    -> KeelsonConfigurationV1.Schema
  {
    try await session.client.admin.configuration.getSchema(
      .init(application: try application(invocation)))
  }

  /// A value as the schema's type has it; as it looks where the schema has none. What does not fit
  /// goes as text, and the server says what is wrong with it.
  static func value(_ text: String, type: SettingType?) -> KeelsonConfigurationV1.SettingValue {
    guard let type else { return SettingValue(guessing: text).message }
    return (SettingValue(text: text, as: type) ?? .string(text)).message
  }

  /// The changes that a JSON document means: objects are sections, null deletes.
  static func changes(_ json: JSONValue, schema: KeelsonConfigurationV1.Schema) throws
    -> [KeelsonConfigurationV1.SettingChange]
  {
    guard case .object(let members) = json else {
      throw UsageError(
        "The file has to hold a JSON object, {\"Database\": {\"Url\": \"...\"}} for example.")
    }
    return changes(members, below: "", schema: schema).sorted { $0.key < $1.key }
  }

  private static func changes(
    _ members: [String: JSONValue], below prefix: String, schema: KeelsonConfigurationV1.Schema
  ) -> [KeelsonConfigurationV1.SettingChange] {
    members.flatMap { name, value -> [KeelsonConfigurationV1.SettingChange] in
      let key = prefix.isEmpty ? name : "\(prefix):\(name)"
      if case .object(let inner) = value, schema.type(of: key) != .object {
        return changes(inner, below: key, schema: schema)
      }
      var change = KeelsonConfigurationV1.SettingChange(key: key)
      if case .string(let text) = value, let type = schema.type(of: key) {
        change.change = .value(self.value(text, type: type))
      } else if let value = SettingValue(value) {
        change.change = .value(value.message)
      } else {
        change.change = .delete(true)
      }
      return [change]
    }
  }

  // MARK: Files and secrets

  static func json(file path: String) throws -> JSONValue {
    let text = try text(file: path)
    do {
      return try JSONValue(parsing: text, refusesInexactIntegers: true)
    } catch {
      throw UsageError("\(path): \(error)")
    }
  }

  /// A file's text; `-` is the standard input.
  static func text(file path: String) throws -> String {
    if path == "-" { return try standardInput() }
    do {
      return try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw UsageError("Cannot read the file '\(path)'.")
    }
  }

  /// A secret from a file or the standard input, without the line's end. What is typed does not
  /// show.
  static func secret(file path: String?) throws -> String {
    var text: String
    if let path {
      text = try self.text(file: path)
    } else if isatty(STDIN_FILENO) == 1 {
      text = try typed()
    } else {
      text = try standardInput()
    }
    if text.hasSuffix("\r\n") {
      text.removeLast()
    } else if text.hasSuffix("\n") {
      text.removeLast()
    }
    return text
  }

  private static func standardInput() throws -> String {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(STDIN_FILENO, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw UsageError("Cannot read the standard input.") }
      guard count > 0 else { break }
      bytes += chunk[..<count]
      guard bytes.count <= 16 << 20 else {
        throw UsageError("The standard input has more than 16 MiB.")
      }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw UsageError("The standard input is not UTF-8 text.")
    }
    return text
  }

  /// A line that is typed without being shown.
  private static func typed() throws -> String {
    var before = termios()
    tcgetattr(STDIN_FILENO, &before)
    var hidden = before
    hidden.c_lflag &= ~tcflag_t(ECHO)
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden)
    defer { tcsetattr(STDIN_FILENO, TCSAFLUSH, &before) }
    Output.note("type the value, then Enter; it is not shown")
    guard let line = readLine(strippingNewline: true) else {
      throw UsageError("No value was typed.")
    }
    return line
  }
}

extension KeelsonConfigurationV1.Schema {
  /// The rule that counts for a key.
  func rule(for key: String) -> KeelsonConfigurationV1.SettingRule? {
    if let exact = rules.first(where: { $0.key == key }) { return exact }
    return rules.filter { KeyPattern($0.key)?.matches(key) ?? false }.max {
      $0.key.count(where: { $0 == "*" }) > $1.key.count(where: { $0 == "*" })
    }
  }

  func type(of key: String) -> SettingType? {
    switch rule(for: key)?.type {
    case .boolean: .boolean
    case .integer: .integer
    case .number: .number
    case .string: .string
    case .duration: .duration
    case .size: .size
    case .list: .list
    case .object: .object
    case .unspecified, .unrecognized, nil: nil
    }
  }
}
