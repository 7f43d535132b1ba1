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
}
