import KeelsonCore
import Testing

@Suite struct WatchableTests {
  @Test func aWatcherSeesTheLatestValue() async throws {
    let number = Watchable(1)
    let start = number.current
    number.update { $0 = 2 }
    number.update { $0 = 3 }
    let next = try await number.next(after: start.version)
    #expect(next?.value == 3)
  }

  @Test func aWaitingWatcherIsWoken() async throws {
    let number = Watchable(1)
    let version = number.current.version
    async let next = number.next(after: version)
    number.update { $0 = 2 }
    #expect(try await next?.value == 2)
  }

  @Test func closingEndsTheWait() async throws {
    let number = Watchable(1)
    let version = number.current.version
    async let next = number.next(after: version)
    number.close()
    #expect(try await next == nil)
  }

  @Test func cancellingEndsTheWait() async {
    let number = Watchable(1)
    let version = number.current.version
    let task = Task { try await number.next(after: version) }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func manyWatchersFollowManyUpdates() async throws {
    let number = Watchable(0)
    let seen = try await withThrowingTaskGroup(of: [Int].self) { group in
      for _ in 0..<20 {
        group.addTask {
          var (value, version) = number.current
          var seen = [value]
          while value < 500, let next = try await number.next(after: version) {
            (value, version) = next
            seen.append(value)
          }
          return seen
        }
      }
      group.addTask {
        for value in 1...500 {
          number.update { $0 = value }
          await Task.yield()
        }
        return [500]
      }
      var all: [[Int]] = []
      for try await one in group { all.append(one) }
      return all
    }
    for one in seen {
      #expect(one.last == 500)
      #expect(zip(one, one.dropFirst()).allSatisfy { $0 < $1 })
    }
  }
}
