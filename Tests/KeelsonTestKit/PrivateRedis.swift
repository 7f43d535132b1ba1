import Foundation

/// A Redis of the tests' own: in a folder of its own, on a free loopback port, gone with the process
/// that started it, however that ends.
package actor PrivateRedis {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// One for all tests of a process that neither stop nor empty nor reconfigure it; each uses a
  /// database of its own: ``nextDatabase()``.
  package static let shared = Task { try PrivateRedis(settings: ["--databases 1000"]) }

  package nonisolated let port: UInt16
  /// The folder of its dump and log.
  package nonisolated let folder: String
  private let keeper: Process
  private let input: FileHandle
  private let output: FileHandle
  private var unread = Data()
  private var databases = 0

  /// Starts a server and returns when it answers.
  ///
  /// - Parameter settings: arguments of redis-server, `--name value` each.
  package init(settings: [String] = []) throws {
    let started = try Self.launch(settings, tries: 5)
    port = started.port
    folder = started.folder
    keeper = started.keeper
    input = started.input
    output = started.output
    unread = started.unread
  }

  private struct Started {
    let port: UInt16
    let folder: String
    let keeper: Process
    let input: FileHandle
    let output: FileHandle
    let unread: Data
  }

  /// - Parameter tries: on how many ports: somebody may take one, or the one 10,000 beyond it that a node
  ///   of a cluster needs too, before Redis has it.
  private static func launch(_ settings: [String], tries: Int) throws -> Started {
    let reserved = try ReservedPort()
    let port = reserved.port
    reserved.close()
    let keeper = Process()
    keeper.executableURL = URL(fileURLWithPath: "/bin/sh")
    keeper.arguments = ["-c", Self.script, "keeper", "\(port)", settings.joined(separator: " ")]
    keeper.currentDirectoryURL = URL(fileURLWithPath: "/")
    let (input, output) = (Pipe(), Pipe())
    keeper.standardInput = input
    keeper.standardOutput = output
    try keeper.run()
    var unread = Data()
    do {
      let lines = try answer(from: output.fileHandleForReading, unread: &unread)
      guard let folder = lines.last else {
        throw Failure(description: "Redis for the tests said nothing.")
      }
      return Started(
        port: port, folder: folder, keeper: keeper, input: input.fileHandleForWriting,
        output: output.fileHandleForReading, unread: unread)
    } catch let failure as Failure {
      try? input.fileHandleForWriting.close()
      keeper.waitUntilExit()
      guard tries > 1, failure.description.contains("Address already in use") else {
        throw failure
      }
      return try launch(settings, tries: tries - 1)
    }
  }

  /// Where it is, for `serve --cache`.
  package nonisolated var url: String { "redis://127.0.0.1:\(port)" }

  /// The number of a database that no other test of this process uses.
  package func nextDatabase() -> Int {
    databases += 1
    return databases
  }

  /// Runs redis-cli with these words and returns its lines.
  @discardableResult
  package func run(_ words: String) throws -> [String] { try command("cli \(words)") }

  /// Ends it with SIGKILL.
  package func kill() throws { try command("kill") }

  /// Has it write its dump, and ends it.
  package func shutDown() throws { try command("shutdown") }

  /// Starts it again, with the dump that is there.
  package func start() throws { try command("start") }

  /// Stops its process where it stands, so that it answers nothing and keeps its connections.
  package func pause() throws { try command("pause") }

  package func resume() throws { try command("resume") }

  /// Stops it for good and removes its folder.
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
          throw Failure(description: "Redis for the tests: \(lines.joined(separator: "; "))")
        }
        lines.append(line)
      }
      let more = output.availableData
      guard !more.isEmpty else {
        throw Failure(
          description: "Redis for the tests has ended: \(lines.joined(separator: "; "))")
      }
      unread += more
    }
  }

  /// Keeps the server until its input ends: with the tests, at the latest.
  private static let script = #"""
    port=$1 settings=$2
    folder=$(mktemp -d /tmp/keelson-redis-XXXXXX)
    trap '' INT TERM
    answer() { if [ "$1" = 0 ]; then echo //done; else echo //failed; fi; }
    start() {
      redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' \
        --enable-debug-command yes $settings >>"$folder/log" 2>&1 </dev/null &
      server=$!
      tries=0
      until redis-cli -h 127.0.0.1 -p "$port" PING >"$folder/said" 2>&1; do
        kill -0 "$server" 2>/dev/null || { cat "$folder/log"; return 1; }
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || { cat "$folder/log"; return 1; }
        sleep 0.01
      done
      # Not another one that has got the port.
      kill -0 "$server" 2>/dev/null || { cat "$folder/log"; return 1; }
    }
    start
    result=$?
    echo "$folder"
    answer $result
    while IFS= read -r line; do
      case $line in
        kill) kill -9 "$server"; wait "$server" 2>/dev/null; true ;;
        shutdown)
          redis-cli -h 127.0.0.1 -p "$port" SHUTDOWN SAVE >/dev/null 2>&1
          wait "$server" 2>/dev/null
          true ;;
        start) start ;;
        pause) kill -STOP "$server" ;;
        resume) kill -CONT "$server" ;;
        'cli '*) eval "redis-cli -h 127.0.0.1 -p $port ${line#cli }" 2>&1 ;;
      esac
      answer $?
    done
    kill -9 "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    rm -rf "$folder"
    """#
}
