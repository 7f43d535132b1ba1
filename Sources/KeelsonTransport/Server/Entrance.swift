import KeelsonCore

/// What the connections share that came in by one listener.
final class Entrance: Sendable {
  let listener: ListenerConfiguration
  let router: Router
  let plainRoutes: [String: PlainRoute]

  init(
    _ listener: ListenerConfiguration, routes: [Route], interceptors: [ServerInterceptor],
    plainRoutes: [PlainRoute]
  ) {
    self.listener = listener
    switch listener.services {
    case .all:
      router = Router(routes, interceptors)
      self.plainRoutes = Dictionary(plainRoutes.map { ($0.path, $0) }) { first, _ in first }
    case .only(let service):
      router = Router(routes.filter { $0.method.service == service }, interceptors) { path in
        "This address serves \(service) only, not \(path): use another address of the server."
      }
      self.plainRoutes = [:]
    }
  }
}
