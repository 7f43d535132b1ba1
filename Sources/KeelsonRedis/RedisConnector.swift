import KeelsonCore
package import KeelsonTransport

/// Makes connections to one Redis: finds its address, connects, secures, logs in, and asks what it is.
package struct RedisConnector: Sendable {
  package let configuration: RedisConfiguration
  private let target: Target
  private let tls: TLSClientContext?

  /// - Throws: ``RedisError`` with code refused when certificates cannot be read.
  package init(_ configuration: RedisConfiguration) throws(RedisError) {
    self.configuration = configuration
    let url = configuration.url
    target = try url.target
    guard url.isSecure else {
      tls = nil
      return
    }
    var tls = TLSClientConfiguration()
    if let file = url.caFile { tls.trustRoots = .certificates(.file(file)) }
    if let certificate = url.certificateFile, let key = url.keyFile {
      tls.credential = TLSClientConfiguration.Credential(
        certificate: .file(certificate), key: .file(key))
    }
    do throws(TLSError) {
      self.tls = try TLSClientContext(tls, target: target, speaksHTTP2: false)
    } catch {
      throw RedisError(.refused, "The cache's Redis cannot be connected to: \(error.message)")
    }
  }

  /// An attempt that has not begun. On the loop's thread only.
  package func attempt(on loop: Loop) -> ConnectAttempt {
    ConnectAttempt(configuration, target: target, tls: tls, on: loop)
  }
}
