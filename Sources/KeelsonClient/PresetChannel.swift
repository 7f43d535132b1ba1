import KeelsonCore

/// A channel that adds to each call what its caller left to the configuration.
struct PresetChannel: Channel {
  private let channel: any Channel
  private let metadata: Metadata
  private let unaryTimeout: Duration

  init(_ channel: any Channel, metadata: Metadata, unaryTimeout: Duration) {
    self.channel = channel
    self.metadata = metadata
    self.unaryTimeout = unaryTimeout
  }

  func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    channel.startCall(method, options: preset(options, for: method))
  }

  func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions) async throws
    -> UnaryReply
  {
    try await channel.unary(method, request, options: preset(options, for: method))
  }

  private func preset(_ options: CallOptions, for method: MethodDescriptor) -> CallOptions {
    var options = options
    if options.timeout == nil, method.kind == .unary { options.timeout = unaryTimeout }
    if !metadata.isEmpty {
      let named = Set(options.metadata.entries.map(\.name))
      for entry in metadata.entries where !named.contains(entry.name) {
        options.metadata.append(entry)
      }
    }
    return options
  }
}
