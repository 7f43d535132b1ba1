import CLibPQ
import Glibc
import KeelsonStore

/// Owns one connection of libpq's.
///
/// `@unchecked Sendable`: made on a thread of its own, then handed over to a loop and touched on
/// that loop only.
@safe final class PostgresHandle: @unchecked Sendable {
  let pointer: OpaquePointer

  private init(_ pointer: OpaquePointer) {
    unsafe self.pointer = unsafe pointer
  }

  deinit {
    unsafe PQfinish(pointer)
  }

  /// Connects, authenticates and makes the connection ready for a loop. Waits for the network.
  ///
  /// - Throws: ``StoreError`` with code unreachable whose message says what to do.
  static func connect(_ settings: ConnectionSettings) async throws -> PostgresHandle {
    let result: Result<PostgresHandle, StoreError> = try await BlockingCall.run {
      open(settings)
    }
    return try result.get()
  }

  private static func open(_ settings: ConnectionSettings) -> Result<PostgresHandle, StoreError> {
    let keywords = unsafe settings.parameters.map { unsafe strdup($0.keyword) }
    let values = unsafe settings.parameters.map { unsafe strdup($0.value) }
    defer {
      for index in unsafe keywords.indices {
        unsafe free(keywords[index])
        unsafe free(values[index])
      }
    }
    let keywordPointers = unsafe keywords.map { unsafe UnsafePointer<CChar>($0) } + [nil]
    let valuePointers = unsafe values.map { unsafe UnsafePointer<CChar>($0) } + [nil]
    guard let pointer = unsafe PQconnectdbParams(keywordPointers, valuePointers, 0) else {
      return .failure(.unreachable("There is no memory for a connection to the database."))
    }
    let handle = unsafe PostgresHandle(pointer)
    guard unsafe PQstatus(pointer) == CONNECTION_OK else {
      let message = settings.safe(unsafe String(cString: PQerrorMessage(pointer)))
      return .failure(connectionFailure(message, settings))
    }
    let version = unsafe PQserverVersion(pointer)
    guard version >= 130_000 else {
      return .failure(
        StoreError(
          .schemaMismatch,
          """
          The server of \(settings.description) is PostgreSQL \(version / 10_000); Keelson needs \
          13 or newer.
          """))
    }
    // libpq writes notices to standard error when nobody takes them.
    _ = unsafe PQsetNoticeProcessor(pointer, { _, _ in }, nil)
    guard unsafe PQsetnonblocking(pointer, 1) == 0, unsafe PQenterPipelineMode(pointer) == 1 else {
      return .failure(
        .unreachable(settings.safe(unsafe String(cString: PQerrorMessage(pointer)))))
    }
    return .success(handle)
  }

  /// What libpq says while connecting has no code before the connection stands, only words.
  private static func connectionFailure(
    _ message: String, _ settings: ConnectionSettings
  ) -> StoreError {
    let advice: [(sign: String, advice: String)] = [
      ("password authentication failed", "Check the user and the password in the address."),
      ("no password supplied", "Give the password in the address, or in PGPASSWORD."),
      ("does not exist", "Create it, or name another one in the address."),
      ("no pg_hba.conf entry", "Let this host in: pg_hba.conf on the server."),
      ("could not translate host name", "Check the host in the address."),
      ("Connection refused", "Check that the server runs, its host and its port."),
      ("No such file or directory", "Check that the server runs, and the folder of its socket."),
      ("timeout expired", "Check the host, and what stands between."),
      ("permission denied", "Give the user the permission: GRANT CONNECT ON DATABASE."),
      ("certificate", "Check sslmode and sslrootcert in the address."),
      ("SSL", "Check sslmode and sslrootcert in the address."),
      ("too many", "Raise max_connections on the server, or lower 'database-connections'."),
      ("session is read-only", "It is a standby: name the primary, or several hosts."),
      ("starting up", "The server is starting; try again in a moment."),
    ]
    let found = advice.first { message.contains($0.sign) }?.advice ?? "The server's log says more."
    return .unreachable(
      "The database \(settings.description) cannot be reached: \(message). \(found)")
  }
}

/// Asks the server to end what a connection runs. Good from any thread.
///
/// `@unchecked Sendable`: libpq's cancellation object is not changed once made, and PQcancel may
/// be called from any thread (libpq, "Canceling Queries in Progress").
@safe final class CancellationRequest: @unchecked Sendable {
  private let pointer: OpaquePointer?

  /// On the loop of the connection.
  init(_ handle: PostgresHandle) {
    unsafe pointer = unsafe PQgetCancel(handle.pointer)
  }

  deinit {
    unsafe PQfreeCancel(pointer)
  }

  /// Returns once the server has been told, or could not be. Waits for the network.
  func send() async {
    try? await BlockingCall.run { [self] in
      var message = [CChar](repeating: 0, count: 256)
      // A refusal means that there is nothing to cancel, or no server.
      _ = unsafe PQcancel(pointer, &message, 256)
    }
  }
}
