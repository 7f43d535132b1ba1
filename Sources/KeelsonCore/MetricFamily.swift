/// A metric with its values, as Prometheus knows them: one name, and a value for each set of labels.
package struct MetricFamily: Sendable {
  package enum Kind: String, Sendable {
    /// It only grows, from 0 at the process's start.
    case counter
    case gauge
  }

  package struct Sample: Sendable {
    package var labels: [(name: String, value: String)]
    package var value: Int64

    package init(_ value: Int64, labels: [(name: String, value: String)] = []) {
      self.labels = labels
      self.value = value
    }
  }

  /// `keelson_jobs` for example; a counter's ends with `_total`, a time's with its unit.
  package let name: String
  package let kind: Kind
  /// What it counts, a sentence.
  package let help: String
  package let samples: [Sample]

  package init(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
    self.name = name
    self.kind = kind
    self.help = help
    self.samples = samples
  }
}
