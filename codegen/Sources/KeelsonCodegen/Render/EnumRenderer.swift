/// Renders an enum as an open Swift enum: a number without a name is kept.
struct EnumRenderer {
  func render(_ type: EnumModel, into out: inout SourceWriter) {
    out.doc(type.comment)
    out.block("public enum \(type.swiftName): KeelsonAPI.OpenEnum {") { out in
      for value in type.cases {
        out.doc(value.comment)
        out.line("case \(value.name)")
      }
      out.line("/// A number that this version of the enum has no name for.")
      out.line("case unrecognized(Swift.Int32)")
      for alias in type.aliases {
        out.line()
        out.doc(alias.comment)
        out.line("public static var \(alias.name): Self { .\(alias.of) }")
      }
      out.line()
      out.block("public init(rawValue: Swift.Int32) {") { out in
        out.line("switch rawValue {")
        for value in type.cases { out.line("case \(value.number): self = .\(value.name)") }
        out.line("default: self = .unrecognized(rawValue)")
        out.line("}")
      }
      out.line()
      out.block("public var rawValue: Swift.Int32 {") { out in
        out.line("switch self {")
        for value in type.cases { out.line("case .\(value.name): \(value.number)") }
        out.line("case .unrecognized(let rawValue): rawValue")
        out.line("}")
      }
      out.line()
      out.line("/// The name in the .proto; nil for a number that has none.")
      out.block("public var name: Swift.String? {") { out in
        out.line("switch self {")
        for value in type.cases { out.line("case .\(value.name): \"\(value.protoName)\"") }
        out.line("case .unrecognized: nil")
        out.line("}")
      }
      out.line()
      out.line("/// The values that have a name, in the order of the file.")
      let all = type.cases.map { ".\($0.name)" }.joined(separator: ", ")
      out.line("public static var allCases: [Self] { [\(all)] }")
    }
  }
}
