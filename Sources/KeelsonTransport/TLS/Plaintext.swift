/// What came on a TLS port and is no TLS, with the answer that its sender understands.
struct Plaintext {
  let sentence: String
  let answer: [UInt8]

  /// nil when the first bytes of a connection may be TLS: those begin with a handshake record.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let first = unsafe bytes.first, first != 0x16 else { return nil }
    let start = unsafe String(decoding: bytes.prefix(64), as: UTF8.self)
    if start.hasPrefix("PRI ") {
      sentence = "A client spoke HTTP/2 without TLS on a TLS port; it has to connect with TLS."
      answer = Self.badRequest
    } else if start.firstMatch(of: #/^[A-Z]{3,16} /#) != nil {
      sentence = "A client spoke HTTP without TLS on a TLS port."
      answer = Self.badRequest
    } else {
      sentence = "A client sent something on a TLS port that is no TLS."
      answer = []
    }
  }

  private static let explanation = "This port speaks gRPC over TLS: connect with TLS."

  /// Clients of HTTP/2 know it too: as a sign that they have come to the wrong port. A GOAWAY with
  /// the explanation would have to follow a SETTINGS, and that counts as a connection that
  /// worked: they would connect again at once, and again.
  private static let badRequest: [UInt8] = {
    let body = explanation + "\n"
    let head =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
      + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
    return Array((head + body).utf8)
  }()

  /// Whether the first bytes of a connection are the beginning of TLS: a handshake record of
  /// SSL 3 or later.
  static func isTLS(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe bytes.count >= 2 && bytes[0] == 0x16 && bytes[1] == 3
  }
}
