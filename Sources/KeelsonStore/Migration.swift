/// One step of a schema. Once released it never changes; a later step corrects it.
package struct Migration: Sendable {
  /// 1, 2, 3, ... within its set.
  package let number: Int
  /// A few words that say what it does.
  package let name: String
  /// Its statements in an engine's dialect, one statement each.
  package let statements: @Sendable (Dialect) -> [String]

  package init(
    _ number: Int, _ name: String, _ statements: @escaping @Sendable (Dialect) -> [String]
  ) {
    self.number = number
    self.name = name
    self.statements = statements
  }

  /// Statements that read alike in every dialect.
  package init(_ number: Int, _ name: String, _ statements: [String]) {
    self.init(number, name) { _ in statements }
  }
}

/// The migrations of one room, in order: numbered 1, 2, 3, ...
package struct MigrationSet: Sendable {
  /// The room's name, `flags` for example. Never changes.
  package let name: String
  package let migrations: [Migration]

  package init(_ name: String, _ migrations: [Migration]) {
    self.name = name
    self.migrations = migrations
  }
}
