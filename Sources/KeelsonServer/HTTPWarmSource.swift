import KeelsonCache
import KeelsonCore
import KeelsonHTTP

/// Loads values of warm sets over HTTP.
struct HTTPWarmSource: WarmSource {
  private let client: any HTTPClient

  init(client: any HTTPClient) {
    self.client = client
  }

  /// - Parameter caFile: whose certificates are trusted, PEM; nil: those that the system trusts.
  init(_ limits: CacheLimits, caFile: String?) {
    var options = HTTPOptions()
    options.timeout = limits.warmTimeout
    options.connectTimeout = min(options.connectTimeout, limits.warmTimeout)
    options.maximumResponseBytes = limits.valueBytes
    options.caFile = caFile
    self.init(client: CurlClient(options))
  }

  func fetch(_ url: String) async throws(WarmSourceFailure) -> [UInt8] {
    let response: HTTPResponse
    do {
      response = try await client.send(HTTPRequest("GET", url))
    } catch {
      throw WarmSourceFailure("its URL cannot be loaded: \(error.reason)")
    }
    switch response.status {
    case 200..<300: return response.body.bytes
    case 300..<400:
      throw WarmSourceFailure(
        "its URL leads elsewhere (status \(response.status)), and redirects are not followed")
    default: throw WarmSourceFailure("its URL answered with status \(response.status)")
    }
  }
}
