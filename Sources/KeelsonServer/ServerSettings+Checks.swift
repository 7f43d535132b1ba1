import KeelsonCore
import KeelsonTransport

extension ServerSettings {
  /// The addresses to listen on.
  ///
  /// - Throws: an error that says what to change, for an address that is none and for one that
  ///   other machines reach, unless that was allowed.
  func checkedAddresses() throws -> [ListenAddress] {
    try listen.map { text in
      let address = try ListenAddress(parsing: text)
      guard allowsInsecureRemote || address.isLocal else {
        throw RPCError(
          .failedPrecondition,
          "\(text) can be reached from other machines, and there is no encryption and no "
            + "authentication yet: listen on 127.0.0.1, [::1] or unix:/path, or say "
            + "--insecure-remote-plaintext.")
      }
      return address
    }
  }
}
