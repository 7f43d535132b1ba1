import KeelsonAPI
import KeelsonCore
import Testing

@testable import KeelsonClient

@Suite struct WorkerDeskTests {
  private func lease(_ id: String, _ attempt: Int32 = 1) -> KeelsonJobsV1.LeaseID {
    var lease = KeelsonJobsV1.LeaseID()
    lease.jobId = id
    lease.attempt = attempt
    return lease
  }

  private func job(_ id: String, _ attempt: Int32 = 1) -> KeelsonJobsV1.LeasedJob {
    var job = KeelsonJobsV1.LeasedJob()
    job.lease = lease(id, attempt)
    return job
  }

  private func begun(_ desk: inout WorkerDesk, _ ids: String...) {
    var response = KeelsonJobsV1.WorkResponse()
    response.jobs = ids.map { job($0) }
    for job in desk.take(response).start { desk.begin(job, Task {}) }
  }

  @Test func aResultIsToldAgainUntilItsReceipt() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    desk.end(job("a"), .success(nil))
    #expect(desk.takeOutgoing()?.results.count == 1)
    // The stream breaks: the lease and the result are named again.
    let again = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    #expect(again.hello?.held == [lease("a")])
    #expect(again.results.map(\.lease) == [lease("a")])
    var receipt = KeelsonJobsV1.ResultReceipt()
    receipt.lease = lease("a")
    var response = KeelsonJobsV1.WorkResponse()
    response.receipts = [receipt]
    _ = desk.take(response)
    #expect(desk.hello(name: "w", queues: ["q"], kinds: ["k"]).results.isEmpty)
  }

  @Test func itAsksForAsManyJobsAsItHasRoomFor() {
    var desk = WorkerDesk(concurrency: 3)
    #expect(desk.hello(name: "w", queues: ["q"], kinds: ["k"]).credit == 3)
    begun(&desk, "a", "b")
    #expect(desk.takeOutgoing() == nil)
    desk.end(job("a"), .success(nil))
    #expect(desk.takeOutgoing()?.credit == 1)
    // One runs, and two may still come: a new stream begins with that.
    #expect(desk.hello(name: "w", queues: ["q"], kinds: ["k"]).credit == 2)
  }

  @Test func aLostLeaseTakesItsResultAlong() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    var response = KeelsonJobsV1.WorkResponse()
    response.lost = [lease("a")]
    #expect(desk.take(response).cancel.count == 1)
    desk.end(job("a"), .success(nil))
    #expect(desk.takeOutgoing()?.results.isEmpty ?? true)
  }

  @Test func theSameLeaseIsNotBegunTwice() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    var response = KeelsonJobsV1.WorkResponse()
    response.jobs = [job("a")]
    #expect(desk.take(response).start.isEmpty)
  }

  @Test func whatWasCalledOffIsToldAsThat() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    var cancellation = KeelsonJobsV1.Cancellation()
    cancellation.lease = lease("a")
    var response = KeelsonJobsV1.WorkResponse()
    response.cancellations = [cancellation]
    #expect(desk.take(response).cancel.count == 1)
    desk.end(job("a"), .failure(CancellationError()))
    #expect(desk.takeOutgoing()?.results.first?.outcome == .cancelled(true))
  }

  @Test func aFailureSaysHowItIsToBeTaken() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    desk.end(
      job("a"), .failure(JobFailure("never", isPermanent: true, retryAfter: .seconds(5))))
    guard case .failed(let failure) = desk.takeOutgoing()?.results.first?.outcome else {
      Issue.record("no failure was told")
      return
    }
    #expect(failure.message == "never" && failure.permanent)
    #expect(failure.retryAfter?.seconds == 5)
  }

  @Test func itIsDoneOnceAllIsToldAndReceived() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a")
    desk.stop()
    #expect(desk.takeOutgoing()?.draining == true)
    #expect(!desk.isDone)
    #expect(desk.handBack().count == 1)
    desk.end(job("a"), .failure(CancellationError()))
    #expect(desk.takeOutgoing()?.results.first?.outcome == .handedBack(true))
    #expect(!desk.isDone)
    var receipt = KeelsonJobsV1.ResultReceipt()
    receipt.lease = lease("a")
    var response = KeelsonJobsV1.WorkResponse()
    response.receipts = [receipt]
    _ = desk.take(response)
    #expect(desk.isDone)
  }

  /// The server takes messages of 4 MiB: a larger result would break every stream anew.
  @Test func aResultThatNoServerTakesIsAFailure() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a", "b")
    let large = KeelsonJobsV1.Payload(kind: .data([UInt8](repeating: 0, count: 5 << 20)))
    desk.end(job("a"), .success(large))
    desk.end(job("b"), .failure(JobFailure(String(repeating: "x", count: 5 << 20))))
    let results = desk.takeOutgoing()?.results ?? []
    #expect(results.count == 2)
    for result in results {
      guard case .failed(let failure) = result.outcome else {
        Issue.record("\(String(describing: result.lease)) did not fail")
        continue
      }
      #expect(failure.message.utf8.count <= 8 << 10)
      #expect(failure.permanent == (result.lease == lease("a")))
    }
  }

  @Test func whatHandlersSayIsToldInMessagesThatAServerTakes() {
    var desk = WorkerDesk(concurrency: 100)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    var response = KeelsonJobsV1.WorkResponse()
    response.jobs = (0..<60).map { job("\($0)") }
    for job in desk.take(response).start { desk.begin(job, Task {}) }
    for id in 0..<60 {
      for number in 0..<150 {
        var told = KeelsonJobsV1.JobProgress()
        told.lease = lease("\(id)")
        told.progress = -1
        var line = KeelsonJobsV1.JobLogLine()
        line.text = "\(number) " + String(repeating: "x", count: 1_000)
        told.logs = [line]
        desk.add(told)
      }
    }
    var told: [String: Int] = [:]
    while let request = desk.takeOutgoing() {
      #expect(request.encoded().count < 2 << 20)
      for progress in request.progress {
        told[progress.lease?.jobId ?? "", default: 0] += progress.logs.count
        #expect(progress.logs.last?.text.hasPrefix("149 ") == true)
      }
    }
    #expect(told.count == 60 && told.values.allSatisfy { $0 == 100 })
  }

  /// Whoever still writes to the stream before would take what the new one has to tell.
  @Test func aStreamThatIsOverGetsNothing() {
    var desk = WorkerDesk(concurrency: 2)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    let old = desk.stream
    begun(&desk, "a")
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    desk.end(job("a"), .success(nil))
    #expect(desk.takeOutgoing(of: old) == nil)
    #expect(desk.takeOutgoing(of: desk.stream)?.results.count == 1)
  }

  @Test func whatIsGivenUpIsCounted() {
    var desk = WorkerDesk(concurrency: 3)
    _ = desk.hello(name: "w", queues: ["q"], kinds: ["k"])
    begun(&desk, "a", "b")
    desk.end(job("a"), .success(nil))
    desk.stop()
    #expect(!desk.isDone)
    #expect(desk.giveUp().count == 1)
    #expect(desk.isDone && desk.givenUp == 2)
  }
}
