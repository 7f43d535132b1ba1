package import KeelsonCore

/// How a call ended.
package enum CallEnd: Sendable, Hashable {
  /// With status OK and this trailing metadata.
  case ok(Metadata)
  /// With any other status; the error carries the trailing metadata.
  case failed(RPCError)

  /// The metadata that came with the status.
  package var trailingMetadata: Metadata {
    switch self {
    case .ok(let metadata): metadata
    case .failed(let error): error.metadata
    }
  }

  /// The error, unless the call ended with OK.
  package var error: RPCError? {
    switch self {
    case .ok: nil
    case .failed(let error): error
    }
  }
}

extension RPCError {
  /// The status of a call that its own caller gave up.
  static let cancelledByCaller = RPCError(.cancelled, "The caller cancelled the call.")

  /// The status of a call whose deadline passed on the client's side.
  static let deadlinePassed = RPCError(
    .deadlineExceeded, "The call's deadline passed before the server answered.")

  /// The status of a call whose handler threw this error. Only an ``RPCError`` was meant for the
  /// peer's eyes; what any other says stays in `cause`, for the log.
  package init(thrownByHandler error: any Error) {
    switch error {
    case let error as RPCError where error.code != .ok:
      self = error
    case is CancellationError:
      self.init(.cancelled, "The call was cancelled.")
    default:
      self.init(
        .unknown, "The server failed to handle the call; its log says why.",
        cause: String(describing: error))
    }
  }
}
