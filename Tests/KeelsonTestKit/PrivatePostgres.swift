import Foundation
import Synchronization

/// A PostgreSQL server of the tests' own: its data in a folder of its own, on a Unix socket there
/// and a free loopback port, gone with the process that started it, however that ends.
package actor PrivatePostgres {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// One for all tests of a process that do not stop or restart it.
  package static let shared = Task { try PrivatePostgres() }

  package static let user = "keelson"
  package static let password = "s3cret-of-the-tests"

  package nonisolated let port: UInt16
  /// The folder of its socket, data and log.
  package nonisolated let folder: String
  private let keeper: Process
  private let input: FileHandle
  private let output: FileHandle
  private var unread = Data()
  private static let numbers = Atomic<Int>(0)

  /// Starts a server and returns when it serves.
  ///
  /// - Parameter settings: of postgresql.conf, `name=value` each.
  package init(settings: [String] = []) throws {
    let reserved = try ReservedPort()
    port = reserved.port
    reserved.close()
    let keeper = Process()
    let script = [
      "/bin/sh", "-c", Self.script, "keeper", "\(port)", Self.user, Self.password,
      settings.map { "-c \($0)" }.joined(separator: " "),
    ]
    // PostgreSQL refuses to run as root.
    let prefix =
      getuid() == 0
      ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] : []
    keeper.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    keeper.arguments = prefix + script
    keeper.currentDirectoryURL = URL(fileURLWithPath: "/")
    let (input, output) = (Pipe(), Pipe())
    keeper.standardInput = input
    keeper.standardOutput = output
    try keeper.run()
    self.keeper = keeper
    self.input = input.fileHandleForWriting
    self.output = output.fileHandleForReading
    var unread = Data()
    let lines = try Self.answer(from: self.output, unread: &unread)
    self.unread = unread
    guard let folder = lines.last else {
      throw Failure(description: "PostgreSQL for the tests said nothing.")
    }
    self.folder = folder
  }

  /// Where a database is, for `serve --database`.
  package nonisolated func url(_ database: String) -> String {
    "postgres://\(Self.user):\(Self.password)@127.0.0.1:\(port)/\(database)"
  }

  /// Makes an empty database and returns its name.
  package func createDatabase() throws -> String {
    let number = Self.numbers.wrappingAdd(1, ordering: .relaxed).newValue
    let name = "test_\(getpid())_\(number)"
    try run("CREATE DATABASE \(name)")
    return name
  }

  /// Runs a statement as the superuser and returns its rows, columns parted by `|`.
  @discardableResult
  package func run(_ sql: String, in database: String = "postgres") throws -> [String] {
    try command("sql \(database) \(sql.split(whereSeparator: \.isNewline).joined(separator: " "))")
  }

  /// Ends it as a crash would, with all connections.
  package func crash() throws { try command("crash") }

  /// Starts it again after ``crash()``.
  package func start() throws { try command("start") }

  /// Stops it for good and removes its data.
  package func stop() {
    try? input.close()
    keeper.waitUntilExit()
  }

  @discardableResult
  private func command(_ line: String) throws -> [String] {
    try input.write(contentsOf: Data((line + "\n").utf8))
    return try Self.answer(from: output, unread: &unread)
  }

  /// Reads lines up to the one that says how it went.
  private static func answer(from output: FileHandle, unread: inout Data) throws -> [String] {
    var lines: [String] = []
    while true {
      while let end = unread.firstIndex(of: 0x0A) {
        let line = String(decoding: unread[..<end], as: UTF8.self)
        unread = Data(unread[(end + 1)...])
        if line == "//done" { return lines }
        if line == "//failed" {
          throw Failure(
            description: "PostgreSQL for the tests: \(lines.joined(separator: "; "))")
        }
        lines.append(line)
      }
      let more = output.availableData
      guard !more.isEmpty else {
        throw Failure(
          description: "PostgreSQL for the tests has ended: \(lines.joined(separator: "; "))")
      }
      unread += more
    }
  }

  /// Keeps the server until its input ends: with the tests, at the latest. Its texts compare in
  /// the order of a language, as those of many servers do.
  private static let script = #"""
    port=$1 user=$2 password=$3 settings=$4
    bin=$(pg_config --bindir)
    folder=$(mktemp -d /tmp/keelson-postgres-XXXXXX)
    trap '' INT TERM
    answer() { if [ "$1" = 0 ]; then echo //done; else echo //failed; fi; }
    start() {
      "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -s start \
        -o "-p $port -k $folder -c listen_addresses=127.0.0.1 -c max_connections=200 \
        -c shared_buffers=64MB -c fsync=off $settings" >"$folder/said" 2>&1 && return 0
      cat "$folder/said" "$folder/log"
      return 1
    }
    echo "$password" >"$folder/password"
    "$bin/initdb" -D "$folder/data" -U "$user" -A scram-sha-256 --pwfile "$folder/password" \
      --no-sync -E UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en >"$folder/said" 2>&1 \
      || cat "$folder/said"
    start
    result=$?
    echo "$folder"
    answer $result
    export PGPASSWORD=$password
    while IFS= read -r line; do
      case $line in
        crash) "$bin/pg_ctl" -D "$folder/data" -w -s -m immediate stop 2>&1 ;;
        start) start ;;
        'sql '*)
          rest=${line#sql }
          "$bin/psql" -XAtq -v ON_ERROR_STOP=1 -h "$folder" -p "$port" -U "$user" \
            -d "${rest%% *}" -c "${rest#* }" 2>&1 ;;
      esac
      answer $?
    done
    "$bin/pg_ctl" -D "$folder/data" -w -s -m immediate stop >/dev/null 2>&1
    rm -rf "$folder"
    """#
}
