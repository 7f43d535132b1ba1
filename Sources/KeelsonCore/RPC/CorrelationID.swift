/// What ties a call to its log lines: the caller's own identifier, or one made for the call, which
/// becomes text only when somebody asks for it.
package enum CorrelationID: Sendable {
  /// Nobody has given the call one.
  case none
  case given(String)
  case made(UUIDv7)

  package var text: String {
    switch self {
    case .none: ""
    case .given(let text): text
    case .made(let identifier): identifier.text
    }
  }

  /// Adds the text to an array.
  package func append(to bytes: inout [UInt8]) {
    switch self {
    case .none: break
    case .given(let text): bytes.append(contentsOf: text.utf8)
    case .made(let identifier): identifier.append(to: &bytes)
    }
  }
}
