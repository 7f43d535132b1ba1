import CLibCurl

/// One transfer, from its options to its answer. Lives and is used on the client's queue.
@safe final class CurlTransfer {
  /// Of all header lines together.
  private static let maximumHeaderBytes = 64 << 10

  private let handle: UnsafeMutableRawPointer
  private let maximumBytes: Int
  private let isCancelled: () -> Bool
  private var body: [UInt8] = []
  private var headers: [String: String] = [:]
  private var headerBytes = 0
  private var isTooLarge = false

  /// - Parameters:
  ///   - handle: stays the caller's.
  ///   - isCancelled: whether nobody waits any more; asked at least once a second.
  init(
    handle: UnsafeMutableRawPointer, maximumBytes: Int, isCancelled: @escaping () -> Bool
  ) {
    unsafe self.handle = unsafe handle
    self.maximumBytes = maximumBytes
    self.isCancelled = isCancelled
  }

  func run(_ request: HTTPRequest, _ options: HTTPOptions) throws(HTTPFailure) -> HTTPResponse {
    // Keeps the connections.
    unsafe curl_easy_reset(handle)
    let list = unsafe try headerList(request)
    defer { unsafe curl_slist_free_all(list) }
    let sent = request.body?.bytes
    var message = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
    let (status, code, reason) = try unsafe message.withUnsafeMutableBufferPointer {
      buffer throws(HTTPFailure) -> (CURLcode, Int, String) in
      try check(
        unsafe keelson_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, buffer.baseAddress))
      try set(options)
      try set(CURLOPT_URL, request.url)
      try set(CURLOPT_CUSTOMREQUEST, request.method)
      try check(unsafe keelson_curl_set_list(handle, CURLOPT_HTTPHEADER, list))
      if let sent, !sent.isEmpty {
        try check(
          unsafe keelson_curl_set_size(handle, CURLOPT_POSTFIELDSIZE_LARGE, sent.count))
        // Copies them.
        try check(
          unsafe sent.withUnsafeBytes { bytes in
            unsafe keelson_curl_set_text(
              handle, CURLOPT_COPYPOSTFIELDS,
              bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
          })
      }
      try setReceivers()
      let status = unsafe curl_easy_perform(handle)
      // Neither the buffer nor this object is known to the handle beyond this call.
      _ = unsafe keelson_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, nil)
      let reason = unsafe buffer.baseAddress.map { unsafe String(cString: $0) } ?? ""
      return (status, unsafe Int(keelson_curl_status(handle)), reason)
    }
    unsafe curl_easy_reset(handle)
    guard status == CURLE_OK else { throw failure(status, reason, options) }
    return HTTPResponse(status: code, headers: headers, body: SecretValue(body))
  }

  // MARK: Options

  private func set(_ options: HTTPOptions) throws(HTTPFailure) {
    // Timeouts without signals, which a process with threads must not use.
    try set(CURLOPT_NOSIGNAL, 1)
    try set(CURLOPT_PROTOCOLS_STR, "https,http")
    try set(CURLOPT_FOLLOWLOCATION, 0)
    try set(CURLOPT_PROXY, options.proxy ?? "")
    try set(CURLOPT_SSL_VERIFYPEER, 1)
    try set(CURLOPT_SSL_VERIFYHOST, 2)
    // TLS 1.2 at least.
    try set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
    if let caFile = options.caFile { try set(CURLOPT_CAINFO, caFile) }
    try set(CURLOPT_CONNECTTIMEOUT_MS, options.connectTimeout.wholeMilliseconds)
    try set(CURLOPT_TIMEOUT_MS, options.timeout.wholeMilliseconds)
    try set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    try set(CURLOPT_USERAGENT, "keelson")
    try check(
      unsafe keelson_curl_set_size(handle, CURLOPT_MAXFILESIZE_LARGE, maximumBytes))
  }

  private func set(_ option: CURLoption, _ value: Int) throws(HTTPFailure) {
    try check(unsafe keelson_curl_set_long(handle, option, value))
  }

  private func set(_ option: CURLoption, _ value: String) throws(HTTPFailure) {
    guard !value.utf8.contains(0) else {
      throw HTTPFailure(code: .invalid, reason: "an option has a zero byte in it")
    }
    try check(unsafe keelson_curl_set_text(handle, option, value))
  }

  private func check(_ code: CURLcode) throws(HTTPFailure) {
    guard code == CURLE_OK else {
      let text = unsafe String(cString: curl_easy_strerror(code))
      throw HTTPFailure(code: .invalid, reason: "libcurl refuses an option: \(text)")
    }
  }

  /// The caller frees it.
  private func headerList(
    _ request: HTTPRequest
  ) throws(HTTPFailure) -> UnsafeMutablePointer<curl_slist>? {
    // No waiting for 100 Continue, and no type of a body unless we say it.
    var lines = ["Expect:", "Content-Type:"]
    for (name, value) in request.headers {
      guard value.bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
        throw HTTPFailure(
          code: .invalid, reason: "the value of the header \(name) has control characters")
      }
      if name == "Content-Type" { lines.remove(at: 1) }
      lines.append("\(name): \(value.text)")
    }
    var list: UnsafeMutablePointer<curl_slist>?
    for line in lines {
      guard let longer = unsafe curl_slist_append(list, line) else {
        unsafe curl_slist_free_all(list)
        throw HTTPFailure(code: .invalid, reason: "there is no memory left for a header")
      }
      unsafe list = unsafe longer
    }
    return unsafe list
  }

  // MARK: Receiving

  /// The callbacks get this object unretained: `run` keeps it alive until the transfer is over.
  private func setReceivers() throws(HTTPFailure) {
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    try check(unsafe keelson_curl_set_pointer(handle, CURLOPT_WRITEDATA, context))
    try check(
      unsafe keelson_curl_set_receiver(handle, CURLOPT_WRITEFUNCTION) {
        bytes, size, count, context in
        unsafe CurlTransfer.of(context).receiveBody(bytes, size * count)
      })
    try check(unsafe keelson_curl_set_pointer(handle, CURLOPT_HEADERDATA, context))
    try check(
      unsafe keelson_curl_set_receiver(handle, CURLOPT_HEADERFUNCTION) {
        bytes, size, count, context in
        unsafe CurlTransfer.of(context).receiveHeader(bytes, size * count)
      })
    try set(CURLOPT_NOPROGRESS, 0)
    try check(unsafe keelson_curl_set_pointer(handle, CURLOPT_XFERINFODATA, context))
    // Called at least once a second.
    try check(
      unsafe keelson_curl_set_progress(handle) { context, _, _, _, _ in
        unsafe CurlTransfer.of(context).isCancelled() ? 1 : 0
      })
  }

  private static func of(_ context: UnsafeMutableRawPointer?) -> CurlTransfer {
    // libcurl hands back what was set just before the transfer.
    unsafe Unmanaged<CurlTransfer>.fromOpaque(context!).takeUnretainedValue()
  }

  /// How many bytes were taken; fewer end the transfer.
  private func receiveBody(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
    guard body.count + count <= maximumBytes else {
      isTooLarge = true
      return 0
    }
    unsafe body.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
    return count
  }

  private func receiveHeader(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
    headerBytes += count
    guard headerBytes <= Self.maximumHeaderBytes else {
      isTooLarge = true
      return 0
    }
    let line = unsafe String(
      decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    if let colon = line.firstIndex(of: ":") {
      let value = line[line.index(after: colon)...]
      headers[line[..<colon].lowercased()] = String(value.trimmed)
    }
    return count
  }

  // MARK: Failures

  private func failure(
    _ status: CURLcode, _ reason: String, _ options: HTTPOptions
  ) -> HTTPFailure {
    if isTooLarge || status == CURLE_FILESIZE_EXCEEDED {
      return HTTPFailure(
        code: .malformed, reason: "its answer is larger than the limit of \(maximumBytes) bytes")
    }
    let text = reason.isEmpty ? unsafe String(cString: curl_easy_strerror(status)) : reason
    switch status {
    case CURLE_ABORTED_BY_CALLBACK:
      return HTTPFailure(code: .cancelled, reason: "the request was cancelled")
    case CURLE_OPERATION_TIMEDOUT:
      return HTTPFailure(
        code: .timeout, reason: "it did not answer within \(options.timeout) (\(text))")
    case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CACERT_BADFILE,
      CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CIPHER, CURLE_SSL_CERTPROBLEM:
      return HTTPFailure(code: .tls, reason: "TLS failed: \(text)")
    case CURLE_URL_MALFORMAT, CURLE_BAD_FUNCTION_ARGUMENT:
      return HTTPFailure(code: .invalid, reason: "the URL cannot be used: \(text)")
    case CURLE_WEIRD_SERVER_REPLY, CURLE_UNSUPPORTED_PROTOCOL:
      // The latter is what an answer without a status line gives.
      return HTTPFailure(code: .malformed, reason: "it does not speak HTTP: \(text)")
    default:
      return HTTPFailure(code: .connection, reason: text)
    }
  }
}

extension Duration {
  /// Rounded down.
  var wholeMilliseconds: Int {
    let (seconds, attoseconds) = components
    return Int(seconds) * 1_000 + Int(attoseconds / 1_000_000_000_000_000)
  }
}

extension StringProtocol {
  /// Without the spaces and line ends around it.
  var trimmed: SubSequence {
    let start = firstIndex { !$0.isWhitespace } ?? endIndex
    var end = endIndex
    while end > start, self[index(before: end)].isWhitespace { end = index(before: end) }
    return self[start..<end]
  }
}
