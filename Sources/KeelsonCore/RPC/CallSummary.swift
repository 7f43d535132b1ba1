/// What became of a call on the server.
package struct CallSummary: Sendable {
  /// The status sent; CANCELLED when the caller went away first.
  package let code: RPCError.Code
  /// From the arrival of the headers to the end of the call.
  package let duration: Duration
  /// Bytes of messages received, as they came, without their prefixes.
  package let receivedBytes: Int
  /// Bytes of messages sent, before compression, without their prefixes.
  package let sentBytes: Int
  /// No handler ran: the server had no room for the call, or would not have it.
  package let wasRefused: Bool
  /// What the status says; empty for OK.
  package let message: String
  /// What led to a failure, where the handler knew. Not for the caller's eyes.
  package let cause: String?

  package init(
    code: RPCError.Code, duration: Duration, receivedBytes: Int, sentBytes: Int,
    wasRefused: Bool = false, message: String = "", cause: String? = nil
  ) {
    self.code = code
    self.duration = duration
    self.receivedBytes = receivedBytes
    self.sentBytes = sentBytes
    self.wasRefused = wasRefused
    self.message = message
    self.cause = cause
  }
}
