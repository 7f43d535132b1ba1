/// Why a text is no cron expression: every problem that was found.
package struct CronError: Error, Hashable, CustomStringConvertible {
  package struct Problem: Error, Hashable, CustomStringConvertible {
    /// nil when the expression as a whole is wrong.
    package var field: CronField?
    /// A clause that says what is wrong.
    package var reason: String

    package var description: String {
      field.map { "\($0.name): \(reason)" } ?? reason
    }
  }

  package var problems: [Problem]

  package var description: String {
    problems.map(\.description).joined(separator: "; ")
  }
}
