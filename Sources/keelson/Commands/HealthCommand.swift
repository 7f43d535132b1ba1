import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson health`: how a server is.
enum HealthCommand {
  static let command = Command(
    name: "health", summary: "Show how the server and its parts are",
    discussion: "Exits with 1 when the server is not ready to be sent calls.",
    options: [.init(name: "watch", help: "Go on and show every change.")] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      if invocation.has("watch") {
        for try await health in session.client.health.watchHealth() {
          try session.output.print(health) { health.sheet + "\n" }
        }
      } else {
        let health = try await session.client.health.getHealth()
        try session.output.print(health) { health.sheet }
        guard health.ready else { throw SilentFailure() }
      }
    }
  }
}

/// Ends the tool with exit status 1; everything has been said already.
struct SilentFailure: Error {}
