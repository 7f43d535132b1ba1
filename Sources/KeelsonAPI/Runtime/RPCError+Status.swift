package import KeelsonCore

extension RPCError {
  /// The same error with its details as a serialized `google.rpc.Status`, for
  /// `grpc-status-details-bin`. Unchanged without details, or when that is there already.
  package func withEncodedStatus() -> RPCError {
    guard !details.isEmpty, encodedStatus == nil else { return self }
    var error = self
    let status = GoogleRpc.Status(
      code: Int32(truncatingIfNeeded: code.rawValue), message: message,
      details: details.compactMap(\.packed))
    error.encodedStatus = status.encoded()
    return error
  }

  /// The same error with the details that its serialized `google.rpc.Status` holds. Unchanged
  /// when there is none or it cannot be decoded.
  package func withDecodedDetails() -> RPCError {
    guard details.isEmpty, let encodedStatus,
      let status = try? GoogleRpc.Status(decoding: encodedStatus)
    else { return self }
    var error = self
    error.details = status.details.map(ErrorDetail.init)
    return error
  }
}

extension ErrorDetail {
  /// The detail as it stands in a Status; nil for what is not sent.
  fileprivate var packed: GoogleProtobuf.`Any`? {
    switch self {
    case .badRequest(let violations):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.BadRequest(fieldViolations: violations.map { .init($0) }))
    case .retryInfo(let delay):
      GoogleProtobuf.`Any`(packing: GoogleRpc.RetryInfo(retryDelay: .init(delay)))
    case .resourceInfo(let type, let name, let owner, let description):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.ResourceInfo(
          resourceType: type, resourceName: name, owner: owner, description: description))
    case .preconditionFailure(let violations):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.PreconditionFailure(violations: violations.map { .init($0) }))
    case .quotaFailure(let violations):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.QuotaFailure(violations: violations.map { .init($0) }))
    case .errorInfo(let reason, let domain, let metadata):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.ErrorInfo(reason: reason, domain: domain, metadata: metadata))
    case .requestInfo(let id, let servingData):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.RequestInfo(requestId: id, servingData: servingData))
    case .help(let links):
      GoogleProtobuf.`Any`(
        packing: GoogleRpc.Help(
          links: links.map { .init(description: $0.description, url: $0.url) }))
    case .localizedMessage(let text):
      GoogleProtobuf.`Any`(packing: GoogleRpc.LocalizedMessage(text))
    case .debugInfo: nil
    case .other(let typeURL, let value): GoogleProtobuf.`Any`(typeUrl: typeURL, value: value)
    }
  }

  /// Whatever is packed: what is of no known kind, or no valid encoding of its kind, stays packed.
  fileprivate init(_ any: GoogleProtobuf.`Any`) {
    if let message = try? any.unpack(as: GoogleRpc.BadRequest.self) {
      self = .badRequest(message.fieldViolations.map(FieldViolation.init))
    } else if let message = try? any.unpack(as: GoogleRpc.RetryInfo.self) {
      self = .retryInfo(message.retryDelay?.clampedDuration ?? .zero)
    } else if let message = try? any.unpack(as: GoogleRpc.ResourceInfo.self) {
      self = .resourceInfo(
        type: message.resourceType, name: message.resourceName, owner: message.owner,
        description: message.description)
    } else if let message = try? any.unpack(as: GoogleRpc.PreconditionFailure.self) {
      self = .preconditionFailure(message.violations.map(PreconditionViolation.init))
    } else if let message = try? any.unpack(as: GoogleRpc.QuotaFailure.self) {
      self = .quotaFailure(message.violations.map(QuotaViolation.init))
    } else if let message = try? any.unpack(as: GoogleRpc.ErrorInfo.self) {
      self = .errorInfo(
        reason: message.reason, domain: message.domain, metadata: message.metadata)
    } else if let message = try? any.unpack(as: GoogleRpc.RequestInfo.self) {
      self = .requestInfo(id: message.requestId, servingData: message.servingData)
    } else if let message = try? any.unpack(as: GoogleRpc.Help.self) {
      self = .help(message.links.map { HelpLink(description: $0.description, url: $0.url) })
    } else if let message = try? any.unpack(as: GoogleRpc.LocalizedMessage.self) {
      self = .localizedMessage(LocalizedMessage(message))
    } else if let message = try? any.unpack(as: GoogleRpc.DebugInfo.self) {
      self = .debugInfo(stackEntries: message.stackEntries, detail: message.detail)
    } else {
      self = .other(typeURL: any.typeUrl, value: any.value)
    }
  }
}

// Each kind's parts, there and back.

extension GoogleRpc.BadRequest.FieldViolation {
  fileprivate init(_ violation: FieldViolation) {
    self.init(
      field: violation.field, description: violation.description, reason: violation.reason,
      localizedMessage: violation.localizedMessage.map { .init($0) })
  }
}

extension FieldViolation {
  fileprivate init(_ message: GoogleRpc.BadRequest.FieldViolation) {
    self.init(
      field: message.field, description: message.description, reason: message.reason,
      localizedMessage: message.localizedMessage.map { LocalizedMessage($0) })
  }
}

extension GoogleRpc.PreconditionFailure.Violation {
  fileprivate init(_ violation: PreconditionViolation) {
    self.init(
      type: violation.type, subject: violation.subject, description: violation.description)
  }
}

extension PreconditionViolation {
  fileprivate init(_ message: GoogleRpc.PreconditionFailure.Violation) {
    self.init(type: message.type, subject: message.subject, description: message.description)
  }
}

extension GoogleRpc.QuotaFailure.Violation {
  fileprivate init(_ violation: QuotaViolation) {
    self.init(
      subject: violation.subject, description: violation.description,
      apiService: violation.service, quotaMetric: violation.metric, quotaId: violation.id,
      quotaDimensions: violation.dimensions, quotaValue: violation.value,
      futureQuotaValue: violation.futureValue)
  }
}

extension QuotaViolation {
  fileprivate init(_ message: GoogleRpc.QuotaFailure.Violation) {
    self.init(
      subject: message.subject, description: message.description, service: message.apiService,
      metric: message.quotaMetric, id: message.quotaId, dimensions: message.quotaDimensions,
      value: message.quotaValue, futureValue: message.futureQuotaValue)
  }
}

extension GoogleRpc.LocalizedMessage {
  fileprivate init(_ text: LocalizedMessage) {
    self.init(locale: text.locale, message: text.message)
  }
}

extension LocalizedMessage {
  fileprivate init(_ message: GoogleRpc.LocalizedMessage) {
    self.init(locale: message.locale, message: message.message)
  }
}
