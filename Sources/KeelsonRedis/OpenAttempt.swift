import KeelsonTransport

/// One attempt to reach a Redis: its name is looked up, and its addresses tried one after the other.
/// Confined to its loop.
final class OpenAttempt {
  typealias Outcome = Result<any ByteStream, RedisError>

  private let target: Target
  private let tls: TLSClientContext?
  private let url: RedisURL
  private let timeout: Duration
  private let loop: Loop
  private var completion: ((Outcome) -> Void)?

  private var lookup: AddressLookup?
  private var attempt: StreamAttempt?
  private var timer: Loop.Timer?
  private var addresses: ArraySlice<ServerAddress> = []
  private var reasons: [String] = []

  /// - Parameters:
  ///   - timeout: for all of it.
  ///   - completion: called once, on the loop. The attempt lives until then.
  init(
    target: Target, tls: TLSClientContext?, url: RedisURL, timeout: Duration, loop: Loop,
    completion: @escaping (Outcome) -> Void
  ) {
    self.target = target
    self.tls = tls
    self.url = url
    self.timeout = timeout
    self.loop = loop
    self.completion = completion
  }

  func start() {
    timer = loop.schedule(after: timeout) { [self] in
      timer = nil
      let advice = tls == nil ? "" : "; is that a port for TLS?"
      reasons.append("no answer within \(timeout)\(advice)")
      fail()
    }
    if let address = target.endpoints[0].address {
      addresses = [ServerAddress(address)]
      return tryNext()
    }
    lookup = AddressLookup.start(target, by: nil, on: loop, timeout: timeout) { [self] outcome in
      lookup = nil
      switch outcome {
      case .success(let found):
        addresses = found[...]
        tryNext()
      case .failure(let failure):
        reasons.append(failure.reason)
        fail()
      }
    }
  }

  /// Fails at once.
  func cancel(_ error: RedisError) {
    finish(.failure(error))
  }

  private func tryNext() {
    guard let address = addresses.popFirst() else { return fail() }
    let attempt = StreamAttempt(
      to: address, tls: tls, loop: loop,
      // The timer of all of it is running, and says more.
      handshakeTimeout: timeout * 2, userTimeout: nil
    ) { [self] outcome in
      self.attempt = nil
      switch outcome {
      case .success(let stream): finish(.success(stream))
      case .failure(let failure):
        if !reasons.contains(failure.reason) { reasons.append(failure.reason) }
        tryNext()
      }
    }
    self.attempt = attempt
    attempt.start()
  }

  private func fail() {
    let reason = reasons.isEmpty ? "it has no address" : reasons.joined(separator: ", ")
    finish(
      .failure(
        RedisError(.unreachable, "\(url.description) cannot be connected to: \(reason).")))
  }

  private func finish(_ outcome: Outcome) {
    guard let completion else { return }
    self.completion = nil
    if let timer { loop.cancel(timer) }
    timer = nil
    lookup?.cancel()
    lookup = nil
    attempt?.abandon()
    attempt = nil
    completion(outcome)
  }
}
