package import KeelsonCore

/// How large the pages of lists are.
package struct PageLimits: Sendable {
  /// Entries on a page when the request names no number, and the most it can name.
  package var defaultSize: Int
  package var maximumSize: Int
  /// Bytes after which a page is ended, however few entries it has.
  package var bytes: Int

  package init(defaultSize: Int = 100, maximumSize: Int = 1_000, bytes: Int = 1 << 20) {
    self.defaultSize = defaultSize
    self.maximumSize = maximumSize
    self.bytes = bytes
  }
}

/// A request for one page of a list, and its token. Source: AIP-158.
///
/// A token is the last key of the page before with a checksum over the rest of the request, so
/// that it cannot be used with other filters.
package struct PageRequest: Sendable {
  package let size: Int
  /// The key after which the page begins; empty for the first.
  package let after: String
  private let checksum: UInt32
  private let pageBytes: Int

  /// - Parameter fields: the encoded request without its page size and token.
  /// - Throws: `RPCError` INVALID_ARGUMENT for a negative size or a token that is not one of ours
  ///   for this request.
  package init(size: Int32, token: String, fields: [UInt8], limits: PageLimits) throws {
    guard size >= 0 else {
      throw RPCError.invalidArgument(field: "page_size", "\(size) is negative")
    }
    self.size = size == 0 ? limits.defaultSize : min(Int(size), limits.maximumSize)
    checksum = PageRequest.checksum(fields)
    pageBytes = limits.bytes
    guard !token.isEmpty else {
      after = ""
      return
    }
    let prefix = PageRequest.hexadecimal(checksum) + "."
    guard token.hasPrefix(prefix), token.utf8.count > prefix.utf8.count,
      !token.utf8.contains(0)
    else {
      throw PageRequest.foreignToken
    }
    after = String(token.dropFirst(prefix.count))
  }

  package static let foreignToken = RPCError.invalidArgument(
    field: "page_token",
    "is not a next_page_token of this list with these filters; start again without one")

  /// Splits the rows of a query for one more than the page into the page and the next token. A
  /// page also ends when it has become too large for one message.
  package func cut<Element: Message>(_ rows: [Element], by key: (Element) -> String) -> (
    [Element], String
  ) {
    var count = 0
    var bytes = 0
    for row in rows.prefix(size) {
      bytes += row.encoded().count
      if bytes > pageBytes, count > 0 { break }
      count += 1
    }
    guard count < rows.count, count > 0 else { return (rows, "") }
    return (Array(rows[..<count]), token(key(rows[count - 1])))
  }

  /// The token of the page that begins after a key.
  package func token(_ key: String) -> String {
    PageRequest.hexadecimal(checksum) + "." + key
  }

  /// FNV-1a, 32 bits: it guards against mistakes, not against malice.
  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    bytes.reduce(0x811C_9DC5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
  }

  private static func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
