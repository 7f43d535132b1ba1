import KeelsonCore

/// What the connections share that came in by one listener.
final class Entrance: Sendable {
  let listener: ListenerConfiguration
  let router: Router
  let plainRoutes: [String: PlainRoute]

  /// - Parameter all: the routes of the whole server.
  init(_ listener: ListenerConfiguration, all: Router, plainRoutes: [String: PlainRoute]) {
    self.listener = listener
    switch listener.services {
    case .all:
      router = all
      self.plainRoutes = plainRoutes
    case .only(let service):
      router = all.only(service: service)
      self.plainRoutes = [:]
    }
  }

  /// What a method that is not served here is answered with; nil: as any that there is not.
  func refusal(of path: String) -> RPCError? {
    guard case .only(let service) = listener.services else { return nil }
    return RPCError(
      .unimplemented,
      "This address serves \(service) only, not \(path.prefix(256)): use another address of the "
        + "server.")
  }
}
