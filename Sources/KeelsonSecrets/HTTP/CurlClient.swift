import CLibCurl
import Dispatch

/// Requests through libcurl, one after the other on a queue of its own: a transfer blocks, and
/// neither a loop nor a task waits in it.
///
/// TLS is verified always. Redirects are not followed, since the token would go along; answers are
/// not decompressed; the proxies and passwords that the environment and .netrc name are not used.
final class CurlClient: HTTPClient {
  /// libcurl is set up once in a process.
  private static let isStarted = keelson_curl_start() == CURLE_OK

  private let options: HTTPOptions
  private let queue = DispatchQueue(label: "keelson.secrets")
  private let handle: Handle

  init(_ options: HTTPOptions) {
    self.options = options
    handle = Handle()
  }

  /// The one handle, whose connections are used again.
  ///
  /// `@unchecked Sendable`: confined to the client's queue.
  @safe private final class Handle: @unchecked Sendable {
    let pointer: UnsafeMutableRawPointer?

    init() {
      _ = CurlClient.isStarted
      unsafe pointer = unsafe curl_easy_init()
    }

    deinit {
      if let pointer = unsafe pointer { unsafe curl_easy_cleanup(pointer) }
    }
  }

  func send(_ request: HTTPRequest) async throws(HTTPFailure) -> HTTPResponse {
    let wait = CancellableWait<Result<HTTPResponse, HTTPFailure>>()
    let result: Result<HTTPResponse, HTTPFailure>
    do {
      result = try await wait.value {
        queue.async {
          guard !wait.isOver else { return }
          wait.end(.success(self.perform(request) { wait.isOver }))
        }
      }
    } catch {
      throw HTTPFailure(code: .cancelled, reason: "the request was cancelled")
    }
    return try result.get()
  }

  /// On the queue.
  private func perform(
    _ request: HTTPRequest, _ isCancelled: @escaping () -> Bool
  ) -> Result<HTTPResponse, HTTPFailure> {
    guard let pointer = unsafe handle.pointer else {
      return .failure(HTTPFailure(code: .invalid, reason: "libcurl could not be started"))
    }
    let transfer = unsafe CurlTransfer(
      handle: pointer, maximumBytes: options.maximumResponseBytes, isCancelled: isCancelled)
    do throws(HTTPFailure) {
      return .success(try transfer.run(request, options))
    } catch {
      return .failure(error)
    }
  }
}
