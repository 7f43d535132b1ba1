import KeelsonCore
import KeelsonTransport
import Testing

struct ServiceConfigTests {
  @Test func readsAllThereIs() throws {
    let config = try ServiceConfig(
      json: """
        {"loadBalancingConfig": [{"xds": {}}, {"round_robin": {}}],
         "methodConfig": [
           {"name": [{"service": "a.B", "method": "C"}, {"service": "a.D"}],
            "timeout": "1.5s", "waitForReady": true,
            "maxRequestMessageBytes": 1000, "maxResponseMessageBytes": "2000",
            "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s",
              "backoffMultiplier": 1.5, "retryableStatusCodes": ["UNAVAILABLE", 10]}},
           {"name": [{}], "timeout": "20s"}],
         "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.25}}
        """)
    #expect(
      config
        == ServiceConfig(
          methods: [
            MethodConfig(
              names: [.method("C", of: "a.B"), .service("a.D")], waitForReady: true,
              timeout: .milliseconds(1_500), maximumRequestBytes: 1_000,
              maximumResponseBytes: 2_000,
              retryPolicy: RetryPolicy(
                maximumAttempts: 4, initialBackoff: .milliseconds(100),
                maximumBackoff: .seconds(2), backoffMultiplier: 1.5,
                retryableCodes: [.unavailable, .aborted])),
            MethodConfig(names: [.all], timeout: .seconds(20)),
          ],
          retryThrottling: RetryThrottling(maximumTokens: 10, tokenRatio: 0.25),
          loadBalancingPolicy: .roundRobin))
    #expect(try ServiceConfig(json: "{}") == ServiceConfig())
    #expect(
      try ServiceConfig(json: #"{"loadBalancingPolicy": "pick_first"}"#).loadBalancingPolicy
        == .pickFirst)
  }

  @Test func theClosestNameCounts() throws {
    let config = try ServiceConfig(
      json: """
        {"methodConfig": [
          {"name": [{}], "timeout": "1s"}, {"name": [{"service": "s"}], "timeout": "2s"},
          {"name": [{"service": "s", "method": "m"}], "timeout": "3s"}]}
        """)
    func found(_ service: String, _ method: String) -> (Duration?, Bool?) {
      let found = config.config(
        for: MethodDescriptor(service: service, name: method, kind: .unary))
      return (found?.config.timeout, found?.isExplicit)
    }
    #expect(found("s", "m") == (.seconds(3), true))
    #expect(found("s", "n") == (.seconds(2), false))
    #expect(found("t", "m") == (.seconds(1), false))
    #expect(
      ServiceConfig().config(for: MethodDescriptor(service: "s", name: "m", kind: .unary)) == nil)
  }

  private static let retry =
    #"{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 2, "initialBackoff": "1s", "#
    + #""maxBackoff": "1s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#

  @Test func readsTheRetryPolicyThatTheNextTestBreaks() throws {
    #expect(try ServiceConfig(json: Self.retry).methods.count == 1)
  }

  @Test(arguments: [
    ("\"maxAttempts\": 2", "\"maxAttempts\": 6", "methodConfig[0].retryPolicy.maxAttempts"),
    ("\"maxAttempts\": 2", "\"maxAttempts\": 1", "from 2 to 5"),
    ("\"maxAttempts\": 2, ", "", "lacks \"maxAttempts\""),
    ("\"maxAttempts\": 2", "\"maxAttempts\": 2.5", "whole number"),
    ("\"initialBackoff\": \"1s\"", "\"initialBackoff\": \"0s\"", "longer than 0s"),
    ("\"initialBackoff\": \"1s\"", "\"initialBackoff\": \"-1s\"", "longer than 0s"),
    ("\"initialBackoff\": \"1s\"", "\"initialBackoff\": \"1\"", "\"1.5s\""),
    ("\"initialBackoff\": \"1s\"", "\"initialBackoff\": 1", "\"1.5s\""),
    ("\"maxBackoff\": \"1s\"", "\"maxBackoff\": \"1m\"", "retryPolicy.maxBackoff"),
    ("\"backoffMultiplier\": 1", "\"backoffMultiplier\": 0", "over 0"),
    ("[\"UNAVAILABLE\"]", "[]", "at least one status"),
    ("[\"UNAVAILABLE\"]", "[\"OK\"]", "not OK"),
    ("[\"UNAVAILABLE\"]", "[\"unavailable\"]", "retryableStatusCodes[0]"),
    ("[\"UNAVAILABLE\"]", "\"UNAVAILABLE\"", "is an array"),
    ("\"retryPolicy\"", "\"hedgingPolicy\"", "hedging is not built"),
    ("\"retryPolicy\"", "\"retrypolicy\"", "has no \"retrypolicy\""),
    ("\"name\": [{}]", "\"name\": []", "names no method"),
    ("\"name\": [{}]", "\"name\": [{\"method\": \"m\"}]", "without its service"),
    ("\"name\": [{}]", "\"name\": [{}, {}]", "names already"),
    ("\"name\": [{}], ", "", "lacks \"name\""),
    ("}}]}", "}}", "not valid JSON"),
    ("}}]}", "}}], \"retryThrottling\": {\"maxTokens\": 0, \"tokenRatio\": 1}}", "from 1 to 1000"),
    ("}}]}", "}}], \"retryThrottling\": {\"maxTokens\": 9, \"tokenRatio\": 0}}", "tokenRatio"),
    ("}}]}", "}}], \"healthCheckConfig\": {}}", "has no \"healthCheckConfig\""),
    ("}}]}", "}}], \"loadBalancingPolicy\": \"grpclb\"}", "pick_first or round_robin"),
    ("}}]}", "}}], \"loadBalancingConfig\": [{\"xds\": {}}]}", "names no policy that is known"),
    ("}}]}", "}}], \"loadBalancingConfig\": [{\"pick_first\": {\"x\": 1}}]}", "pick_first has no"),
  ])
  func refuses(part: String, replacement: String, hint: String) {
    let text = Self.retry.replacing(part, with: replacement)
    #expect(text != Self.retry)
    let error = #expect(throws: RPCError.self) { try ServiceConfig(json: text) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains(hint) == true, "\(error?.message ?? "")")
  }
}
