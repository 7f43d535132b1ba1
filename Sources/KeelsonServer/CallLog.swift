import KeelsonCore

/// Logs calls as they end: method, status, duration, sizes, who and which. Source: SYS-106.
///
/// Calls that change something, and calls that the server could not serve, are logged at info;
/// reads and refused calls, which are frequent, at debug.
struct CallLog: Sendable {
  let logger: Logger

  var interceptor: ServerInterceptor {
    ServerInterceptor(end: { context, summary in log(context, summary) })
  }

  func log(_ context: ServerContext, _ call: CallSummary) {
    let level = Self.level(of: call, context.method)
    guard level >= logger.minimum else { return }
    let state = context.snapshot
    var fields = [
      ("status", call.code.description), ("peer", context.peer),
      ("milliseconds", Self.milliseconds(call.duration)),
      ("received_bytes", String(call.receivedBytes)), ("sent_bytes", String(call.sentBytes)),
    ]
    if let identity = context.identity { fields.append(("identity", identity.name)) }
    if let trace = state.trace {
      fields += [("trace_id", trace.traceID), ("span_id", trace.parentID)]
    }
    if level >= .warning {
      fields += [("error", call.message), ("cause", call.cause ?? "not known")]
    }
    logger.log(level, context.method.path, fields: fields, correlationID: state.correlation.text)
  }

  private static func level(of call: CallSummary, _ method: MethodDescriptor) -> Logger.Level {
    // The transport says so once a second, however many they are.
    if call.wasRefused { return .debug }
    return switch call.code {
    case .ok: method.isIdempotent ? .debug : .info
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
