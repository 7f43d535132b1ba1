import COpenSSL
import Glibc
import Synchronization

/// A little HTTP/1.1 server on this machine, which can misbehave. Threads of its own serve its
/// connections, each until it is closed.
///
/// `@unchecked Sendable`: immutable but for what its mutex guards; the TLS context locks itself.
package final class LocalHTTPServer: @unchecked Sendable {
  /// What a request looked like on the wire.
  package struct Request: Sendable {
    package var method: String
    /// Path and query.
    package var target: String
    /// Names in lower case.
    package var headers: [String: String]
    package var body: String
  }

  package enum Answer: Sendable {
    case json(Int, String, headers: [String: String] = [:])
    /// These bytes, whatever they are; then the connection is closed.
    case bytes([UInt8])
    /// A body that never ends, in pieces of 64 KiB, until the client goes away.
    case endless
    /// Nothing at all, until the client goes away.
    case silence
    case close
  }

  package typealias Handler = @Sendable (Request) -> Answer

  package let port: UInt16
  private let host: String
  private let listener: Int32
  private let tls: OpaquePointer?
  private let handler: Handler
  private let seen = Mutex<[Request]>([])

  package struct Failure: Error {
    let number = errno
  }

  /// - Parameters:
  ///   - host: one of this machine's own addresses.
  ///   - certificate: certificate and key files; nil: plaintext.
  package init(
    host: String = "127.0.0.1", certificate: (file: String, key: String)? = nil,
    handler: @escaping Handler
  ) throws {
    self.handler = handler
    self.host = host
    tls = try certificate.map { file, key in
      let context = SSL_CTX_new(TLS_server_method())
      guard let context = context,
        SSL_CTX_use_certificate_file(context, file, SSL_FILETYPE_PEM) == 1,
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1
      else { throw Failure() }
      return context
    }
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard listener >= 0 else { throw Failure() }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr(host)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = listener
    let isListening = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(listener, address, length) == 0 && listen(listener, 16) == 0
          && getsockname(listener, address, &length) == 0
      }
    }
    guard isListening else { throw Failure() }
    port = UInt16(bigEndian: address.sin_port)
    signal(SIGPIPE, SIG_IGN)
    Self.start { [self] in acceptAll() }
  }

  package var address: String { "\(tls == nil ? "http" : "https")://\(host):\(port)" }

  /// All requests so far.
  package var requests: [Request] { seen.withLock { $0 } }

  /// What was asked for, method and target.
  package var asked: [String] { requests.map { "\($0.method) \($0.target)" } }

  package func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  // MARK: Threads

  private static func start(_ body: @escaping @Sendable () -> Void) {
    final class Start {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let start = Unmanaged.passRetained(Start(body)).toOpaque()
    pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
      }, start)
    pthread_detach(thread)
  }

  private func acceptAll() {
    while true {
      let descriptor = accept(listener, nil, nil)
      guard descriptor >= 0 else { return }
      Self.start { [self] in
        serve(descriptor)
        close(descriptor)
      }
    }
  }

  private func serve(_ descriptor: Int32) {
    let session = tls.flatMap { context in
      let session = SSL_new(context)
      SSL_set_fd(session, descriptor)
      return session
    }
    defer { session.map { SSL_free($0) } }
    if let session = session, SSL_accept(session) != 1 { return }
    let receive: () -> [UInt8]? = {
      var chunk = [UInt8](repeating: 0, count: 16 << 10)
      let count =
        session.map { Int(SSL_read($0, &chunk, Int32(chunk.count))) }
        ?? read(descriptor, &chunk, chunk.count)
      return count > 0 ? Array(chunk[..<count]) : nil
    }
    let send: ([UInt8]) -> Bool = { bytes in
      var offset = 0
      while offset < bytes.count {
        let count = bytes.withUnsafeBytes { buffer in
          let start = buffer.baseAddress! + offset
          return session.map { Int(SSL_write($0, start, Int32(buffer.count - offset))) }
            ?? write(descriptor, start, buffer.count - offset)
        }
        guard count > 0 else { return false }
        offset += count
      }
      return true
    }
    var waiting: [UInt8] = []
    while let request = Self.next(&waiting, receive) {
      seen.withLock { $0.append(request) }
      guard answer(handler(request), send, receive) else { return }
    }
  }

  /// - Returns: whether the connection goes on.
  private func answer(
    _ answer: Answer, _ send: ([UInt8]) -> Bool, _ receive: () -> [UInt8]?
  ) -> Bool {
    switch answer {
    case .json(let status, let body, let headers):
      var head = "HTTP/1.1 \(status) Status\r\nContent-Type: application/json\r\n"
      for (name, value) in headers { head += "\(name): \(value)\r\n" }
      return send(Array("\(head)Content-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8))
    case .bytes(let bytes):
      _ = send(bytes)
      return false
    case .endless:
      _ = send(Array("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".utf8))
      while send([UInt8](repeating: UInt8(ascii: "x"), count: 64 << 10)) {}
      return false
    case .silence:
      while receive() != nil {}
      return false
    case .close: return false
    }
  }

  /// The next request; nil when the client has gone.
  private static func next(_ waiting: inout [UInt8], _ receive: () -> [UInt8]?) -> Request? {
    while true {
      let text = String(decoding: waiting, as: UTF8.self)
      if let end = text.firstRange(of: "\r\n\r\n") {
        let lines = text[..<end.lowerBound].split(separator: "\r\n")
        let words = lines[0].split(separator: " ")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
          let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
          headers[parts[0].lowercased()] = String(parts[1].drop { $0 == " " })
        }
        let start = text[..<end.upperBound].utf8.count
        let count = headers["content-length"].flatMap { Int($0) } ?? 0
        if waiting.count >= start + count {
          let body = String(decoding: waiting[start..<(start + count)], as: UTF8.self)
          waiting.removeFirst(start + count)
          return Request(
            method: String(words[0]), target: String(words[1]), headers: headers, body: body)
        }
      }
      guard let more = receive() else { return nil }
      waiting += more
    }
  }
}
