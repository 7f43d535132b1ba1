import KeelsonAPI
import KeelsonCore

/// A request for one page of a list, and its token. Source: AIP-158.
///
/// A token is the number of the last item of the page before with a checksum over the rest of the
/// request, so that it cannot be used with other filters.
struct AuditPageRequest {
  let size: Int
  /// The page has numbers below this one.
  let before: Int64
  private let checksum: UInt32

  /// - Parameters:
  ///   - kind: which list it is.
  ///   - fields: the encoded request without its page size and token.
  /// - Throws: `RPCError` INVALID_ARGUMENT for a negative size or a token that is not one of ours
  ///   for this request.
  init(size: Int32, token: String, kind: String, fields: [UInt8], limits: AuditLimits) throws {
    guard size >= 0 else {
      throw RPCError.invalidArgument(field: "page_size", "\(size) is negative")
    }
    self.size = size == 0 ? limits.defaultPageSize : min(Int(size), limits.maximumPageSize)
    // FNV-1a, 32 bits: it guards against mistakes, not against malice.
    checksum = (Array(kind.utf8) + fields).reduce(0x811C_9DC5) {
      ($0 ^ UInt32($1)) &* 0x0100_0193
    }
    guard !token.isEmpty else {
      before = .max
      return
    }
    let parts = token.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0] == String(checksum, radix: 16), let number = Int64(parts[1]),
      number > 0
    else {
      throw RPCError.invalidArgument(
        field: "page_token",
        "is not a next_page_token of this list with these filters; start again without one")
    }
    before = number
  }

  /// The token of the page below a number.
  func token(before number: Int64) -> String {
    "\(String(checksum, radix: 16)).\(number)"
  }
}
