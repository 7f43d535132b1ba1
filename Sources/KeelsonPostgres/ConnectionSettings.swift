import CLibPQ
import Glibc
import KeelsonStore

/// What libpq connects with: the parameters of the URL, and ours where it leaves them open.
struct ConnectionSettings: Sendable {
  /// libpq's keywords and their values.
  let parameters: [(keyword: String, value: String)]
  /// Where it is, for people: without the password.
  let description: String
  /// Whether it need not be encrypted: this machine, or so said.
  let mayBePlain: Bool
  private let secrets: [String]

  /// - Throws: ``StoreError`` with code misuse for a text that libpq does not take. The text of
  ///   the error never holds the password.
  init(url: String, connectTimeout: Duration) throws {
    guard url.contains("://") || url.contains("=") else {
      throw Self.notAURL("it has no ://")
    }
    if let scheme = url.firstRange(of: "://").map({ url[..<$0.lowerBound] }),
      !scheme.contains("="), !["postgres", "postgresql"].contains(scheme)
    {
      throw Self.notAURL("'\(scheme)' is another kind of address")
    }
    var given = try Self.parse(url)
    // libpq finds this out when it connects; what stands there may be a part of the password.
    let ports = given["port"]?.split(separator: ",", omittingEmptySubsequences: false) ?? []
    guard ports.allSatisfy({ $0.isEmpty || UInt16($0).map { $0 > 0 } ?? false }) else {
      throw Self.notAURL("the port is no number from 1 to 65535")
    }
    secrets = ["password", "sslpassword"].compactMap { given[$0] }.filter { !$0.isEmpty }
    let host = given["host"] ?? given["hostaddr"] ?? Self.environment("PGHOST") ?? "localhost"
    mayBePlain =
      given["sslmode"] == "disable"
      || host.split(separator: ",").allSatisfy { host in
        host.hasPrefix("/") || host.hasPrefix("127.") || ["localhost", "::1"].contains(host)
      }
    let seconds = max(2, connectTimeout.components.seconds)
    let ours = [
      "application_name": "keelson",
      "client_encoding": "UTF8",
      "connect_timeout": "\(seconds)",
      // A standby takes no changes; of several hosts the primary is found.
      "target_session_attrs": "read-write",
      // A server that vanished without a word is noticed within half a minute.
      "keepalives_idle": "10",
      "keepalives_interval": "5",
      "keepalives_count": "3",
      "tcp_user_timeout": "25000",
    ]
    for (keyword, value) in ours where given[keyword] == nil { given[keyword] = value }
    // The engine reads and writes UTF-8, whatever the URL says.
    given["client_encoding"] = "UTF8"
    parameters = given.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    description = Self.describe(given)
  }

  /// A message of libpq's or the server's as one line, without our secrets.
  func safe(_ message: String) -> String {
    var line = message.split(whereSeparator: \.isNewline)
      .map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
      .joined(separator: "; ")
    while let last = line.last, last.isPunctuation, last != "\"" { line.removeLast() }
    for secret in secrets { line = line.replacing(secret, with: "***") }
    return line
  }

  private static func describe(_ given: [String: String]) -> String {
    let host = given["host"] ?? given["hostaddr"] ?? environment("PGHOST") ?? "localhost"
    let port = given["port"] ?? environment("PGPORT") ?? "5432"
    let user = given["user"].map { "\($0)@" } ?? ""
    let place = host.hasPrefix("/") ? "\(host) port \(port)" : "\(host):\(port)"
    return "postgres://\(user)\(place)/\(given["dbname"] ?? given["user"] ?? "")"
  }

  private static func environment(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  private static func notAURL(_ reason: String) -> StoreError {
    StoreError(
      .misuse,
      """
      The database's address cannot be read: \(reason). It is written \
      postgres://user:password@host:port/database; characters that have a meaning there are \
      written %XX.
      """)
  }

  private static func parse(_ url: String) throws -> [String: String] {
    var message: UnsafeMutablePointer<CChar>?
    guard let options = unsafe PQconninfoParse(url, &message) else {
      let text = unsafe message.map { unsafe String(cString: $0) } ?? "no memory"
      unsafe PQfreemem(message)
      // libpq quotes parts of the text, which may be the password.
      let quoted = text.split(separator: "\"", omittingEmptySubsequences: false)
      throw notAURL(quoted.first.map { String($0).trimmed } ?? "")
    }
    defer { unsafe PQconninfoFree(options) }
    var given: [String: String] = [:]
    var option = unsafe options
    while let keyword = unsafe option.pointee.keyword {
      if let value = unsafe option.pointee.val {
        unsafe given[String(cString: keyword)] = unsafe String(cString: value)
      }
      unsafe option += 1
    }
    return given
  }
}

extension String {
  /// Without white space and a colon at its ends.
  fileprivate var trimmed: String {
    var text = self[...]
    while let last = text.last, last.isWhitespace || last == ":" { text.removeLast() }
    return String(text.drop(while: \.isWhitespace))
  }
}
