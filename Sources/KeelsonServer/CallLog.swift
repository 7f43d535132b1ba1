import KeelsonCore
import KeelsonTransport

/// Logs calls as they end: method, status, duration, sizes, who and which. Source: SYS-106.
///
/// Calls that change something, and calls that the server could not serve, are logged at info;
/// reads and refusals, which are frequent, at debug.
struct CallLog: Sendable {
  let logger: Logger

  func log(_ call: CallSummary) {
    let level = Self.level(of: call)
    guard level >= logger.minimum else { return }
    let path = call.method.path
    let milliseconds = Self.milliseconds(call.duration)
    let (received, sent) = (String(call.receivedBytes), String(call.sentBytes))
    if level < .warning {
      logger.log(
        level, path,
        [
          "status": call.code.description, "peer": call.peer, "milliseconds": milliseconds,
          "received_bytes": received, "sent_bytes": sent,
        ], correlationID: call.correlationID)
    } else {
      logger.log(
        level, path,
        [
          "status": call.code.description, "peer": call.peer, "milliseconds": milliseconds,
          "received_bytes": received, "sent_bytes": sent, "error": call.message,
          "cause": call.cause ?? "not known",
        ], correlationID: call.correlationID)
    }
  }

  private static func level(of call: CallSummary) -> Logger.Level {
    switch call.code {
    case .ok: call.method.isIdempotent ? .debug : .info
    case .unknown, .internalError, .dataLoss: .error
    case .resourceExhausted, .unavailable, .deadlineExceeded: .warning
    default: .debug
    }
  }

  /// With three digits behind the point.
  private static func milliseconds(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    let fraction = String(microseconds % 1_000)
    return "\(microseconds / 1_000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
  }
}
