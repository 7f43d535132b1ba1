import Glibc
import KeelsonCore
import KeelsonWorker

/// What the options of `keelson worker` come to.
struct WorkerSettings {
  var name: String
  var queues: [String]
  /// nil: the usual ones.
  var kinds: [String]?
  var concurrency: Int
  var drainTimeout: Duration
  var rules: BuiltInJobs.Rules
  var logLevel: Logger.Level

  /// - Throws: ``UsageError`` for an option that cannot be meant, `RPCError` for a file.
  init(_ invocation: Invocation) throws {
    name = invocation.option("name") ?? Self.hostName
    queues = Self.list("queues", invocation)
    guard !queues.isEmpty else { throw UsageError("--queues names no queue.") }
    let kinds = Self.list("kinds", invocation)
    guard !invocation.has("kinds") || !kinds.isEmpty else {
      throw UsageError("--kinds names no kind.")
    }
    self.kinds = kinds.isEmpty ? nil : kinds
    concurrency = try invocation.integer("concurrency") ?? 10
    guard (1...10_000).contains(concurrency) else {
      throw UsageError("--concurrency takes a number from 1 to 10000, not \(concurrency).")
    }
    drainTimeout = try JobOptions.duration("drain-timeout", invocation) ?? .seconds(30)
    rules = try Self.rules(invocation)
    logLevel = invocation.option("log-level").flatMap(Logger.Level.init) ?? .info
  }

  private static func list(_ name: String, _ invocation: Invocation) -> [String] {
    invocation.all(name).flatMap { $0.split(separator: ",") }
      .map { String($0.trimmed) }.filter { !$0.isEmpty }
  }

  /// The host's name, of characters that a worker's may have.
  private static var hostName: String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard unsafe gethostname(&bytes, bytes.count - 1) == 0 else { return "worker" }
    let text = bytes.prefix { $0 != 0 }.map { Character(Unicode.Scalar(UInt8(bitPattern: $0))) }
    let name = String(
      text.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
    )
    .drop { !$0.isLetter && !$0.isNumber }
    return name.isEmpty ? "worker" : String(name.prefix(128))
  }

  private static func rules(_ invocation: Invocation) throws -> BuiltInJobs.Rules {
    var rules: BuiltInJobs.Rules
    do throws(RPCError) {
      rules = BuiltInJobs.Rules(hosts: try HostRules(invocation.all("http-allow")))
      for assignment in invocation.all("allow-command") {
        let parts = assignment.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, parts[1].hasPrefix("/") else {
          throw RPCError(
            .invalidArgument,
            "--allow-command takes NAME=PATH with a path from the root on, not '\(assignment)'.")
        }
        try rules.commands.add(parts[0], AllowedCommand(path: parts[1]))
      }
    } catch {
      throw UsageError(error.message)
    }
    for file in invocation.all("allow-command-file") {
      try check(file, "The file \(file)", mayBeWrittenByOthers: false)
      try rules.commands.add(parsing: try InputFile.text(file), of: "The file \(file)")
    }
    for (name, path) in rules.commands.programs {
      try check(path, "The command '\(name)' cannot be run: \(path)", isProgram: true)
    }
    if let file = invocation.option("http-ca") {
      _ = try InputFile.text(file)
      rules.caFile = file
    }
    rules.variables = SettingOptions.variables
    rules.outputBytes = try bytes("output-size", invocation)
    return rules
  }

  /// Whoever may write the list of commands may run any.
  private static func check(
    _ path: String, _ what: String, isProgram: Bool = false, mayBeWrittenByOthers: Bool = true
  ) throws {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw InputFile.failure(isProgram ? what : "\(what) cannot be read")
    }
    if isProgram {
      guard status.st_mode & S_IFMT == S_IFREG, unsafe access(path, X_OK) == 0 else {
        throw RPCError(.failedPrecondition, "\(what) is no program that may be executed.")
      }
    }
    guard mayBeWrittenByOthers || status.st_mode & S_IWOTH == 0 else {
      throw RPCError(
        .failedPrecondition,
        "\(what) may be written by everybody, so it does not say what may be run: take that right "
          + "away (chmod o-w).")
    }
  }

  private static func bytes(_ name: String, _ invocation: Invocation) throws -> Int {
    let text = invocation.option(name) ?? ""
    var factor = 1
    var digits = Substring(text)
    for (unit, size) in [("KiB", 1 << 10), ("MiB", 1 << 20)] where text.hasSuffix(unit) {
      (digits, factor) = (text.dropLast(unit.count), size)
    }
    let range = BuiltInJobs.outputBytesRange
    guard let number = Int(digits), number >= 0, number <= range.upperBound,
      range.contains(number * factor)
    else {
      throw UsageError("--\(name) takes a size from 0 to 511KiB, 24KiB for example, not '\(text)'.")
    }
    return number * factor
  }
}
