import CLibCurl
import Dispatch
import KeelsonCore
import Synchronization

/// Requests through libcurl, any number at a time: one thread drives them all while there are some.
///
/// TLS is verified always. Redirects are not followed, since secrets would go along; answers are
/// not decompressed; the proxies and passwords that the environment and .netrc name are not used.
/// Sockets are closed in programs that the process runs.
package final class CurlClient: HTTPClient {
  /// libcurl is set up once in a process.
  private static let isStarted = keelson_curl_start() == CURLE_OK

  private typealias Outcome = Result<HTTPResponse, HTTPFailure>

  /// A request that nobody has begun yet.
  private struct Pending: Sendable {
    let request: HTTPRequest
    let wait: CancellableWait<Outcome>
  }

  private struct State {
    var pending: [Pending] = []
    /// Whether the queue drives transfers, and will see what is pending.
    var isDriving = false
  }

  private let options: HTTPOptions
  private let queue = DispatchQueue(label: "keelson.http")
  private let state = Mutex(State())
  private let transfers: Transfers

  package init(_ options: HTTPOptions) {
    self.options = options
    transfers = Transfers()
  }

  package func send(_ request: HTTPRequest) async throws(HTTPFailure) -> HTTPResponse {
    let wait = CancellableWait<Outcome>()
    let result: Outcome
    do {
      result = try await wait.value { begin(Pending(request: request, wait: wait)) }
    } catch {
      // The transfer is broken off at once, not at the driver's next look.
      transfers.wake()
      throw HTTPFailure(code: .cancelled, reason: "the request was cancelled")
    }
    return try result.get()
  }

  private func begin(_ pending: Pending) {
    let mustDrive = state.withLock { state in
      state.pending.append(pending)
      defer { state.isDriving = true }
      return !state.isDriving
    }
    if mustDrive { queue.async { self.drive() } } else { transfers.wake() }
  }

  /// Runs what there is until nothing is left. On the queue.
  private func drive() {
    while true {
      let next = state.withLock { state -> [Pending]? in
        guard !state.pending.isEmpty || !transfers.isEmpty else {
          state.isDriving = false
          return nil
        }
        defer { state.pending = [] }
        return state.pending
      }
      guard let next else { return }
      for pending in next where !pending.wait.isOver {
        transfers.begin(pending.request, options, pending.wait)
      }
      transfers.advance()
    }
  }

  /// The transfers under way, whose connections are used again.
  ///
  /// `@unchecked Sendable`: confined to the client's queue, but for ``wake()``, for which libcurl
  /// needs no lock.
  @safe private final class Transfers: @unchecked Sendable {
    private let multi: UnsafeMutableRawPointer?
    /// By the address of its handle.
    private var running: [UInt: (transfer: CurlTransfer, wait: CancellableWait<Outcome>)] = [:]

    init() {
      _ = CurlClient.isStarted
      unsafe multi = unsafe curl_multi_init()
    }

    deinit {
      // No transfer is under way: each holds the client through the task that waits for it, or the
      // queue does.
      if let multi = unsafe multi { unsafe curl_multi_cleanup(multi) }
    }

    var isEmpty: Bool { running.isEmpty }

    func wake() {
      if let multi = unsafe multi { unsafe curl_multi_wakeup(multi) }
    }

    func begin(
      _ request: HTTPRequest, _ options: HTTPOptions, _ wait: CancellableWait<Outcome>
    ) {
      do throws(HTTPFailure) {
        guard let multi = unsafe multi, let transfer = CurlTransfer(request, options) else {
          throw HTTPFailure(code: .invalid, reason: "libcurl could not be started")
        }
        try transfer.prepare()
        guard unsafe curl_multi_add_handle(multi, transfer.handle) == CURLM_OK else {
          throw HTTPFailure(code: .invalid, reason: "libcurl cannot take the request")
        }
        running[unsafe UInt(bitPattern: transfer.handle)] = (transfer, wait)
      } catch {
        wait.end(.success(.failure(error)))
      }
    }

    /// Does what can be done, and waits for more: a second at most.
    func advance() {
      guard let multi = unsafe multi else { return }
      for (transfer, wait) in running.values where wait.isOver {
        _ = unsafe remove(transfer.handle)
      }
      var count: Int32 = 0
      unsafe curl_multi_perform(multi, &count)
      while let message = unsafe curl_multi_info_read(multi, &count) {
        guard unsafe message.pointee.msg == CURLMSG_DONE,
          let handle = unsafe message.pointee.easy_handle
        else { continue }
        let code = unsafe message.pointee.data.result
        guard let (transfer, wait) = unsafe remove(handle) else { continue }
        wait.end(.success(transfer.outcome(code)))
      }
      guard !isEmpty else { return }
      unsafe curl_multi_poll(multi, nil, 0, 1_000, nil)
    }

    private func remove(
      _ handle: UnsafeMutableRawPointer
    ) -> (transfer: CurlTransfer, wait: CancellableWait<Outcome>)? {
      // Takes the transfer's own callbacks out of the multi handle before it is freed.
      if let multi = unsafe multi { unsafe curl_multi_remove_handle(multi, handle) }
      return running.removeValue(forKey: UInt(bitPattern: handle))
    }
  }
}
