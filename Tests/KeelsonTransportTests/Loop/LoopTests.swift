import Testing

@testable import KeelsonTransport

@Suite(.timeLimit(.minutes(5)))
struct LoopTests {
  /// What an action from elsewhere posts runs although nothing else happens on the loop.
  @Test func anActionThatPostsAnother() async {
    let loop = Loop()
    loop.start()
    await withCheckedContinuation { continuation in
      loop.execute { loop.execute { continuation.resume() } }
    }
    await loop.stop()
  }
}
