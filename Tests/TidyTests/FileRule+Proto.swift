// The comments of our protos are the API's reference, so they have to be there. The public
// protocols beside them have references of their own.

extension FileRule {
  /// Every service, rpc, message, enum and field is explained, with these exceptions, in which a
  /// comment could only repeat the name:
  /// - a message that is the request or response of an rpc: the rpc explains it;
  /// - an enum whose values are all explained, and a value that ends in `_UNSPECIFIED`;
  /// - a field whose name is explained in another message of the file, whose type is a message or
  ///   enum of the file, or whose name means the same in every service (``sharedFields``).
  static let protoComments = FileRule(
    "the API explains itself", applies: { $0.path.hasPrefix("proto/keelson/") },
    check: { file in
      let names = ProtoNames(file)
      var violations: [Violation] = []
      for item in names.items where !item.isExplained && !names.needsNoComment(item) {
        violations.append(
          Violation(
            path: file.path, line: item.line,
            message: "\(item.kind) \(item.name) has no comment"))
      }
      return violations
    })

  /// Fields that mean the same wherever they are.
  static let sharedFields: Set<String> = [
    "key", "flag_set", "environment", "page_token", "next_page_token", "revision", "time",
  ]
}

/// What a proto file declares.
private struct ProtoNames {
  enum Kind: String { case service, rpc, message, `enum`, value, field }

  struct Item {
    var kind: Kind
    var name: String
    /// Of a field; else empty.
    var type = ""
    /// The message or enum it is in; else empty.
    var parent = ""
    /// Counted from 1.
    var line: Int
    var isExplained: Bool
  }

  private(set) var items: [Item] = []

  init(_ file: SourceFile) {
    var scopes: [(kind: String, name: String)] = []
    for (index, line) in file.lines.enumerated() {
      let code = line.code
      let explained =
        !line.comment.isBlank && !code.isBlank || index > 0 && file.lines[index - 1].isCommentOnly
      func add(_ kind: Kind, _ name: Substring, type: Substring = "") {
        let parent = scopes.last { $0.kind == "message" || $0.kind == "enum" }?.name ?? ""
        items.append(
          Item(
            kind: kind, name: String(name), type: String(type), parent: parent, line: index + 1,
            isExplained: explained))
      }
      var opened: (kind: String, name: String) = ("", "")
      if let match = code.firstMatch(of: #/^\s*(service|rpc|message|enum|oneof)\s+(\w+)/#) {
        opened = (String(match.output.1), String(match.output.2))
        if let kind = Kind(rawValue: opened.kind) { add(kind, match.output.2) }
      } else if scopes.last?.kind == "enum" {
        if let match = code.firstMatch(of: #/^\s*([A-Z]\w*)\s*=\s*-?\d+/#) {
          add(.value, match.output.1)
        }
      } else if ["message", "oneof"].contains(scopes.last?.kind),
        let match = code.firstMatch(
          of: #/^\s*(?:repeated\s+|optional\s+)?([\w.]+(?:<[^>]*>)?)\s+(\w+)\s*=\s*\d+/#),
        !["option", "reserved", "extensions"].contains(match.output.1)
      {
        add(.field, match.output.2, type: match.output.1)
      }
      for scalar in code {
        if scalar == "{" {
          scopes.append(opened)
          opened = ("", "")
        } else if scalar == "}" {
          _ = scopes.popLast()
        }
      }
    }
  }

  func needsNoComment(_ item: Item) -> Bool {
    switch item.kind {
    case .service, .rpc: false
    case .message: item.name.hasSuffix("Request") || item.name.hasSuffix("Response")
    case .enum:
      !items.contains {
        $0.kind == .value && $0.parent == item.name && !$0.isExplained
      }
    case .value: item.name.hasSuffix("_UNSPECIFIED")
    case .field:
      FileRule.sharedFields.contains(item.name)
        || items.contains { $0.kind == .field && $0.name == item.name && $0.isExplained }
        || items.contains {
          ($0.kind == .message || $0.kind == .enum)
            && $0.name == item.type.split(separator: ".").last.map(String.init)
        }
    }
  }
}
