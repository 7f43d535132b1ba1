import KeelsonAPI
import Testing

@testable import keelson

@Suite struct BatchProgressTests {
  private var progress: BatchProgress {
    var progress = BatchProgress()
    progress.waits = true
    progress.total = 10_000
    progress.created = 9_990
    progress.existing = 10
    progress.running = 40
    progress.completed = 5_178
    progress.failed = 12
    return progress
  }

  @Test func aBarShowsWhatIsDone() {
    let text =
      "52%, 5,200 of 10,000 done, 10 there already, 12 failed, 40 running, 520/s, 10s left"
    #expect(progress.text(elapsed: .seconds(10)) == text)
    #expect(
      progress.bar(columns: 200, elapsed: .seconds(10))
        == "[\(String(repeating: "#", count: 20))\(String(repeating: "-", count: 20))] \(text)")
  }

  @Test func aBarFitsItsTerminal() {
    for columns in [0, 1, 20, 60, 80, 95, 100, 120, 500] {
      let bar = progress.bar(columns: columns, elapsed: .seconds(10))
      // The last column stays free: some terminals begin a new line after it.
      #expect(bar.count < max(1, columns))
    }
  }

  @Test func theBeginningAndTheEndAreShown() {
    var progress = BatchProgress()
    #expect(progress.text(elapsed: .zero) == "0%, 0 of 0 done")
    progress.total = 3
    #expect(progress.text(elapsed: .seconds(60)) == "0%, 0 of 3 done")
    progress.created = 3
    // Without waiting, what is created is done.
    #expect(progress.text(elapsed: .seconds(6)) == "100%, 3 of 3 done, 5 in 10s")
    #expect(progress.summary == "Created 3 jobs.")
    progress.waits = true
    (progress.completed, progress.failed, progress.cancelled) = (1, 1, 1)
    #expect(
      progress.summary == "Created 3 jobs: 1 completed, 1 failed, 1 called off.")
    #expect(progress.bar(columns: 100, elapsed: .seconds(3)).hasPrefix("[########"))
  }

  @Test func aJobThatIsGoneIsDone() {
    let tally = BatchTally(waits: true)
    for id in ["a", "b"] {
      tally.expect(in: "")
      tally.expect([id])
    }
    tally.created(["a", "b"], others: [])
    tally.saw(.init(id: "a", state: .completed))
    #expect(tally.openIDs == ["b"] && !tally.isDone)
    // The end of the first was heard while the jobs were looked up.
    tally.lost(["a", "b"])
    #expect(tally.isDone && tally.progress.done == 2 && tally.progress.unsuccessful == 1)
    #expect(tally.failures == ["b gone"])
    #expect(tally.progress.summary == "Created 2 jobs: 1 completed, 1 gone.")
  }

  @Test func aLineOfAWatchHasNoControlCharacters() {
    let job = KeelsonJobsV1.Job(id: "a", queue: "q", kind: "k", progressMessage: "\u{1B}[2J\nb")
    #expect(!job.line.unicodeScalars.contains { $0.value < 0x20 })
  }

  @Test(arguments: [
    (0.2, "1s"), (59, "59s"), (60, "1m 00s"), (3_599, "59m 59s"), (3_600, "1h 00m"),
    (90_061, "25h 01m"), (.infinity, "277777h 46m"),
  ])
  func timesAreShort(_ seconds: Double, _ text: String) {
    #expect(BatchProgress.time(seconds: seconds) == text)
  }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678"), (-1_000, "-1,000"),
    (-100, "-100"),
  ])
  func thousandsAreParted(_ number: Int, _ text: String) {
    #expect(BatchProgress.grouped(number) == text)
  }
}
