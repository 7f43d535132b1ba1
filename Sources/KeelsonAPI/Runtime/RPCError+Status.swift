package import KeelsonCore

extension RPCError {
  /// The same error with its details as a serialized `google.rpc.Status`, for
  /// `grpc-status-details-bin`. Unchanged without details, or when that is there already.
  package func withEncodedStatus() -> RPCError {
    guard !details.isEmpty, encodedStatus == nil else { return self }
    var error = self
    let status = GoogleRpc.Status(
      code: Int32(truncatingIfNeeded: code.rawValue), message: message,
      details: details.map(\.packed))
    error.encodedStatus = status.encoded()
    return error
  }

  /// The same error with the details that its serialized `google.rpc.Status` holds. Unchanged
  /// when there is none or it cannot be decoded; details of unknown kinds are left out.
  package func withDecodedDetails() -> RPCError {
    guard details.isEmpty, let encodedStatus,
      let status = try? GoogleRpc.Status(decoding: encodedStatus)
    else { return self }
    var error = self
    error.details = status.details.flatMap(ErrorDetail.unpacked(from:))
    return error
  }
}

extension ErrorDetail {
  fileprivate var packed: GoogleProtobuf.`Any` {
    switch self {
    case .badRequest(let violations):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.BadRequest(
          fieldViolations: violations.map {
            GoogleRpc.BadRequest.FieldViolation(field: $0.field, description: $0.description)
          }))
    case .retryInfo(let delay):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.RetryInfo(retryDelay: GoogleProtobuf.Duration(delay)))
    case .resourceInfo(let type, let name, let description):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.ResourceInfo(
          resourceType: type, resourceName: name, description: description))
    case .preconditionFailure(let type, let subject, let description):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.PreconditionFailure(violations: [
          GoogleRpc.PreconditionFailure.Violation(
            type: type, subject: subject, description: description)
        ]))
    case .errorInfo(let reason, let domain, let metadata):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.ErrorInfo(reason: reason, domain: domain, metadata: metadata))
    }
  }

  /// The details that a packed message stands for: none for unknown kinds, several for a
  /// PreconditionFailure with several violations.
  fileprivate static func unpacked(from any: GoogleProtobuf.`Any`) -> [ErrorDetail] {
    if let message = try? any.unpack(as: GoogleRpc.BadRequest.self) {
      return [
        .badRequest(
          message.fieldViolations.map {
            FieldViolation(field: $0.field, description: $0.description)
          })
      ]
    }
    if let message = try? any.unpack(as: GoogleRpc.RetryInfo.self) {
      return [.retryInfo(message.retryDelay?.clampedDuration ?? .zero)]
    }
    if let message = try? any.unpack(as: GoogleRpc.ResourceInfo.self) {
      return [
        .resourceInfo(
          type: message.resourceType, name: message.resourceName,
          description: message.description)
      ]
    }
    if let message = try? any.unpack(as: GoogleRpc.PreconditionFailure.self) {
      return message.violations.map {
        .preconditionFailure(type: $0.type, subject: $0.subject, description: $0.description)
      }
    }
    if let message = try? any.unpack(as: GoogleRpc.ErrorInfo.self) {
      return [
        .errorInfo(reason: message.reason, domain: message.domain, metadata: message.metadata)
      ]
    }
    return []
  }
}
