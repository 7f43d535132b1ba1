import Testing

@testable import KeelsonTransport

@Suite struct ConnectionStateTests {
  private func limits(burst: Int, perSecond: Int) -> HTTP2Limits {
    var limits = HTTP2Limits.server
    limits.idleFrameBurst = burst
    limits.idleFramesPerSecond = perSecond
    limits.streamResetBurst = burst
    return limits
  }

  @Test func eachKindOfIdleFrameHasABucketOfItsOwn() {
    var frames = IdleFrames(limits(burst: 3, perSecond: 1), now: 0)
    for kind in IdleFrames.Kind.allCases {
      for _ in 0..<3 { #expect(frames.count(kind, now: 0) == nil) }
      #expect(frames.count(kind, now: 0)?.hasPrefix("it sent too many ") == true)
    }
  }

  @Test func idleFramesComeBackWithTime() {
    var frames = IdleFrames(limits(burst: 1, perSecond: 2), now: 0)
    #expect(frames.count(.ping, now: 0) == nil)
    #expect(frames.count(.ping, now: 400) != nil)
    #expect(frames.count(.ping, now: 1_000) == nil)
  }

  @Test func windowUpdatesAreAllowedInProportionToTheData() {
    var frames = IdleFrames(limits(burst: 20, perSecond: 1), now: 0)
    for _ in 0..<100 {
      frames.sentData()
      for _ in 0..<10 { #expect(frames.count(.windowUpdate, now: 0) == nil) }
    }
    frames.openedStream()
    for _ in 0..<12 { #expect(frames.count(.windowUpdate, now: 0) == nil) }
    #expect(frames.count(.windowUpdate, now: 0) != nil)
  }

  @Test func theLastResetsAreRemembered() {
    var resets = OwnResets(capacity: 3)
    for id in [1, 3, 5, 7] as [Int32] { resets.insert(id) }
    #expect(!resets.contains(1))
    for id in [3, 5, 7] as [Int32] { #expect(resets.contains(id)) }
  }

  @Test func rareEventsAreToldOnceASecond() {
    var event = RareEvent()
    #expect(event.count(now: 5) == 1)
    #expect(event.count(now: 6) == nil)
    #expect(event.count(now: 1_004) == nil)
    #expect(event.count(now: 1_005) == 3)
    #expect(event.count(now: 9_000) == 1)
  }
}
