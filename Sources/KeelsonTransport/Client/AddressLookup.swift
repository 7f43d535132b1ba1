/// One look for a channel's addresses: by a resolver, or of the names of a target by the operating
/// system. Confined to its loop.
///
/// `@unchecked Sendable`: touched on its loop only.
package final class AddressLookup: @unchecked Sendable {
  package typealias Outcome = Result<[ServerAddress], ConnectionFailure>

  private let target: Target
  private let loop: Loop
  private var completion: ((Outcome) -> Void)?
  private var timer: Loop.Timer?
  private var task: Task<Void, Never>?

  private var resolutions: [HostResolution] = []
  /// What was found for each endpoint; nil while it is looked for.
  private var found: [[SocketAddress]?] = []
  private var failures: [String] = []

  private init(_ target: Target, on loop: Loop, completion: @escaping (Outcome) -> Void) {
    self.target = target
    self.loop = loop
    self.completion = completion
  }

  /// Begins to look. On the loop's thread only.
  ///
  /// - Parameter completion: called once, on the loop, later than this returns; never after
  ///   ``cancel()``.
  package static func start(
    _ target: Target, by resolver: (any AddressResolver)?, on loop: Loop, timeout: Duration,
    completion: @escaping (Outcome) -> Void
  ) -> AddressLookup {
    let lookup = AddressLookup(target, on: loop, completion: completion)
    lookup.timer = loop.schedule(after: timeout) {
      lookup.timer = nil
      lookup.finish(.failure(lookup.failure("the resolver did not answer within \(timeout)")))
    }
    if let resolver { lookup.ask(resolver) } else { lookup.resolveNames() }
    return lookup
  }

  /// Forgets the completion; what is still found is thrown away.
  package func cancel() {
    completion = nil
    if let timer { loop.cancel(timer) }
    timer = nil
    task?.cancel()
    for resolution in resolutions { resolution.cancel() }
    resolutions = []
  }

  private func finish(_ outcome: Outcome) {
    let completion = completion
    cancel()
    completion?(outcome)
  }

  private func failure(_ reason: String) -> ConnectionFailure {
    ConnectionFailure(address: target.text, reason: reason)
  }

  // MARK: By a resolver

  private func ask(_ resolver: any AddressResolver) {
    task = Task(executorPreference: loop) { [self] in
      let outcome: Outcome
      do {
        outcome = .success(try await resolver.addresses())
      } catch {
        outcome = .failure(failure("the resolver failed: \(error)"))
      }
      loop.run { [self] in finish(outcome) }
    }
  }

  // MARK: By the operating system

  private func resolveNames() {
    found = target.endpoints.map { endpoint in endpoint.address.map { [$0] } }
    for (index, endpoint) in target.endpoints.enumerated() {
      guard case .name(let host, let port) = endpoint else { continue }
      resolutions.append(
        HostResolution.start(host: host, port: port, on: loop) { [weak self] outcome in
          self?.resolved(index, outcome)
        })
    }
  }

  private func resolved(_ index: Int, _ outcome: HostResolution.Outcome) {
    switch outcome {
    case .success(let addresses): found[index] = Self.interleaved(addresses)
    case .failure(let error):
      found[index] = []
      failures.append(error.message)
    }
    guard !found.contains(where: { $0 == nil }) else { return }
    let addresses = found.flatMap { $0 ?? [] }
    // Some names that fail are no reason to leave those alone that do not.
    finish(
      addresses.isEmpty
        ? .failure(failure(failures.joined(separator: ", ")))
        : .success(addresses.map(ServerAddress.init)))
  }

  /// The families in turn, beginning with the one that the operating system prefers, so that one
  /// of them that leads nowhere costs one attempt. Source: RFC 8305 section 4.
  static func interleaved(_ addresses: [SocketAddress]) -> [SocketAddress] {
    guard let first = addresses.first else { return [] }
    let preferred = addresses.filter { $0.family == first.family }
    let others = addresses.filter { $0.family != first.family }
    var mixed: [SocketAddress] = []
    for index in 0..<max(preferred.count, others.count) {
      if index < preferred.count { mixed.append(preferred[index]) }
      if index < others.count { mixed.append(others[index]) }
    }
    return mixed
  }
}
