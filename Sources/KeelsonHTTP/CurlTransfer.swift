import CLibCurl
import Glibc
import KeelsonCore

/// One transfer, from its options to its answer. Lives and is used on the client's queue.
@safe final class CurlTransfer {
  /// Of all header lines together.
  private static let maximumHeaderBytes = 64 << 10

  /// Owned; known to the multi handle while the transfer runs.
  let handle: UnsafeMutableRawPointer
  private let request: HTTPRequest
  private let options: HTTPOptions
  /// Where libcurl writes what went wrong; known to the handle as long as that lives.
  private let message: UnsafeMutablePointer<CChar>
  private var list: UnsafeMutablePointer<curl_slist>?
  private var body: [UInt8] = []
  private var bodyBytes = 0
  private var headers: [String: String] = [:]
  private var headerBytes = 0
  private var isTooLarge = false
  private var refused: IPAddress?
  /// Whether one address at least was one that it may go to.
  private var hasAllowed = false

  /// nil when there is no memory for a handle.
  init?(_ request: HTTPRequest, _ options: HTTPOptions) {
    guard let handle = unsafe curl_easy_init() else { return nil }
    unsafe self.handle = unsafe handle
    self.request = request
    self.options = options
    unsafe message = .allocate(capacity: Int(CURL_ERROR_SIZE))
    unsafe message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
  }

  deinit {
    unsafe curl_easy_cleanup(handle)
    unsafe curl_slist_free_all(list)
    unsafe message.deallocate()
  }

  private var timeout: Duration { request.timeout ?? options.timeout }

  /// What became of it.
  func outcome(_ status: CURLcode) -> Result<HTTPResponse, HTTPFailure> {
    guard status == CURLE_OK else { return .failure(failure(status)) }
    return .success(
      HTTPResponse(
        status: unsafe Int(keelson_curl_status(handle)), headers: headers,
        body: SecretValue(body), bodyBytes: bodyBytes))
  }

  // MARK: Options

  func prepare() throws(HTTPFailure) {
    try check(unsafe keelson_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, message))
    try setOptions()
    try set(CURLOPT_URL, request.url)
    if request.method == "HEAD" {
      // Its answer announces a body that does not come.
      try set(CURLOPT_NOBODY, 1)
    } else {
      try set(CURLOPT_CUSTOMREQUEST, request.method)
    }
    unsafe list = unsafe try headerList()
    try check(unsafe keelson_curl_set_list(handle, CURLOPT_HTTPHEADER, list))
    if let sent = request.body?.bytes {
      try check(
        unsafe keelson_curl_set_size(handle, CURLOPT_POSTFIELDSIZE_LARGE, sent.count))
      // Copies them; the zero keeps the address from being none.
      try check(
        unsafe (sent + [0]).withUnsafeBytes { bytes in
          unsafe keelson_curl_set_text(
            handle, CURLOPT_COPYPOSTFIELDS,
            bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
        })
    }
    try setReceivers()
  }

  private func setOptions() throws(HTTPFailure) {
    // Timeouts without signals, which a process with threads must not use.
    try set(CURLOPT_NOSIGNAL, 1)
    // A transfer that is broken off while a name is looked up does not hold up the others.
    try set(CURLOPT_QUICK_EXIT, 1)
    try set(CURLOPT_PROTOCOLS_STR, "https,http")
    try set(CURLOPT_FOLLOWLOCATION, 0)
    try set(CURLOPT_PROXY, options.proxy ?? "")
    try set(CURLOPT_SSL_VERIFYPEER, 1)
    try set(CURLOPT_SSL_VERIFYHOST, 2)
    // TLS 1.2 at least.
    try set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
    if let caFile = options.caFile { try set(CURLOPT_CAINFO, caFile) }
    try set(CURLOPT_CONNECTTIMEOUT_MS, Int(clamping: options.connectTimeout.wholeMilliseconds))
    try set(CURLOPT_TIMEOUT_MS, max(1, Int(clamping: timeout.wholeMilliseconds)))
    try set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    try set(CURLOPT_USERAGENT, "keelson")
    if !options.keepsBeginning {
      try check(
        unsafe keelson_curl_set_size(
          handle, CURLOPT_MAXFILESIZE_LARGE, options.maximumResponseBytes))
    }
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
  private func headerList() throws(HTTPFailure) -> UnsafeMutablePointer<curl_slist>? {
    // No waiting for 100 Continue, and no type of a body unless we say it.
    var lines = ["Expect:"]
    if !request.headers.contains(where: { $0.name.lowercased() == "content-type" }) {
      lines.append("Content-Type:")
    }
    for (name, value) in request.headers {
      guard value.bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
        throw HTTPFailure(
          code: .invalid, reason: "the value of the header \(name) has control characters")
      }
      // To libcurl a colon with nothing behind it means that the header is not sent.
      lines.append(value.isEmpty ? "\(name);" : "\(name): \(value.text)")
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

  /// The callbacks get this object unretained: the client keeps it until the transfer is over.
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
    try check(
      unsafe keelson_curl_set_opener(handle, context) { context, _, address in
        unsafe CurlTransfer.of(context).open(address)
      })
  }

  private static func of(_ context: UnsafeMutableRawPointer?) -> CurlTransfer {
    // libcurl hands back what was set just before the transfer.
    unsafe Unmanaged<CurlTransfer>.fromOpaque(context!).takeUnretainedValue()
  }

  /// A socket for an address that the request may go to; -1 (CURL_SOCKET_BAD) for another.
  ///
  /// It is asked here, since only here is known what a name leads to.
  private func open(_ address: UnsafeMutablePointer<curl_sockaddr>?) -> Int32 {
    guard let address = unsafe address,
      let start = MemoryLayout<curl_sockaddr>.offset(of: \.addr)
    else { return -1 }
    if let allows = request.allowsAddress {
      let found = unsafe IPAddress(
        UnsafeRawPointer(address).advanced(by: start), family: address.pointee.family)
      guard let found, allows(found) else {
        refused = found
        return -1
      }
    }
    hasAllowed = true
    return unsafe socket(
      address.pointee.family, address.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue),
      address.pointee.protocol)
  }

  /// How many bytes were taken; fewer end the transfer.
  private func receiveBody(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
    bodyBytes += count
    let room = options.maximumResponseBytes - body.count
    guard count <= room || options.keepsBeginning else {
      isTooLarge = true
      return 0
    }
    unsafe body.append(
      contentsOf: UnsafeRawBufferPointer(start: bytes, count: min(count, room)))
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

  private func failure(_ status: CURLcode) -> HTTPFailure {
    if isTooLarge || status == CURLE_FILESIZE_EXCEEDED {
      return HTTPFailure(
        code: .malformed,
        reason: "its answer is larger than the limit of \(options.maximumResponseBytes) bytes")
    }
    // A name may have several addresses: that one may not be called says nothing when another may,
    // and did not answer.
    if let refused, !hasAllowed, status == CURLE_COULDNT_CONNECT {
      return HTTPFailure(
        code: .refused, reason: "its address \(refused) is not one that may be connected to")
    }
    let said = unsafe String(cString: message)
    let text = said.isEmpty ? unsafe String(cString: curl_easy_strerror(status)) : said
    switch status {
    case CURLE_OPERATION_TIMEDOUT:
      return HTTPFailure(
        code: .timeout, reason: "it did not answer within \(timeout) (\(text))")
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
