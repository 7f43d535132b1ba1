/// What the command line says.
struct ServerOptions {
  static let usage = """
    usage: InteropServer [--port N] [--loops N] [--tls-certificate FILE --tls-key FILE]
      --port N    where on 127.0.0.1 to listen; 0, the default, takes a free one
      --loops N   how many threads serve connections; one for each core when not given
      --tls-certificate FILE, --tls-key FILE
                  serve over TLS with this certificate and its key, both PEM
    """

  var port: UInt16 = 0
  var loops: Int?
  var certificateFile: String?
  var keyFile: String?

  /// - Throws: ``UsageError`` with a sentence that says what would be right.
  init(_ arguments: some Sequence<String>) throws(UsageError) {
    var arguments = arguments.makeIterator()
    while let option = arguments.next() {
      guard let value = arguments.next() else { throw UsageError("\(option) takes a value.") }
      switch option {
      case "--port":
        guard let port = UInt16(value) else {
          throw UsageError("--port takes a number from 0 to 65535, not \(value).")
        }
        self.port = port
      case "--loops":
        guard let loops = Int(value), (1...1_024).contains(loops) else {
          throw UsageError("--loops takes a number from 1 to 1024, not \(value).")
        }
        self.loops = loops
      case "--tls-certificate": certificateFile = value
      case "--tls-key": keyFile = value
      default: throw UsageError("There is no option \(option).")
      }
    }
    guard (certificateFile == nil) == (keyFile == nil) else {
      throw UsageError("--tls-certificate and --tls-key go together.")
    }
  }
}

struct UsageError: Error {
  let message: String

  init(_ message: String) {
    self.message = message
  }
}
