import KeelsonCore

extension ChannelCore {
  /// Finds the addresses out, by the configured resolver or the target itself.
  func resolve() {
    watchLoop()
    guard machine.connectivity != .shutdown else { return }
    let addresses = target.endpoints.compactMap(\.address)
    if configuration.resolver == nil, addresses.count == target.endpoints.count {
      return found(.success(addresses.map(ServerAddress.init)))
    }
    if changes == nil { watch(configuration.resolver) }
    lookup?.cancel()
    lookup = AddressLookup.start(
      target, by: configuration.resolver, on: loop, timeout: configuration.connectTimeout
    ) { [weak self] outcome in
      self?.lookup = nil
      self?.found(outcome)
    }
  }

  private func found(_ outcome: AddressLookup.Outcome) {
    switch outcome {
    case .success(let addresses):
      let used = Array(addresses.prefix(configuration.maximumAddresses))
      perform(machine.resolved(used, at: .now))
    case .failure(let failure): perform(machine.resolutionFailed(failure.reason, at: .now))
    }
  }

  /// Looks the addresses up again when the resolver says that they have changed.
  private func watch(_ resolver: (any AddressResolver)?) {
    guard let stream = resolver?.changes else { return }
    changes = Task(executorPreference: loop) { [weak self] in
      for await _ in stream {
        guard let self else { return }
        loop.run { [self] in perform(machine.addressesChanged(at: .now)) }
      }
    }
  }
}
