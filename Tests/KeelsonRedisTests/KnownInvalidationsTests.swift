import KeelsonCacheRules
import Synchronization
import Testing

@testable import KeelsonRedis

@Suite(.timeLimit(.minutes(10))) struct KnownInvalidationsTests {
  private static func link(_ epoch: UInt64) -> KnownInvalidations.Link {
    KnownInvalidations.Link(epoch: epoch, epochText: "\(epoch)", runID: 1, digests: [])
  }

  /// What a wait comes to that has begun when something happens, once.
  private static func answer(
    _ wait: @escaping @Sendable () async -> Bool, when happens: () -> Void
  ) async -> Bool {
    let isAnswered = Atomic(false)
    let answer = Task.immediate {
      let answer = await wait()
      isAnswered.store(true, ordering: .relaxed)
      return answer
    }
    let waits = !isAnswered.load(ordering: .relaxed)
    #expect(waits)
    happens()
    return await answer.value
  }

  /// When the time is over, when Redis is lost, and when there was none: nobody waits for ever.
  @Test func allWhoWaitAreAnswered() async {
    let known = KnownInvalidations()
    let none = await known.waitForEpoch(otherThan: 7, until: .max)
    known.begin(Self.link(7), InvalidationView(epoch: 7))
    let late = await Self.answer {
      await known.waitForEpoch(otherThan: 7, until: 10)
    } when: {
      known.expire(now: 10)
    }
    let told = await Self.answer {
      await known.wait(for: CachePosition(epoch: 7, sequence: 1), until: .max)
    } when: {
      _ = known.apply(Invalidation(sequence: 1, scope: .all))
    }
    let renewed = await Self.answer {
      await known.waitForEpoch(otherThan: 7, until: .max)
    } when: {
      known.begin(Self.link(8), InvalidationView(epoch: 8))
    }
    let lost = await Self.answer {
      await known.wait(asOf: 100, until: .max)
    } when: {
      known.end(.shuttingDown)
    }
    #expect([none, late, told, renewed, lost] == [false, false, true, true, false])
  }

  /// What was asked for ahead of reading the view may be of patterns that it does not have.
  @Test func onlyWhatWasAskedForSinceIsJudged() {
    let known = KnownInvalidations()
    known.begin(Self.link(7), InvalidationView(epoch: 7))
    guard case .tooOld = known.withView(of: 1, askedAt: .min, { $0.epoch }),
      case .judged(7) = known.withView(of: 1, askedAt: .max, { $0.epoch }),
      case .unknown = known.withView(of: 2, askedAt: .max, { $0.epoch })
    else {
      Issue.record("It was judged otherwise.")
      return
    }
  }
}
