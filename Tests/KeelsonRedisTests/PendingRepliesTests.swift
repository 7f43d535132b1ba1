import Testing

@testable import KeelsonRedis

@Suite struct PendingRepliesTests {
  private final class Answers {
    var texts: [String] = []
    func completion(_ name: String) -> PendingReplies.Completion {
      { [self] result in
        switch result {
        case .success(let reply): texts.append("\(name)=\(reply.text ?? "")")
        case .failure(let error): texts.append("\(name) \(error.code)")
        }
      }
    }
  }

  private static func answer(_ pending: inout PendingReplies, _ text: String) -> Bool {
    pending.takeFirst { $0?(.success(.bytes(Array(text.utf8)))) }
  }

  @Test func answersComeInOrder() {
    var pending = PendingReplies()
    let answers = Answers()
    for name in ["a", "b", "c"] { pending.append(now: 0, due: 10, answers.completion(name)) }
    for text in ["1", "2", "3"] { #expect(Self.answer(&pending, text)) }
    #expect(!Self.answer(&pending, "4"))
    #expect(answers.texts == ["a=1", "b=2", "c=3"])
  }

  @Test func whoIsLateLeavesAPlaceBehind() {
    var pending = PendingReplies()
    let answers = Answers()
    pending.append(now: 0, due: 10, answers.completion("a"))
    pending.append(now: 5, due: 15, answers.completion("b"))
    #expect(pending.earliestDue == 10)
    for late in pending.takeLate(now: 10) { late(.failure(RedisError(.timedOut, ""))) }
    #expect(pending.earliestDue == 15)
    #expect(pending.count == 2)
    #expect(pending.oldestAge(now: 12) == 12)
    #expect(Self.answer(&pending, "1"))
    #expect(Self.answer(&pending, "2"))
    #expect(answers.texts == ["a timedOut", "b=2"])
    #expect(pending.earliestDue == .max && pending.oldestAge(now: 12) == nil)
  }

  @Test func allAreTakenWhenTheConnectionEnds() {
    var pending = PendingReplies()
    let answers = Answers()
    for name in ["a", "b", "c"] { pending.append(now: 0, due: 10, answers.completion(name)) }
    #expect(Self.answer(&pending, "1"))
    for one in pending.takeAll() { one(.failure(RedisError(.unreachable, ""))) }
    #expect(answers.texts == ["a=1", "b unreachable", "c unreachable"])
    #expect(pending.count == 0)
  }

  @Test func longQueuesKeepTheirOrder() {
    var pending = PendingReplies()
    let answers = Answers()
    for number in 0..<5_000 { pending.append(now: 0, due: 10, answers.completion("\(number)")) }
    for number in 0..<4_000 { #expect(Self.answer(&pending, "\(number)")) }
    for number in 5_000..<6_000 {
      pending.append(now: 0, due: 10, answers.completion("\(number)"))
    }
    for number in 4_000..<6_000 { #expect(Self.answer(&pending, "\(number)")) }
    #expect(answers.texts == (0..<6_000).map { "\($0)=\($0)" })
  }
}
