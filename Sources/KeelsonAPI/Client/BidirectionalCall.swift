/// A call on which both sides send as they like.
public struct BidirectionalCall<Request: Message, Response: Message>: Sendable {
  /// The way to the server. Call its ``RequestWriter/finish()`` after the last message.
  public let requests: RequestWriter<Request>
  /// What the server sends. Leaving its loop cancels the call.
  public let responses: ResponseStream<Response>

  /// Ends the call: reading on throws CANCELLED.
  public func cancel() {
    requests.cancel()
  }
}
