import KeelsonCore
import Testing

@testable import KeelsonServer

@Suite struct CallMetricsTests {
  @Test func showsWhatOtherPartsCount() {
    let metrics = CallMetrics(beside: {
      [
        MetricFamily(
          "keelson_things", .gauge, "Things.",
          [
            .init(3, labels: [("queue", "a"), ("state", "pending")]),
            .init(4, labels: [("queue", "quote\" back\\slash line\n end")]),
          ]),
        MetricFamily("keelson_things_total", .counter, "Things that were.", [.init(5)]),
      ]
    })
    #expect(
      metrics.text.hasSuffix(
        #"""
        # HELP keelson_things Things.
        # TYPE keelson_things gauge
        keelson_things{queue="a",state="pending"} 3
        keelson_things{queue="quote\" back\\slash line\n end"} 4
        # HELP keelson_things_total Things that were.
        # TYPE keelson_things_total counter
        keelson_things_total 5

        """#))
  }
}
