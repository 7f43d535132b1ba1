/// How the bytes of a message are encoded, as `grpc-encoding` names it.
/// Source: grpc/grpc `doc/compression.md`.
public enum MessageEncoding: String, Sendable, Hashable, CaseIterable {
  /// As they are.
  case identity
  /// RFC 1952.
  case gzip

  /// What this side can read, as `grpc-accept-encoding` says it.
  package static let accepted = "identity,gzip"

  /// Whether the value of a peer's `grpc-accept-encoding` names this encoding.
  package func isAccepted(by list: Span<UInt8>) -> Bool {
    var start = 0
    for index in 0...list.count where index == list.count || list[index] == UInt8(ascii: ",") {
      var part = start..<index
      while let first = part.first, list[first] == UInt8(ascii: " ") { part.removeFirst() }
      while let last = part.last, list[last] == UInt8(ascii: " ") { part.removeLast() }
      if isNamed(list.extracting(part)) { return true }
      start = index + 1
    }
    return false
  }

  private func isNamed(_ name: Span<UInt8>) -> Bool {
    switch self {
    case .identity: name.equals("identity")
    case .gzip: name.equals("gzip")
    }
  }

  /// The encoding of a `grpc-encoding` header; nil for one that is not known here.
  package init?(named name: Span<UInt8>) {
    if name.equals("identity") {
      self = .identity
    } else if name.equals("gzip") {
      self = .gzip
    } else {
      return nil
    }
  }
}
