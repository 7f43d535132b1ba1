import KeelsonCore
import KeelsonHTTP

/// Sends a request again when the answer says that it may work the next time.
struct RetryingClient: HTTPClient {
  /// How often a request is sent at most.
  static let attempts = 4
  /// How long it waits before the second attempt; twice as long before each further one.
  static let firstDelay: Duration = .milliseconds(500)
  /// A store that asks to be left alone for longer gets its wish: the request fails, and the next
  /// reload asks again.
  static let longestDelay: Duration = .seconds(30)

  private let client: any HTTPClient
  private let passing: Set<Int>
  private let sleep: @Sendable (Duration) async throws -> Void

  /// What may pass by itself with any store. Source: RFC 9110 section 15.6; RFC 6585.
  static let usuallyPassing: Set<Int> = [408, 412, 429, 500, 502, 504]

  /// - Parameters:
  ///   - passing: the statuses after which a request is sent again.
  ///   - sleep: waits; tests do not.
  init(
    _ client: any HTTPClient, passing: Set<Int> = usuallyPassing,
    sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
  ) {
    self.client = client
    self.passing = passing
    self.sleep = sleep
  }

  func send(_ request: HTTPRequest) async throws(HTTPFailure) -> HTTPResponse {
    var delay = Self.firstDelay
    for attempt in 1... {
      let wait: Duration
      do throws(HTTPFailure) {
        let response = try await client.send(request)
        guard attempt < Self.attempts, passing.contains(response.status) else { return response }
        wait = response.retryAfter ?? delay
        guard wait <= Self.longestDelay else { return response }
      } catch {
        guard attempt < Self.attempts, error.code == .connection || error.code == .timeout else {
          throw error
        }
        wait = delay
      }
      do { try await sleep(wait) } catch {
        throw HTTPFailure(code: .cancelled, reason: "the request was cancelled")
      }
      delay *= 2
    }
    // The loop ends by returning or throwing.
    throw HTTPFailure(code: .cancelled, reason: "no attempt was made")
  }
}
