/// The targets of Package.swift with what each depends on, read from its text.
///
/// It understands the manifest's own helpers (`library`, `service`, `tests`) and the plain target
/// functions, with dependencies written as string literals.
struct Manifest {
  struct Target {
    enum Kind {
      case systemLibrary, library, service, executable, tests
    }
    var name: String
    var kind: Kind
    var dependencies: Set<String>
    /// Where its files are when not below Sources or Tests under its name.
    var path: String?

    /// Measures or attacks the house from outside, and so may use any room of it.
    var isOutside: Bool {
      guard let path else { return false }
      return path.hasPrefix("Benchmarks/") || path.hasPrefix("Fuzz/")
    }
  }

  private(set) var targets: [Target] = []

  /// What each service depends on, beside its own.
  private let ofEveryService: [String]

  init(_ manifest: SourceText) {
    let source = manifest.lines.map(\.source).joined(separator: "\n")
    let body = source.firstMatch(of: #/func\s+service\([^{]*\{(?<body>[^}]*)\}/#)?.output.body ?? ""
    ofEveryService = Self.literals(in: Self.bracketed(in: body, from: body.startIndex) ?? "")

    // The list of targets in the package's declaration.
    guard let package = source.firstRange(of: "Package("),
      let list = source[package.upperBound...].firstRange(of: "targets: [\n")
    else { return }
    let calls =
      #/
      (?<call>
        library|service|tests|\.target|\.executableTarget|\.testTarget|\.systemLibrary
      )
      \( \s* (?: name: \s* )? "(?<name>[\w\-]+)"
      /#
    let found = source[list.upperBound...].matches(of: calls)
    for (index, match) in found.enumerated() {
      let end = index + 1 < found.count ? found[index + 1].range.lowerBound : source.endIndex
      let rest = source[match.range.upperBound..<end]
      targets.append(target(call: match.output.call, name: String(match.output.name), rest: rest))
    }
  }

  private func target(call: Substring, name: String, rest: Substring) -> Target {
    let kind: Target.Kind
    var start: Substring.Index? = rest.startIndex
    switch call {
    case "library": kind = .library
    case "service": kind = .service
    case "tests": kind = .tests
    default:
      kind =
        switch call {
        case ".systemLibrary": .systemLibrary
        case ".executableTarget": .executable
        case ".testTarget": .tests
        default: .library
        }
      start = rest.firstRange(of: "dependencies:")?.upperBound
    }
    var dependencies =
      start.flatMap { Self.bracketed(in: rest, from: $0) }.map(Self.literals) ?? []
    if kind == .service { dependencies += ofEveryService }
    if call == "tests" { dependencies.append("KeelsonTestKit") }
    let path = rest.firstMatch(of: #/path:\s*"([^"]+)"/#).map { String($0.output.1) }
    return Target(name: name, kind: kind, dependencies: Set(dependencies), path: path)
  }

  /// The first `[...]` from an index on, which holds no further brackets.
  private static func bracketed(in text: Substring, from start: Substring.Index) -> Substring? {
    guard let open = text[start...].firstIndex(of: "["),
      let close = text[open...].firstIndex(of: "]")
    else { return nil }
    return text[open...close]
  }

  private static func literals(in text: Substring) -> [String] {
    text.matches(of: #/"([\w-]+)"/#).map { String($0.output.1) }
  }

  subscript(name: String) -> Target? { targets.first { $0.name == name } }
}
