import KeelsonCore

/// `sem_ver`: version, relation, version. null when a version or the relation is none.
final class VersionComparison: Expression {
  enum Relation: String, Sendable, CaseIterable {
    case same = "="
    case different = "!="
    case less = "<"
    case lessOrSame = "<="
    case greater = ">"
    case greaterOrSame = ">="
    case sameMajor = "^"
    case sameMinor = "~"

    func holds(_ left: SemanticVersion, _ right: SemanticVersion) -> Bool {
      switch self {
      case .same: left.ordering(to: right) == .same
      case .different: left.ordering(to: right) != .same
      case .less: left.ordering(to: right) == .less
      case .lessOrSame: left.ordering(to: right) != .greater
      case .greater: left.ordering(to: right) == .greater
      case .greaterOrSame: left.ordering(to: right) != .less
      case .sameMajor: left.major == right.major
      case .sameMinor: left.major == right.major && left.minor == right.minor
      }
    }
  }

  /// A side of the comparison; one that stands in the rule is read when the rule is compiled.
  enum Side: Sendable {
    case fixed(SemanticVersion?)
    case computed(any Expression)

    init(_ expression: any Expression) {
      if let literal = expression as? Literal {
        self = .fixed(SemanticVersion(literal.constant))
      } else {
        self = .computed(expression)
      }
    }

    func version(_ frame: inout Frame) -> SemanticVersion? {
      switch self {
      case .fixed(let version): version
      case .computed(let expression): SemanticVersion(expression.value(&frame))
      }
    }
  }

  let left: Side
  let relation: any Expression
  let fixedRelation: Relation?
  let right: Side

  init(_ left: any Expression, _ relation: any Expression, _ right: any Expression) {
    self.left = Side(left)
    self.relation = relation
    self.right = Side(right)
    if let literal = relation as? Literal, case .string(let name) = literal.constant {
      fixedRelation = Relation(rawValue: name)
    } else {
      fixedRelation = nil
    }
  }

  private func holds(_ frame: inout Frame) -> Bool? {
    var relation = fixedRelation
    if relation == nil, case .string(let name) = self.relation.value(&frame) {
      relation = Relation(rawValue: name)
    }
    guard let relation, let left = left.version(&frame), let right = right.version(&frame) else {
      return nil
    }
    return relation.holds(left, right)
  }

  func value(_ frame: inout Frame) -> JSONValue { holds(&frame).map { .bool($0) } ?? .null }
  func isTrue(_ frame: inout Frame) -> Bool { holds(&frame) ?? false }
}
