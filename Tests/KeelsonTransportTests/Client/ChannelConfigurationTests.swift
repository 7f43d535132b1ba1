import KeelsonCore
import KeelsonTransport
import Testing

struct ChannelConfigurationTests {
  private typealias Change = @Sendable (inout ChannelConfiguration) -> Void

  @Test func theDefaultsCanBeUsed() throws {
    try ChannelConfiguration().validate()
    var configuration = ChannelConfiguration()
    configuration.serviceConfig = .retryingIdempotentMethods
    try configuration.validate()
  }

  @Test func whatCannotBeUsedIsNamed() {
    let changes: [(String, Change)] = [
      ("resolutionInterval is longer than 0", { $0.resolutionInterval = .zero }),
      ("connectTimeout", { $0.connectTimeout = .seconds(-1) }),
      ("keepaliveInterval", { $0.keepaliveInterval = .zero }),
      ("keepaliveTimeout", { $0.keepaliveTimeout = .zero }),
      ("idleTimeout", { $0.idleTimeout = .zero }),
      ("unaryTimeout", { $0.unaryTimeout = .zero }),
      ("backoff.initial", { $0.backoff.initial = .zero }),
      ("backoff.maximum", { $0.backoff.maximum = .zero }),
      ("backoff.multiplier is at least 1, not 0.5", { $0.backoff.multiplier = 0.5 }),
      ("backoff.jitter", { $0.backoff.jitter = 1.5 }),
      ("connectionAttemptDelay", { $0.connectionAttemptDelay = .milliseconds(9) }),
      ("maximumAddresses", { $0.maximumAddresses = 0 }),
      ("maximumRequestBytes is from 0 to 4294967295", { $0.maximumRequestBytes = 1 << 32 }),
      ("maximumResponseBytes", { $0.maximumResponseBytes = -1 }),
      ("compressionThresholdBytes", { $0.compressionThresholdBytes = -1 }),
      ("responseQueueBytes", { $0.responseQueueBytes = 0 }),
      ("streamWindowBytes", { $0.streamWindowBytes = 1 << 31 }),
      ("connectionWindowBytes is from 65535", { $0.connectionWindowBytes = 1_000 }),
      ("replayBytes", { $0.replayBytes = -1 }),
      ("channelReplayBytes", { $0.channelReplayBytes = -1 }),
      ("userAgent is printable ASCII", { $0.userAgent = "a\nb" }),
      ("methodConfig[0].name", { $0.serviceConfig.methods = [MethodConfig(names: [])] }),
    ]
    for (hint, change) in changes {
      var configuration = ChannelConfiguration()
      change(&configuration)
      let error = #expect(throws: RPCError.self, "\(hint)") { try configuration.validate() }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains(hint) == true, "\(error?.message ?? "")")
    }
  }
}
