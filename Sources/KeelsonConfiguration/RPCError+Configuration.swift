import KeelsonConfigurationRules
import KeelsonCore

extension RPCError {
  /// The error for several values in a request that break rules.
  static func invalidArgument(_ violations: [FieldViolation]) -> RPCError {
    RPCError(
      .invalidArgument,
      violations.map { "\($0.field): \($0.description)" }.joined(separator: "; "),
      details: [.badRequest(violations)])
  }

  /// The error for settings that break the schema: every violation in the message and, as fields,
  /// in the details, as many as a status can carry.
  ///
  /// - Parameters:
  ///   - code: INVALID_ARGUMENT for what the request itself gives, else FAILED_PRECONDITION.
  ///   - field: where in the request a violation's key stands.
  static func violating(
    _ violations: [ConfigurationViolation], code: RPCError.Code, summary: String, limit: Int,
    field: (ConfigurationViolation) -> String
  ) -> RPCError {
    // Status details share the trailers' room with everything else: 8 KiB.
    let maximumBytes = 6_000
    var fields: [FieldViolation] = []
    var bytes = 0
    for violation in violations.prefix(limit) {
      let next = FieldViolation(
        field: field(violation), description: "\(violation.key) \(violation.message)",
        reason: violation.rule.rawValue.uppercased().replacing("-", with: "_"))
      bytes += next.field.utf8.count + next.description.utf8.count + 64
      if bytes > maximumBytes, !fields.isEmpty { break }
      fields.append(next)
    }
    let shown = fields.prefix(5).map { field in
      field.description.cut(toBytes: 400)
    }.joined(separator: "; ")
    let rest = violations.count - min(5, fields.count)
    let more =
      rest > 0
      ? "; and \(rest) more: ValidateSettings ('keelson config validate') names all of them" : ""
    return RPCError(code, "\(summary): \(shown)\(more).", details: [.badRequest(fields)])
  }

  static func staleETag(_ given: String, current: String, field: String) -> RPCError {
    RPCError(
      .aborted,
      "\(field): '\(given.prefix(64))' is not the current etag '\(current)': it was changed in "
        + "between. Get it again and repeat the change.",
      details: [
        .errorInfo(reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": current])
      ])
  }

  static func notFound(_ type: String, _ name: String, _ message: String) -> RPCError {
    RPCError(
      .notFound, message,
      details: [
        .resourceInfo(type: "keelson.configuration.v1.\(type)", name: name, description: "")
      ])
  }
}

/// What names the state of a resource of a revision; `none` before the first.
func etag(_ revision: Int64) -> String {
  revision == 0 ? "none" : "r" + String(revision, radix: 36)
}
