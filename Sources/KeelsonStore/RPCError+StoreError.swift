package import KeelsonCore

extension RPCError {
  /// What a caller is told of a failure in the database: one table for all services. The
  /// store's own words stay in ``RPCError/cause``, for the log.
  package init(_ error: StoreError) {
    let (code, message, details): (RPCError.Code, String, [ErrorDetail]) =
      switch error.code {
      case .conflict:
        (.alreadyExists, "It is there already.", [])
      case .full:
        (
          .resourceExhausted,
          "The server's disk is full: nothing was changed. Reading still works; free space on the "
            + "server and repeat the change.", [.retryInfo(.seconds(10))]
        )
      case .overloaded:
        (
          .resourceExhausted,
          "Too much waits for the database already: nothing was read nor changed. Try again.",
          [.retryInfo(.milliseconds(500))]
        )
      case .busy, .closed, .unreachable:
        (
          .unavailable, "The database cannot be used right now: nothing was changed. Try again.",
          [.retryInfo(.seconds(1))]
        )
      case .outcomeUnknown:
        (
          .unavailable,
          "The connection to the database was lost while the change was committed: it may or may "
            + "not have been made. Look before you repeat it.", []
        )
      case .timedOut:
        (.deadlineExceeded, "The database took longer than the call had time.", [])
      case .io:
        (.unavailable, "The server cannot read or write its data; its log says why.", [])
      case .corrupt:
        (.dataLoss, "The server's data is damaged; its log says where.", [])
      case .revisionTooOld:
        (.outOfRange, "That revision is no longer kept; start again from a snapshot.", [])
      default:
        (.internalError, "The server failed to use its database; its log says why.", [])
      }
    self.init(code, message, details: details, cause: "\(error)")
  }
}
