import KeelsonCore

/// How far a batch of jobs is, and how that is shown.
struct BatchProgress: Sendable, Hashable {
  /// Jobs that there are to be; 0 while nobody knows.
  var total = 0
  var created = 0
  /// Jobs that others hold the unique keys of: they are not waited for.
  var existing = 0
  var running = 0
  var completed = 0
  var failed = 0
  var cancelled = 0
  /// Jobs that were removed before their end was heard.
  var gone = 0
  /// Whether the batch is done once its jobs are, and not once they are created.
  var waits = false

  /// Jobs that nothing more will happen to, as far as the batch is concerned.
  var done: Int { waits ? existing + ended : created + existing }

  private var ended: Int { completed + failed + cancelled + gone }

  /// Jobs that have not succeeded, or of which nobody knows.
  var unsuccessful: Int { failed + cancelled + gone }

  /// A line for a terminal, with a bar in it as long as there is room.
  ///
  /// - Parameter elapsed: since the batch began.
  func bar(columns: Int, elapsed: Duration) -> String {
    let text = text(elapsed: elapsed)
    let room = min(40, columns - text.count - 4)
    guard room >= 8 else { return String(text.prefix(max(0, columns - 1))) }
    let filled = total > 0 ? min(room, room * done / total) : 0
    let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: room - filled)
    return "[\(bar)] \(text)"
  }

  /// The same without a bar, for a log.
  func text(elapsed: Duration) -> String {
    // All but the last are less than everything.
    let percent = total > 0 ? done * 100 / total : 0
    var parts = ["\(percent)%, \(Self.grouped(done)) of \(Self.grouped(total)) done"]
    if waits, created + existing < total { parts.append("\(Self.grouped(created)) created") }
    for (number, word) in [
      (existing, "there already"), (failed, "failed"), (cancelled, "called off"),
      (gone, "gone"), (running, "running"),
    ] where number > 0 {
      parts.append("\(Self.grouped(number)) \(word)")
    }
    let seconds = elapsed.inSeconds
    if done > 0, seconds >= 0.5 {
      let rate = Double(done) / seconds
      parts.append(rate >= 10 ? "\(Self.grouped(Int(rate)))/s" : "\(Int(rate * 10)) in 10s")
      if done < total {
        parts.append("\(Self.time(seconds: Double(total - done) / rate)) left")
      }
    }
    return parts.joined(separator: ", ")
  }

  /// `12,345`.
  static func grouped(_ number: Int) -> String {
    var text = ""
    for (index, digit) in String(number).reversed().enumerated() {
      if index > 0, index % 3 == 0, digit != "-" { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  /// `45s`, `3m 05s` or `2h 10m`.
  static func time(seconds: Double) -> String {
    let whole = Int(min(seconds.rounded(.up), 1e9))
    func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    if whole < 60 { return "\(whole)s" }
    if whole < 3_600 { return "\(whole / 60)m \(padded(whole % 60))s" }
    return "\(whole / 3_600)h \(padded(whole % 3_600 / 60))m"
  }

  /// What it has come to, in the end.
  var summary: String {
    var parts: [String] = []
    for (number, word) in [
      (completed, "completed"), (failed, "failed"), (cancelled, "called off"), (gone, "gone"),
      (existing, "there already"),
    ] where number > 0 {
      parts.append("\(Self.grouped(number)) \(word)")
    }
    let jobs = created == 1 ? "1 job" : "\(Self.grouped(created)) jobs"
    return "Created \(jobs)" + (parts.isEmpty ? "." : ": \(parts.joined(separator: ", ")).")
  }
}

extension Duration {
  fileprivate var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
