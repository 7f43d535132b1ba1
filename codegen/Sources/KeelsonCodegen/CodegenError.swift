/// Why code cannot be generated: a sentence that names the proto element and what to change.
public struct CodegenError: Error, Sendable, Hashable, CustomStringConvertible {
  public let message: String

  public init(_ message: String) {
    self.message = message
  }

  public var description: String { message }
}
