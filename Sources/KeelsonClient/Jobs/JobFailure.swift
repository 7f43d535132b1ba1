/// What a handler throws to say how its failure is to be taken.
public struct JobFailure: Error, Sendable, Hashable, CustomStringConvertible {
  public var message: String
  /// Whether trying again is of no use.
  public var isPermanent: Bool
  /// How long to wait before the next attempt, in place of what the job's retry policy says.
  public var retryAfter: Duration?

  public init(_ message: String, isPermanent: Bool = false, retryAfter: Duration? = nil) {
    self.message = message
    self.isPermanent = isPermanent
    self.retryAfter = retryAfter
  }

  public var description: String { message }
}
