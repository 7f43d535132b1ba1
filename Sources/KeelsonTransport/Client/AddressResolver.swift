/// Where a channel has the addresses of its server from, in place of its target's name: a service
/// registry, or a list that a test changes.
public protocol AddressResolver: Sendable {
  /// Looks the addresses up, in the order of preference. A channel asks when it first needs one,
  /// and again, at most once in ``ChannelConfiguration/resolutionInterval``, when connections were
  /// lost or could not be made.
  ///
  /// - Throws: whatever went wrong; its description becomes part of the calls' errors if no
  ///   addresses are known yet. Addresses that are known stay in use.
  func addresses() async throws -> [ServerAddress]

  /// Yields whenever ``addresses()`` would now give others; nil if the resolver does not notice.
  /// Asked for once by each channel.
  var changes: AsyncStream<Void>? { get }
}

extension AddressResolver {
  public var changes: AsyncStream<Void>? { nil }
}
