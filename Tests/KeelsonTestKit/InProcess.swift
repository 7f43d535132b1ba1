package import KeelsonCore
package import KeelsonTransport

/// Serves routes within this process while `body` runs, then cancels what is still under way and
/// waits until every handler has returned: a handler that ignores its cancellation hangs the test.
package func withInProcessChannel<Result>(
  to routes: [Route],
  configuration: InProcessChannel.Configuration = InProcessChannel.Configuration(),
  _ body: (InProcessChannel) async throws -> Result
) async throws -> Result {
  let channel = InProcessChannel(routes: routes, configuration: configuration)
  do {
    let result = try await body(channel)
    await channel.shutdown()
    return result
  } catch {
    await channel.shutdown()
    throw error
  }
}
