import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

struct RetryStateMachineTests {
  private typealias Machine = RetryStateMachine
  private static let policy = RetryPolicy(
    maximumAttempts: 4, initialBackoff: .milliseconds(100), maximumBackoff: .milliseconds(300),
    backoffMultiplier: 2, retryableCodes: [.unavailable])

  private var random = SeededGenerator(seed: 3)
  private var throttle: RetryThrottle?

  private mutating func fail(
    _ machine: inout Machine, _ code: RPCError.Code = .unavailable,
    _ reach: Machine.Reach = .perhapsSeen, pushback: Machine.Pushback = .none
  ) -> Machine.Decision {
    machine.failed(code, reach, pushback: pushback, throttle: &throttle, using: &random)
  }

  private static func pause(_ decision: Machine.Decision) -> Duration? {
    if case .retry(let pause) = decision { pause } else { nil }
  }

  // MARK: Without a policy

  @Test mutating func withoutAPolicyOnlyWhatNobodyHasSeenIsRepeated() {
    var machine = Machine(policy: nil, repeatsWhatWasSeen: true)
    for _ in 0..<10 { #expect(fail(&machine, .unavailable, .notSent) == .repeatUnseen) }
    #expect(fail(&machine, .unavailable, .refused) == .repeatUnseen)
    #expect(fail(&machine, .unavailable, .refused) == .end, "once")
    #expect(machine.attempts == 1)
    var seen = Machine(policy: nil, repeatsWhatWasSeen: true)
    #expect(fail(&seen) == .end)
    var lonely = Machine(policy: nil, repeatsWhatWasSeen: true)
    #expect(fail(&lonely, .unavailable, .noConnection) == .end)
  }

  @Test mutating func onceTheResponseHasBegunNothingIsRepeated() {
    for reach in [Machine.Reach.notSent, .refused, .perhapsSeen, .noConnection] {
      var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
      machine.commit()
      #expect(fail(&machine, .unavailable, reach) == .end)
    }
  }

  // MARK: With a policy

  @Test mutating func thePauseGrowsToItsLimitAndTheAttemptsEnd() {
    var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    for (number, milliseconds) in [100, 200, 300].enumerated() {
      let pause = Self.pause(fail(&machine)) ?? .zero
      let middle = Duration.milliseconds(milliseconds)
      #expect(pause >= middle * 0.8 && pause <= middle * 1.2, "pause \(number): \(pause)")
      #expect(machine.resume() == true)
      #expect(machine.attempts == number + 2)
    }
    #expect(fail(&machine) == .end)
    #expect(machine.attempts == 4)
  }

  @Test mutating func onlyTheStatusesThatThePolicyNames() {
    for code in 1...16 where code != RPCError.Code.unavailable.rawValue {
      var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
      #expect(fail(&machine, RPCError.Code(rawValue: code)) == .end)
    }
  }

  /// At most once is kept where nobody has said otherwise.
  @Test mutating func whatTheServerMayHaveSeenIsRepeatedByPermissionOnly() {
    var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: false)
    #expect(fail(&machine) == .end)
    var refused = Machine(policy: Self.policy, repeatsWhatWasSeen: false)
    #expect(fail(&refused, .unavailable, .refused) == .repeatUnseen)
    #expect(Self.pause(fail(&refused, .unavailable, .refused)) != nil)
    var lonely = Machine(policy: Self.policy, repeatsWhatWasSeen: false)
    #expect(Self.pause(fail(&lonely, .unavailable, .noConnection)) != nil)
  }

  @Test mutating func theServerSaysWhenOrThatNever() {
    #expect(Machine.Pushback(nil) == .none)
    #expect(Machine.Pushback("250") == .after(.milliseconds(250)))
    #expect(Machine.Pushback("0") == .after(.zero))
    for text in ["-1", "soon", "", "99999999999"] { #expect(Machine.Pushback(text) == .never) }
    var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    _ = fail(&machine)
    _ = machine.resume()
    let pause = fail(&machine, pushback: .after(.seconds(7)))
    #expect(pause == .retry(after: .seconds(7)))
    _ = machine.resume()
    let next = Self.pause(fail(&machine)) ?? .zero
    #expect(next <= .milliseconds(120), "the back-off begins anew after the server's word")
    _ = machine.resume()
    var told = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    #expect(fail(&told, pushback: .never) == .end)
  }

  @Test mutating func theBudgetStopsRetriesAndSuccessesFillIt() {
    throttle = RetryThrottle(RetryThrottling(maximumTokens: 4, tokenRatio: 0.5))
    var machine = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    #expect(Self.pause(fail(&machine)) != nil)
    _ = machine.resume()
    #expect(fail(&machine) == .end, "two of four tokens are left")
    throttle?.succeeded()
    var next = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    #expect(fail(&next) == .end)
    for _ in 0..<20 { throttle?.succeeded() }
    var later = Machine(policy: Self.policy, repeatsWhatWasSeen: true)
    #expect(Self.pause(fail(&later)) != nil)
  }

  /// Random calls against a server that counts: what a server has seen is begun again by
  /// permission only, nothing after a commit, never more attempts than allowed, and each call ends.
  @Test mutating func randomCallsAreNeverStartedTwiceUnasked() {
    for seed in 0..<2_000 as Range<UInt64> {
      var random = SeededGenerator(seed: seed)
      let hasPolicy = Bool.random(using: &random)
      let isPermitted = Bool.random(using: &random)
      throttle = Bool.random(using: &random) ? RetryThrottle(RetryThrottling()) : nil
      var machine = Machine(
        policy: hasPolicy ? Self.policy : nil, repeatsWhatWasSeen: isPermitted)
      var seen = 0
      var commits = 0
      var sent = 0
      while true {
        let reach = [Machine.Reach.noConnection, .notSent, .refused, .perhapsSeen]
          .randomElement(using: &random)!
        if reach == .perhapsSeen { seen += 1 }
        if reach != .noConnection && reach != .notSent { sent += 1 }
        if reach == .perhapsSeen, Int.random(in: 0..<4, using: &random) == 0 {
          machine.commit()
          commits += 1
        }
        let decision = machine.failed(
          Bool.random(using: &random) ? .unavailable : .internalError, reach,
          throttle: &throttle, using: &random)
        if commits > 0 { #expect(decision == .end) }
        if decision == .end { break }
        if case .retry = decision { #expect(machine.resume() == true) }
      }
      #expect(machine.isCommitted && commits <= 1)
      #expect(seen <= (hasPolicy && isPermitted ? 4 : 1), "seed \(seed)")
      #expect(machine.attempts <= (hasPolicy ? 4 : 1))
      #expect(sent <= 5, "four attempts and one refusal that is forgiven")
    }
  }
}
